"""Uploads: create, stage and add parts, complete, cancel; and the end of those whose hour is over.

An upload's parts are blobs of their own. Completing it joins them, from blob to blob, into the blob of a file.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial

from msgspec.structs import replace
from sqlalchemy import Connection

from locum import ids
from locum.access.principals import Principal
from locum.blobs.base import Blobs, Written
from locum.clock import Clock
from locum.domain.files import Purpose, Surface
from locum.domain.uploads import MAX_BYTES, MAX_PART_BYTES, SECONDS, Upload, UploadPart, part_blob_key
from locum.errors import InvalidRequest, LocumError, NotFound, TooLarge
from locum.services.files import checked_filename, file_of
from locum.store import files as file_store
from locum.store import uploads as store
from locum.store.database import Database


class Uploads:
    def __init__(self, db: Database, blobs: Blobs, clock: Clock) -> None:
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

    async def stage(self, principal: Principal, upload_id: str, chunks: AsyncIterator[bytes]) -> Written:
        """Store bytes as they arrive, if the upload takes parts. Follow with `add_part` or `discard`."""
        await self._db.read(lambda conn: self._pending(conn, principal.resource, upload_id))
        try:
            return await self._blobs.put(ids.new(""), chunks, max_bytes=MAX_PART_BYTES)
        except TooLarge:
            message = f"Invalid 'data': the part is too large. Expected at most {MAX_PART_BYTES} bytes (64 MB)."
            raise InvalidRequest(message, param="data", code="invalid_value") from None

    async def discard(self, staged: Written) -> None:
        """Drop bytes that do not become a part."""
        await self._blobs.delete(staged.key)

    async def add_part(self, principal: Principal, upload_id: str, staged: Written) -> UploadPart:
        """Make a part of staged bytes; when it is refused, the bytes are dropped."""
        part = UploadPart(id=f"part_{staged.key}", created_at=self._now(), upload_id=upload_id, bytes=staged.bytes)

        def add(conn: Connection) -> None:
            upload = self._pending(conn, principal.resource, upload_id, for_update=True)
            stored_bytes = upload.stored_bytes + part.bytes
            if stored_bytes > MAX_BYTES:
                raise InvalidRequest(f"The parts of an upload may have {MAX_BYTES} bytes (8 GB) at most.", param="data")
            store.add_part(conn, principal.resource, part)
            store.save(conn, principal.resource, replace(upload, stored_bytes=stored_bytes))

        try:
            await self._db.write(add)
        except LocumError:
            await self.discard(staged)
            raise
        return part

    async def complete(
        self, principal: Principal, upload_id: str, part_ids: Sequence[str], *, surface: Surface, md5: str | None = None
    ) -> Upload:
        """Join the parts, in the order given, to a file. Until that is done the upload is pending: it can be tried
        again. Parts that are not named are dropped."""
        upload, parts = await self._db.read(lambda conn: self._with_parts(conn, principal.resource, upload_id))
        chosen = _chosen(upload, parts, part_ids)
        digest = hashlib.md5(usedforsecurity=False)
        try:
            written = await self._blobs.put(ids.new(""), self._joined(chosen, digest.update), max_bytes=upload.bytes)
        except NotFound:  # a part is gone: the upload was completed or cancelled meanwhile, or its hour is over
            await self._db.read(lambda conn: self._pending(conn, principal.resource, upload_id))
            raise

        def finish(conn: Connection) -> tuple[Upload, list[UploadPart]]:
            if md5 is not None and md5.lower() != digest.hexdigest():
                raise InvalidRequest(
                    f"Invalid 'md5': the uploaded bytes have the checksum '{digest.hexdigest()}', not '{md5[:100]}'.",
                    param="md5",
                    code="invalid_value",
                )
            upload = self._pending(conn, principal.resource, upload_id, for_update=True)
            file = file_of(
                written,
                filename=upload.filename,
                purpose=upload.purpose,
                surface=surface,
                now=self._now(),
                expires_after_seconds=upload.expires_after_seconds,
            )
            file_store.insert(conn, principal.resource, file)
            upload = replace(upload, status="completed", file=file)
            return upload, _close(conn, principal.resource, upload)

        try:
            upload, unneeded = await self._db.write(finish)
        except LocumError:
            await self.discard(written)
            raise
        await self._drop(unneeded)
        return upload

    async def cancel(self, principal: Principal, upload_id: str) -> Upload:
        """From now on it takes no parts, and those it has are dropped."""

        def close(conn: Connection) -> tuple[Upload, list[UploadPart]]:
            upload = replace(self._pending(conn, principal.resource, upload_id, for_update=True), status="cancelled")
            return upload, _close(conn, principal.resource, upload)

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
        """The bytes of parts that have no rows any more; what a dying server leaves here is swept."""
        for part in parts:
            await self._blobs.delete(part_blob_key(part.id))

    def _now(self) -> int:
        return int(self._clock())


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


def _close(conn: Connection, resource: str, upload: Upload) -> list[UploadPart]:
    """Write its last status and remove the rows of its parts; the parts, whose bytes nobody needs any more."""
    parts = store.parts(conn, resource, upload.id)
    store.delete_parts(conn, resource, upload.id)
    store.save(conn, resource, upload)
    return parts


def _expire(conn: Connection, resource: str, upload_id: str, now: int) -> list[UploadPart]:
    upload = store.get(conn, resource, upload_id, for_update=True).at(now)
    return _close(conn, resource, upload) if upload.status == "expired" else []
