"""Blobs as plain files.

A blob is written to `tmp/`, flushed to the disk and renamed into its place: it is there whole or not at all. The
directory belongs to one server.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from locum import crashpoints, ids
from locum.blobs.base import CHUNK, SizeAndDigest, Written, is_key, pieces
from locum.errors import NotFound, StorageFull, Unavailable

T = TypeVar("T")

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskBlobs:
    """The blobs below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tmp = directory / "tmp"
        self._tmp.mkdir(parents=True, exist_ok=True, mode=0o700)
        for draft in self._tmp.glob("put_*"):
            draft.unlink()  # what an earlier process left half-written belongs to nobody

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Written:
        draft, measured = self._tmp / ids.new("put_"), SizeAndDigest(max_bytes)

        def append(piece: bytes) -> None:
            measured.add(piece)
            rest = memoryview(piece)
            while rest:
                rest = rest[file.write(rest) :]

        try:
            with _storing():
                file = draft.open("wb", buffering=0)
            with file:
                async for piece in pieces(chunks):
                    with _storing():
                        await _run_to_completion(append, piece)
                with _storing():
                    await _run_to_completion(os.fsync, file.fileno())
            with _storing():
                await _run_to_completion(_move, draft, self._path(key))
        except BaseException:  # a cancelled task, too
            draft.unlink(missing_ok=True)
            self._path(key).unlink(missing_ok=True)
            raise
        crashpoints.reach("blob written")
        return measured.written(key)

    async def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        try:
            file = await asyncio.to_thread(self._path(key).open, "rb")
        except FileNotFoundError:
            raise NotFound(f"No content found for file '{key}'.") from None
        return _chunks(file, start, sys.maxsize if end is None else end)

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    async def keys_before(self, moment: float) -> list[str]:
        return await asyncio.to_thread(
            lambda: [
                path.name
                for path in self._directory.glob("??/*")
                if is_key(path.name) and path.stat().st_mtime < moment
            ]
        )

    async def close(self) -> None:
        pass

    def _path(self, key: str) -> Path:
        return self._directory / key[-2:] / key


async def _run_to_completion(fn: Callable[..., T], *args: Any) -> T:
    """Run `fn` in a thread; raise a cancelled caller's CancelledError only after the thread has finished."""
    step = asyncio.ensure_future(asyncio.to_thread(fn, *args))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        while not step.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([step])
        raise


async def _chunks(file: IO[bytes], start: int, end: int) -> AsyncGenerator[bytes, None]:
    with file:
        file.seek(start)
        while (wanted := min(CHUNK, end - start)) > 0:
            if chunk := await asyncio.to_thread(file.read, wanted):
                start += len(chunk)
                yield chunk
            if len(chunk) < wanted:
                return


@contextmanager
def _storing() -> Iterator[None]:
    """What the disk refuses, in words."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("There is no room left on this server's disk to store the file.") from error
        raise Unavailable(f"The file could not be stored ({error.strerror}).") from error


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
