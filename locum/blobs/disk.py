"""Blobs as plain files.

A blob is written to `tmp/`, flushed to the disk and renamed into its place: it is there whole or not at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import IO

import msgspec

from locum import crashpoints, ids
from locum.errors import NotFound, TooLarge, Unavailable

_CHUNK = 1024 * 1024


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A blob that is on the disk. `sha256` in hex."""

    key: str
    bytes: int
    sha256: str


class DiskBlobs:
    """The blobs below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tmp = directory / "tmp"
        # What an earlier process left half-written belongs to nobody.
        shutil.rmtree(self._tmp, ignore_errors=True)
        self._tmp.mkdir(parents=True, mode=0o700)

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Written:
        """Write a blob, however large, in constant memory. TooLarge beyond `max_bytes`; then nothing is kept."""
        path = self._tmp / ids.new("put_")
        digest, size = hashlib.sha256(), 0

        def append(piece: bytes) -> None:
            digest.update(piece)
            file.write(piece)

        try:
            with path.open("wb") as file:
                async for piece in _coalesced(chunks):
                    size += len(piece)
                    if size > max_bytes:
                        raise TooLarge(
                            f"File is too large: a file may have {max_bytes} bytes ({max_bytes // 1024**2} MB) at most."
                        )
                    await asyncio.to_thread(append, piece)
                await asyncio.to_thread(_flush, file.fileno())
            target = self._path(key)
            await asyncio.to_thread(_move, path, target)
        except OSError as error:
            raise Unavailable(f"The file could not be stored ({error.strerror}).") from error
        finally:
            path.unlink(missing_ok=True)
        crashpoints.reach("blob written")
        return Written(key=key, bytes=size, sha256=digest.hexdigest())

    async def get(self, key: str) -> AsyncGenerator[bytes, None]:
        """The bytes, in chunks of up to 1 MiB. NotFound at once when there is no such blob."""
        try:
            file = await asyncio.to_thread(self._path(key).open, "rb")
        except FileNotFoundError:
            raise NotFound(f"No content found for file '{key}'.") from None
        return _chunks(file)

    async def delete(self, key: str) -> None:
        """Remove a blob; one that is not there is no error."""
        await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    async def keys_before(self, moment: float) -> list[str]:
        """Keys of the blobs written before `moment` (seconds since the epoch): what the sweeper looks through."""

        def walk() -> list[str]:
            return [
                path.name
                for folder in self._directory.iterdir()
                if folder != self._tmp and folder.is_dir()
                for path in folder.iterdir()
                if path.stat().st_mtime < moment
            ]

        return await asyncio.to_thread(walk)

    def _path(self, key: str) -> Path:
        return self._directory / key[-2:] / key


async def _chunks(file: IO[bytes]) -> AsyncGenerator[bytes, None]:
    with file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk


async def _coalesced(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces worth a thread hop."""
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        if len(waiting) >= _CHUNK:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True, mode=0o700)
    source.replace(target)
    if sys.platform == "win32":  # directories cannot be flushed there
        return
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
