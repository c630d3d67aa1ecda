"""Files: stage and create, retrieve, list, delete, content."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from sqlalchemy import Connection

from locum import ids
from locum.access.principals import Principal
from locum.blobs.base import Blobs, Written
from locum.clock import Clock
from locum.domain.files import (
    MAX_BYTES,
    MAX_FILENAME_BYTES,
    UPLOAD_PURPOSES,
    File,
    Surface,
    blob_key,
    id_prefix,
    safe_filename,
)
from locum.domain.pages import Listing, Page
from locum.errors import InvalidRequest, LocumError
from locum.store import assistants as assistant_store
from locum.store import file_uses
from locum.store import files as store
from locum.store import threads as thread_store
from locum.store.database import Database

Staged = Written
"""Bytes that arrived, before it is known whether they become a file."""


class Files:
    def __init__(self, db: Database, blobs: Blobs, clock: Clock) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock

    async def stage(self, chunks: AsyncIterator[bytes]) -> Staged:
        """Store bytes as they arrive; TooLarge beyond 512 MB. Follow with `create` or `discard`."""
        return await self._blobs.put(ids.new(""), chunks, max_bytes=MAX_BYTES)

    async def discard(self, staged: Staged) -> None:
        """Drop bytes that do not become a file."""
        await self._blobs.delete(staged.key)

    async def create(
        self, principal: Principal, staged: Staged, *, filename: str, purpose: str, surface: Surface
    ) -> File:
        """Make a file of staged bytes; when it is refused, the bytes are dropped."""
        try:
            file = File(
                id=id_prefix(surface) + staged.key,
                created_at=int(self._clock()),
                filename=_checked_filename(filename),
                purpose=_checked_purpose(purpose),  # type: ignore[arg-type]
                bytes=staged.bytes,
                sha256=staged.sha256,
            )
            await self._db.write(lambda conn: store.insert(conn, principal.resource, file))
        except LocumError:
            await self.discard(staged)
            raise
        return file

    async def retrieve(self, principal: Principal, file_id: str) -> File:
        return await self._db.read(lambda conn: store.get(conn, principal.resource, file_id))

    async def list(self, principal: Principal, page: Page, *, purpose: str | None = None) -> Listing[File]:
        return await self._db.read(lambda conn: store.page(conn, principal.resource, page, purpose=purpose))

    async def delete(self, principal: Principal, file_id: str) -> None:
        """Remove a file; it leaves the tool resources of assistants and threads too."""

        def remove(conn: Connection) -> None:
            resource = principal.resource
            store.get(conn, resource, file_id)
            for object_id in file_uses.users(conn, resource, file_id):
                if object_id.startswith("asst_"):
                    assistant = assistant_store.get(conn, resource, object_id, for_update=True)
                    kept = assistant.tool_resources.without_file(file_id)
                    assistant_store.save(conn, resource, msgspec.structs.replace(assistant, tool_resources=kept))
                else:
                    thread = thread_store.get(conn, resource, object_id, for_update=True)
                    kept = thread.tool_resources.without_file(file_id)
                    thread_store.save(conn, resource, msgspec.structs.replace(thread, tool_resources=kept))
            store.delete(conn, resource, file_id)

        await self._db.write(remove)
        await self._blobs.delete(blob_key(file_id))

    async def content(
        self, principal: Principal, file_id: str, start: int = 0, end: int | None = None
    ) -> tuple[File, AsyncIterator[bytes]]:
        """The file and its bytes from `start` up to and without `end`; any purpose may be downloaded, the owner's own
        files are theirs to read."""
        file = await self.retrieve(principal, file_id)
        return file, await self._blobs.get(blob_key(file_id), start, end)

    async def sweep(self, before: float) -> tuple[str, ...]:
        """Remove the bytes stored before `before` (seconds since the epoch) that never got a row; their keys."""
        candidates = await self._blobs.keys_before(before)
        known = {blob_key(file_id) for file_id in await self._db.read(store.known_ids)} if candidates else set()
        orphans = tuple(key for key in candidates if key not in known)
        for key in orphans:
            await self._blobs.delete(key)
        return orphans


def _checked_filename(filename: str) -> str:
    safe = safe_filename(filename)
    if safe is None:
        raise InvalidRequest(
            f"Invalid 'file': the filename {filename!r} cannot be used. Expected a name such as 'data.csv'.",
            param="file",
            code="invalid_value",
        )
    if (length := len(safe.encode())) > MAX_FILENAME_BYTES:
        raise InvalidRequest(
            f"Invalid 'file': filename too long. Expected a name of at most {MAX_FILENAME_BYTES} bytes, "
            f"but got one of {length} bytes instead.",
            param="file",
            code="string_above_max_length",
        )
    return safe


def _checked_purpose(purpose: str) -> str:
    if purpose not in UPLOAD_PURPOSES:
        allowed = ", ".join(f"'{each}'" for each in UPLOAD_PURPOSES[:-1])
        raise InvalidRequest(
            f"Invalid value: '{purpose}'. Supported values are: {allowed}, and '{UPLOAD_PURPOSES[-1]}'.",
            param="purpose",
            code="invalid_value",
        )
    return purpose
