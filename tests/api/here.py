"""Fixtures of vector store tests: resources of a server without ingestion, and functions that stand in for it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import openai
import pytest
import sqlalchemy as sa

from locum.domain.files import blob_key
from locum.domain.vector_stores import FileError
from locum.store import vector_store_files as rows
from tests.api.edge import Answer, EdgeServer, HandClock, wait_until
from tests.serving import http_client

OWNER = "sk-owner-key-of-this-test"


class Here:
    """A resource of a server, the SDK with a key of it, and hands in the place of the ingestion worker."""

    def __init__(self, server: EdgeServer, clock: HandClock) -> None:
        self.server = server
        self.clock = clock
        self.resource = f"resource-{secrets.token_hex(4)}"
        key = server.do(server.keys.create(self.resource, None))[1]
        self._key = {"authorization": f"Bearer {key}"}
        self.sdk = openai.OpenAI(base_url=server.base_url, api_key=key, max_retries=0, http_client=http_client())

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.request(method, f"/v1/vector_stores{path}", body, {**self._key, **said}, beta=False)

    def file(self, name: str = "notes.txt", content: bytes = b"the sea is blue") -> str:
        return self.sdk.files.create(file=(name, content), purpose="assistants").id

    def store(self, *files: str, **options: Any) -> str:
        return self.sdk.vector_stores.create(file_ids=list(files), **options).id

    def ingest(self, limit: int = 10_000, *, failing: tuple[str, ...] = ()) -> list[str]:
        """Ingest what waits: the ids of these files."""

        def claim_some(conn: sa.Connection) -> list[rows.Claim]:
            return rows.claim(conn, "tester", now=self.clock.now, until=self.clock.now + 60, limit=limit)

        def settle(claim: rows.Claim, conn: sa.Connection) -> bool:
            if claim.file.id in failing:
                error = FileError(code="invalid_file", message="The file has no text.")
                return rows.fail(conn, "tester", claim, error)
            made = rows.Ingested(claim=claim, document=blob_key(claim.file.id), usage_bytes=100)
            return rows.complete(conn, "tester", claim.resource, claim.file.vector_store_id, [made]) == 1

        claims = self.server.write(claim_some)
        for claim in claims:
            self.server.write(partial(settle, claim))
            self.server.tell(claim.file.vector_store_id)
        return [claim.file.id for claim in claims if claim.resource == self.resource]

    def ingesting(self) -> threading.Thread:
        """A ingestion worker at work until it has found something."""

        def work() -> None:
            wait_until(lambda: self.ingest())

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def refused(
        self, call: Callable[[], Any], *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> str:
        """The message of the error."""
        with pytest.raises(openai.APIStatusError) as caught:
            call()
        body: Any = caught.value.body
        assert (caught.value.status_code, body["param"], body["code"]) == (status, param, code), body
        return str(body["message"])
