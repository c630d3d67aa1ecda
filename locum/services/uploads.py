"""Uploads: create, stage and add parts, complete, cancel; and the end of those whose hour, then whose day, is over.

An upload's parts are blobs of their own. Completing it joins them, from blob to blob, into the blob of a file.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial

from msgspec.structs import replace
from sqlalchemy import Connection

from locum import ids
from locum.access.principals import Principal
from locum.blobs.base import Written
from locum.clock import Clock
from locum.domain.files import Purpose, Surface
from locum.domain.uploads import (
    KEEP_SECONDS,
    MAX_BYTES,
    MAX_PART_BYTES,
    SECONDS,
    Upload,
    UploadPart,
    part_blob_key,
)
from locum.errors import InvalidRequest, NotFound
from locum.services.files import checked_filename, file_of
from locum.services.staging import Staged, stage
from locum.services.tracked_blobs import TrackedBlobs
from locum.store import files as file_store
from locum.store import uploads as store
from locum.store.database import Database


class Uploads:
    def __init__(self, db: Database, blobs: TrackedBlobs, clock: Clock) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock

    async def create(
        self,
        principal: Principal,
        *,
        filename: str,
        purpose: Purpose,
        size: int,
        expires_after_seconds: int | None = None,
    ) -> Upload:
        """An upload that takes parts for an hour; its file is to have `size` bytes."""
        now = self._now()
        upload = Upload(
            id=ids.new("upload_"),
            created_at=now,
            expires_at=now + SECONDS,
            filename=checked_filename(filename, at="filename"),
            purpose=purpose,
            bytes=size,
            expires_after_seconds=expires_after_seconds,
        )
        await self._db.write(lambda conn: store.insert(conn, principal.resource, upload))
        return upload

    @asynccontextmanager
    async def staged(self, principal: Principal, upload_id: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[Staged]:
        """Store bytes as they arrive, for `add_part`; InvalidRequest unless the upload is pending, or beyond 64 MB."""
        await self._db.read(lambda conn: self._pending(conn, principal.resource, upload_id))
        async with stage(self._blobs, _limited(chunks), max_bytes=MAX_PART_BYTES) as staged:
            yield staged

    async def add_part(self, principal: Principal, upload_id: str, staged: Staged) -> UploadPart:
        """Make a part of staged bytes."""
        written = staged.written
        part = UploadPart(id=f"part_{written.key}", created_at=self._now(), upload_id=upload_id, bytes=written.bytes)

        def add(conn: Connection) -> tuple[UploadPart, bool]:
            upload = self._pending(conn, principal.resource, upload_id, for_update=True)
            stored_bytes = upload.stored_bytes + part.bytes
            if stored_bytes > MAX_BYTES:
                raise InvalidRequest(f"The parts of an upload may have {MAX_BYTES} bytes (8 GB) at most.", param="data")
            store.add_part(conn, principal.resource, part)
            store.save(conn, principal.resource, replace(upload, stored_bytes=stored_bytes))
            return part, True

        return await staged.adopt(self._db.write(add))

    async def complete(
        self, principal: Principal, upload_id: str, part_ids: Sequence[str], *, surface: Surface, md5: str | None = None
    ) -> Upload:
        """Join the parts, in the order given, to a file; remove all parts. After a failure the upload stays pending."""
        upload, parts = await self._db.read(lambda conn: self._with_parts(conn, principal.resource, upload_id))
        chosen = _chosen(upload, parts, part_ids)
        digest = hashlib.md5(usedforsecurity=False)
        try:
            async with stage(self._blobs, self._joined(chosen, digest.update), max_bytes=upload.bytes) as staged:
                _check_md5(md5, digest.hexdigest())
                finish = partial(
                    self._finish,
                    resource=principal.resource,
                    upload_id=upload_id,
                    written=staged.written,
                    surface=surface,
                )
                upload, removed = await staged.adopt(self._db.write(finish))
        except NotFound:  # a part is gone: the upload was completed, cancelled or expired meanwhile
            await self._db.read(lambda conn: self._pending(conn, principal.resource, upload_id))
            raise
        await self._drop(removed)
        return upload

    def _finish(
        self, conn: Connection, *, resource: str, upload_id: str, written: Written, surface: Surface
    ) -> tuple[tuple[Upload, list[UploadPart]], bool]:
        """Make the joined bytes a file and close the upload; return both the upload and the parts it had."""
        upload = self._pending(conn, resource, upload_id, for_update=True)
        file = file_of(
            written,
            filename=upload.filename,
            purpose=upload.purpose,
            surface=surface,
            now=self._now(),
            expires_after_seconds=upload.expires_after_seconds,
        )
        file_store.insert(conn, resource, file)
        upload = replace(upload, status="completed", file=file)
        return (upload, _close(conn, resource, upload, now=self._now())), True

    async def cancel(self, principal: Principal, upload_id: str) -> Upload:
        """From now on it takes no parts, and those it has are dropped."""

        def close(conn: Connection) -> tuple[Upload, list[UploadPart]]:
            upload = replace(self._pending(conn, principal.resource, upload_id, for_update=True), status="cancelled")
            return upload, _close(conn, principal.resource, upload, now=self._now())

        upload, parts = await self._db.write(close)
        await self._drop(parts)
        return upload

    async def expire(self) -> tuple[str, ...]:
        """Close the uploads whose hour is over, and drop their parts; their ids."""
        now = self._now()
        overdue = await self._db.read(lambda conn: store.overdue(conn, now))
        for resource, upload_id in overdue:
            await self._drop(await self._db.write(partial(_expire, resource=resource, upload_id=upload_id, now=now)))
        return tuple(upload_id for _, upload_id in overdue)

    async def forget(self) -> int:
        """Delete the rows of uploads that ended and whose day is over, a portion at a time; return their number."""
        before, count = self._now() - KEEP_SECONDS, 0
        while portion := await self._db.write(lambda conn: store.delete_finished(conn, before)):
            count += portion
        return count

    def _pending(self, conn: Connection, resource: str, upload_id: str, *, for_update: bool = False) -> Upload:
        upload = store.get(conn, resource, upload_id, for_update=for_update).at(self._now())
        if upload.status != "pending":
            raise InvalidRequest(f"Upload '{upload_id}' has the status '{upload.status}'. Expected 'pending'.")
        return upload

    def _with_parts(self, conn: Connection, resource: str, upload_id: str) -> tuple[Upload, list[UploadPart]]:
        return self._pending(conn, resource, upload_id), store.parts(conn, resource, upload_id)

    async def _joined(self, parts: Sequence[UploadPart], seen: Callable[[bytes], None]) -> AsyncGenerator[bytes, None]:
        for part in parts:
            async with aclosing(await self._blobs.get(part_blob_key(part.id))) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(seen, chunk)
                    yield chunk

    async def _drop(self, parts: Sequence[UploadPart]) -> None:
        """Remove the bytes of parts that have no rows any more. They do not go to the trash: the file has them."""
        await self._blobs.discard([part_blob_key(part.id) for part in parts], keep=False)

    def _now(self) -> int:
        return int(self._clock())


async def _limited(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same chunks; InvalidRequest once they exceed the size of a part."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > MAX_PART_BYTES:
            message = f"Invalid 'data': the part is too large. Expected at most {MAX_PART_BYTES} bytes (64 MB)."
            raise InvalidRequest(message, param="data", code="invalid_value")
        yield chunk


def _check_md5(expected: str | None, actual: str) -> None:
    if expected is not None and expected.lower() != actual:
        raise InvalidRequest(
            f"Invalid 'md5': the uploaded bytes have the checksum '{actual}', not '{expected[:100]}'.",
            param="md5",
            code="invalid_value",
        )


def _chosen(upload: Upload, parts: Sequence[UploadPart], part_ids: Sequence[str]) -> list[UploadPart]:
    """The parts of these ids, in their order; InvalidRequest unless they are this upload's, and come to its size."""
    known = {part.id: part for part in parts}
    chosen: dict[str, UploadPart] = {}
    for index, part_id in enumerate(part_ids):
        if part_id not in known:
            raise _invalid_part(index, f"'{part_id[:100]}' is no part of the upload '{upload.id}'")
        if part_id in chosen:
            raise _invalid_part(index, f"'{part_id}' is there twice")
        chosen[part_id] = known[part_id]
    if (total := sum(part.bytes for part in chosen.values())) != upload.bytes:
        raise InvalidRequest(
            f"The parts have {total} bytes, but the upload '{upload.id}' was created for {upload.bytes} bytes.",
            param="part_ids",
            code="invalid_value",
        )
    return list(chosen.values())


def _invalid_part(index: int, why: str) -> InvalidRequest:
    path = f"part_ids[{index}]"
    return InvalidRequest(f"Invalid '{path}': {why}.", param=path, code="invalid_value")


def _close(conn: Connection, resource: str, upload: Upload, *, now: int) -> list[UploadPart]:
    """Write its last status and remove the rows of its parts; return the parts, whose bytes are garbage."""
    parts = store.remove_parts(conn, resource, upload.id, now=now)
    store.save(conn, resource, upload)
    return parts


def _expire(conn: Connection, resource: str, upload_id: str, now: int) -> list[UploadPart]:
    upload = store.get(conn, resource, upload_id, for_update=True).at(now)
    return _close(conn, resource, upload, now=now) if upload.status == "expired" else []
