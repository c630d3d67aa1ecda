"""Blobs whose keys the database notes for as long as no row refers to them.

What is stored is either in a row or in a note, so nothing is ever inferred from the absence of a row: a sweep removes
noted keys only (`blob_sweep.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import partial

import structlog

from locum.blobs.base import BlobStore, Written
from locum.clock import Clock
from locum.errors import LocumError
from locum.store import staged_blobs
from locum.store.database import Database

log = structlog.get_logger(__name__)

GRACE_SECONDS = 3600.0
"""Time between the note of a key, or its renewal, and the commit of a row for it."""
_RENEW_SECONDS = GRACE_SECONDS / 4
KEEP_DAYS = 7


class TrackedBlobs:
    """`Blobs` over a store, with notes in the database."""

    def __init__(self, db: Database, store: BlobStore, clock: Clock, *, keep_days: int = KEEP_DAYS) -> None:
        """keep_days: days for which deleted bytes stay in the trash; 0 deletes them at once."""
        self.store = store
        self.keep_days = keep_days
        self._db = db
        self._clock = clock

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Written:
        now = self._clock()
        await self._db.write(lambda conn: staged_blobs.note(conn, key, now=now))
        return await self.store.put(key, self._renewing(key, chunks, now), max_bytes=max_bytes)

    async def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        return await self.store.get(key, start, end)

    async def delete(self, key: str) -> None:
        """Remove bytes that no row refers to; they do not go to the trash."""
        await self.store.delete(key)
        await self._db.write(lambda conn: staged_blobs.forget(conn, [key]))

    async def discard(self, keys: Sequence[str], *, keep: bool = True) -> list[str]:
        """Remove bytes whose rows are deleted, and return the keys; `keep` moves the bytes to the trash. What fails is
        logged and left to the next sweep."""
        removed = [key for key in keys if await self._is_removed(key, keep=keep)]
        if not removed:
            return []
        try:
            await self._db.write(lambda conn: staged_blobs.forget(conn, removed))
        except LocumError as error:
            log.warning("notes of removed bytes are kept for the next sweep", reason=error.message)
            return []
        return removed

    def day(self) -> str:
        """Return the folder of the trash for blobs that are retired now."""
        return datetime.fromtimestamp(self._clock(), UTC).date().isoformat()

    async def _is_removed(self, key: str, *, keep: bool) -> bool:
        try:
            if keep and self.keep_days > 0:
                await self.store.retire(key, self.day())
            else:
                await self.store.delete(key)
        except (LocumError, OSError) as error:
            log.warning("bytes could not be removed; the next sweep tries again", key=key, reason=str(error))
            return False
        return True

    async def _renewing(self, key: str, chunks: AsyncIterator[bytes], noted_at: float) -> AsyncIterator[bytes]:
        """Pass the chunks on, and renew the key's note while they take longer than a part of its grace period."""
        async for chunk in chunks:
            if (now := self._clock()) - noted_at >= _RENEW_SECONDS:
                noted_at = now
                await self._db.write(partial(staged_blobs.renew, key=key, now=now))
            yield chunk
