"""Blobs as plain files.

A blob is written to `tmp/`, flushed to the disk and renamed into its place: it is there whole or not at all. A retired
blob is renamed to `deleted/<day>/`. The directory belongs to one database, which the file `database-id` names.
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
from locum.blobs.base import CHUNK, MARKER, TRASH, SizeAndDigest, Written, is_day, is_key, pieces
from locum.errors import NotFound, StorageFull, Unavailable

T = TypeVar("T")

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskBlobs:
    """The blobs below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tmp = directory / "tmp"
        self._tmp.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._trash = directory / TRASH
        self._marker = directory / MARKER
        self.marker = str(self._marker)

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
        with _storing():
            await asyncio.to_thread(self._unless_missing, self._path(key).unlink)

    async def retire(self, key: str, day: str) -> None:
        with _storing():
            await _run_to_completion(self._unless_missing, _move, self._path(key), self._trash / day / key)

    def _unless_missing(self, fn: Callable[..., object], *args: Path) -> None:
        """Call `fn`; ignore that a blob is missing, unless the whole directory is away."""
        try:
            fn(*args)
        except FileNotFoundError:
            if not self._tmp.is_dir():
                raise

    async def purge(self, *, deleted_before: str, drafts_before: float) -> None:
        await asyncio.to_thread(self._purge, deleted_before, drafts_before)

    def _purge(self, deleted_before: str, drafts_before: float) -> None:
        for folder in self._trash.glob("*"):
            if is_day(folder.name) and folder.name < deleted_before:
                _remove_blobs(folder)
        for draft in self._tmp.glob("put_*"):
            with suppress(FileNotFoundError):  # another process may finish it at this moment
                if draft.stat().st_mtime < drafts_before:
                    draft.unlink()

    async def keys(self) -> set[str]:
        return await asyncio.to_thread(
            lambda: {path.name for path in self._directory.glob("??/*") if is_key(path.name)}
        )

    async def owner(self) -> str | None:
        try:
            return (await asyncio.to_thread(self._marker.read_text, encoding="utf-8")).strip() or None
        except FileNotFoundError:
            return None

    async def set_owner(self, database_id: str) -> None:
        with _storing():
            await _run_to_completion(self._write_marker, database_id)

    def _write_marker(self, database_id: str) -> None:
        draft = self._tmp / ids.new("put_")
        with draft.open("w", encoding="utf-8") as file:
            file.write(f"{database_id}\n")
            file.flush()
            os.fsync(file.fileno())
        _move(draft, self._marker)

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


def _remove_blobs(folder: Path) -> None:
    """Remove the blobs in a folder, and the folder unless it holds something else."""
    for path in folder.iterdir():
        if is_key(path.name):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except FileNotFoundError:  # the folder of the target, or the source itself
        if not source.exists():
            raise
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        source.replace(target)
    if sys.platform == "win32":  # directories cannot be flushed there
        return
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
