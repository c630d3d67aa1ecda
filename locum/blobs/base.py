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

_KEY = re.compile("[A-Za-z0-9]{24}")


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

    async def keys_before(self, moment: float) -> list[str]:
        """Keys of the blobs written before `moment` (seconds since the epoch, by the clock of whatever stores them):
        what the sweeper looks through. Never the name of something that is not ours."""

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
