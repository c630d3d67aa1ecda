"""Files: stage and create, retrieve, list, delete, content; remove expired files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial

import msgspec
from sqlalchemy import Connection

from locum.access.principals import Principal
from locum.blobs.base import Written
from locum.clock import Clock
from locum.domain.files import (
    MAX_BYTES,
    MAX_FILENAME_BYTES,
    File,
    Purpose,
    Surface,
    blob_key,
    id_prefix,
    safe_filename,
)
from locum.domain.pages import Listing, Page
from locum.errors import InvalidRequest
from locum.services.idempotency import IdempotencyKey, create_or_find
from locum.services.staging import Staged, stage
from locum.services.tracked_blobs import TrackedBlobs
from locum.store import assistants as assistant_store
from locum.store import file_uses
from locum.store import files as store
from locum.store import threads as thread_store
from locum.store import vector_store_files as vector_store_file_store
from locum.store.database import Database


class Files:
    def __init__(self, db: Database, blobs: TrackedBlobs, clock: Clock) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock

    def staged(self, chunks: AsyncIterator[bytes]) -> AbstractAsyncContextManager[Staged]:
        """Store bytes as they arrive, for `create`; TooLarge beyond 512 MB."""
        return stage(self._blobs, chunks, max_bytes=MAX_BYTES)

    async def create(
        self,
        principal: Principal,
        staged: Staged,
        *,
        filename: str,
        purpose: Purpose,
        surface: Surface,
        expires_after_seconds: int | None = None,
        idempotency_key: IdempotencyKey | None = None,
    ) -> File:
        """Make a file of staged bytes, or return the file that this request made before."""
        resource, now = principal.resource, self._now()
        file = file_of(
            staged.written,
            filename=checked_filename(filename, at="file"),
            purpose=purpose,
            surface=surface,
            now=now,
            expires_after_seconds=expires_after_seconds,
        )

        def insert(conn: Connection) -> tuple[File, bool]:
            def make() -> File:
                store.insert(conn, resource, file)
                return file

            def find(file_id: str) -> File:
                return store.get(conn, resource, file_id, now=now)

            return create_or_find(conn, resource, idempotency_key, make, find, now=now)

        return await staged.adopt(self._db.write(insert))

    async def retrieve(self, principal: Principal, file_id: str) -> File:
        now = self._now()
        return await self._db.read(lambda conn: store.get(conn, principal.resource, file_id, now=now))

    async def list(self, principal: Principal, page: Page, *, purpose: str | None = None) -> Listing[File]:
        now = self._now()
        return await self._db.read(lambda conn: store.page(conn, principal.resource, page, now=now, purpose=purpose))

    async def delete(self, principal: Principal, file_id: str) -> None:
        """Remove a file; it leaves the tool resources of assistants and threads, and vector stores, too."""
        now = self._now()

        def remove(conn: Connection) -> None:
            store.get(conn, principal.resource, file_id, now=now)
            _remove(conn, principal.resource, file_id, now=now)

        await self._db.write(remove)
        await self._blobs.discard([blob_key(file_id)])

    async def expire(self) -> tuple[str, ...]:
        """Remove the files whose time has come, as `delete` does; their ids."""
        now = self._now()
        expired = await self._db.read(lambda conn: store.expired(conn, now))
        for resource, file_id in expired:
            await self._db.write(partial(_remove, resource=resource, file_id=file_id, now=now))
            await self._blobs.discard([blob_key(file_id)])
        return tuple(file_id for _, file_id in expired)

    async def content(
        self, principal: Principal, file_id: str, start: int = 0, end: int | None = None
    ) -> tuple[File, AsyncIterator[bytes]]:
        """The file and its bytes from `start` up to and without `end`; any purpose may be downloaded, the owner's own
        files are theirs to read."""
        file = await self.retrieve(principal, file_id)
        return file, await self._blobs.get(blob_key(file_id), start, end)

    def _now(self) -> int:
        return int(self._clock())


def file_of(
    written: Written,
    *,
    filename: str,
    purpose: Purpose,
    surface: Surface,
    now: int,
    expires_after_seconds: int | None = None,
) -> File:
    """The file whose bytes these are."""
    return File(
        id=id_prefix(surface) + written.key,
        created_at=now,
        filename=filename,
        purpose=purpose,
        bytes=written.bytes,
        sha256=written.sha256,
        expires_at=None if expires_after_seconds is None else now + expires_after_seconds,
    )


def checked_filename(filename: str, *, at: str) -> str:
    """The name to store it under; InvalidRequest names the parameter `at`."""
    safe = safe_filename(filename)
    if safe is None:
        raise InvalidRequest(
            f"Invalid '{at}': the filename {filename!r} cannot be used. Expected a name such as 'data.csv'.",
            param=at,
            code="invalid_value",
        )
    if (length := len(safe.encode())) > MAX_FILENAME_BYTES:
        raise InvalidRequest(
            f"Invalid '{at}': filename too long. Expected a name of at most {MAX_FILENAME_BYTES} bytes, "
            f"but got one of {length} bytes instead.",
            param=at,
            code="string_above_max_length",
        )
    return safe


def _remove(conn: Connection, resource: str, file_id: str, *, now: int) -> None:
    for object_id in file_uses.users(conn, resource, file_id):
        if object_id.startswith("asst_"):
            assistant = assistant_store.get(conn, resource, object_id, for_update=True)
            kept = assistant.tool_resources.without_file(file_id)
            assistant_store.save(conn, resource, msgspec.structs.replace(assistant, tool_resources=kept))
        else:
            thread = thread_store.get(conn, resource, object_id, for_update=True)
            kept = thread.tool_resources.without_file(file_id)
            thread_store.save(conn, resource, msgspec.structs.replace(thread, tool_resources=kept))
    # Waits for a transaction that adds the file to a vector store; the next line sees that store.
    store.delete(conn, resource, file_id, now=now)
    for store_id in vector_store_file_store.stores_of(conn, resource, file_id):
        vector_store_file_store.delete(conn, resource, store_id, file_id)
