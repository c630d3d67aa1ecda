"""Uploaded bytes between their arrival and the commit of the row that refers to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog

from locum import ids
from locum.blobs.base import Written
from locum.errors import LocumError, OutcomeUnknown
from locum.services.tracked_blobs import TrackedBlobs

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Staged:
    """Stored bytes that no row refers to yet."""

    def __init__(self, written: Written) -> None:
        self.written = written
        self._commit: asyncio.Future[tuple[Any, bool]] | None = None

    async def adopt(self, commit: Coroutine[Any, Any, tuple[T, bool]]) -> T:
        """Wait for a transaction and return its object. Its second value is True if a row now refers to the bytes."""
        committing = asyncio.ensure_future(commit)
        self._commit = committing
        made, _ = await asyncio.shield(committing)
        return made

    async def close(self, blobs: TrackedBlobs) -> None:
        """Remove the bytes unless a row refers to them, or may do so."""
        if self._commit is not None:
            await asyncio.wait([self._commit])  # the transaction of a cancelled request still runs to its end
        if self._may_be_adopted():
            return
        try:
            await blobs.delete(self.written.key)
        except (LocumError, OSError) as error:  # the request has its answer; the hourly sweep removes them
            log.warning("staged bytes could not be removed", key=self.written.key, reason=str(error))

    def _may_be_adopted(self) -> bool:
        if self._commit is None:
            return False
        if self._commit.cancelled():  # the event loop ends before the transaction does
            return True
        match self._commit.exception():
            case None:
                return self._commit.result()[1]
            case error:
                return isinstance(error, OutcomeUnknown)


@asynccontextmanager
async def stage(blobs: TrackedBlobs, chunks: AsyncIterator[bytes], *, max_bytes: int) -> AsyncIterator[Staged]:
    """Store bytes as they arrive; on leaving, remove them unless a committed row refers to them."""
    staged = Staged(await blobs.put(ids.new(""), chunks, max_bytes=max_bytes))
    try:
        yield staged
    finally:
        await asyncio.shield(asyncio.ensure_future(staged.close(blobs)))
