"""What bytes are kept in, and what every adapter shares."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

import msgspec

from locum.errors import TooLarge

CHUNK = 1024 * 1024
"""Blobs go in and come out in pieces of about this size: worth a thread hop, harmless in memory."""

MARKER = "database-id"
"""Name of the marker, which has not the form of a key."""

TRASH = "deleted"
"""Folder of retired blobs, by the day on which they were retired."""

_KEY = re.compile("[A-Za-z0-9]{24}")
_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A blob that is stored. `sha256` in hex."""

    key: str
    bytes: int
    sha256: str


class Blobs(Protocol):
    """Bytes under keys. A blob is there whole or not at all, and never changes."""

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Written:
        """Write a blob, however large, in constant memory. Whatever goes wrong, nothing is kept: TooLarge beyond
        `max_bytes`, Unavailable when it cannot be stored, an error of `chunks`, a cancelled task."""

    async def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to and without `end`, in chunks of up to 1 MiB. NotFound at once when there is no
        such blob."""

    async def delete(self, key: str) -> None:
        """Remove a blob; one that is not there is no error."""


class BlobStore(Blobs, Protocol):
    """A place of blobs, with its trash and the name of the database that it belongs to."""

    marker: str
    """The marker that names the database, as the operator finds it."""

    async def retire(self, key: str, day: str) -> None:
        """Move a blob to the trash, `deleted/<day>/`; a blob that is not there is no error."""

    async def purge(self, *, deleted_before: str, drafts_before: float) -> None:
        """Remove blobs that were retired before that day (YYYY-MM-DD), and what a dead process left half-written before
        that time (seconds since the epoch)."""

    async def keys(self) -> set[str]:
        """Return the keys of all blobs; neither those in the trash nor names of another form."""

    async def owner(self) -> str | None:
        """Return the id of the database that the blobs belong to; None without a marker."""

    async def set_owner(self, database_id: str) -> None:
        """Write the marker."""

    async def close(self) -> None:
        """Let go of what is open."""


class SizeAndDigest:
    """Size and SHA-256 of what has gone by."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self._size = 0

    def add(self, piece: bytes) -> None:
        """Count a piece; TooLarge when it is too much."""
        self._size += len(piece)
        if self._size > self._max_bytes:
            limit = f"{self._max_bytes} bytes ({self._max_bytes // 1024**2} MB)"
            raise TooLarge(f"File is too large: a file may have {limit} at most.")
        self._digest.update(piece)

    def written(self, key: str) -> Written:
        return Written(key=key, bytes=self._size, sha256=self._digest.hexdigest())


async def pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of at least `CHUNK`, but for the last."""
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        if len(waiting) >= CHUNK:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def is_key(name: str) -> bool:
    """Whether a name has the form of our keys (24 characters of `ids.new`): a folder or bucket may hold other things
    too, and those must never be swept away."""
    return _KEY.fullmatch(name) is not None


def is_day(name: str) -> bool:
    """Return whether a name has the form of a folder in the trash."""
    return _DAY.fullmatch(name) is not None
