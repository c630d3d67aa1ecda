"""Blobs in an S3-compatible store: `s3://bucket/prefix`, one object per blob.

Retired blobs are below `deleted/<day>/`. The object `database-id` names the database that the prefix belongs to.

Endpoint, region and credentials come from the usual `AWS_*` variables. Many servers may share a prefix, as long as they
share the database too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store

from locum import crashpoints
from locum.blobs.base import CHUNK, MARKER, TRASH, SizeAndDigest, Written, is_day, is_key, pieces
from locum.errors import LocumError, NotFound, StartupError, Unavailable

log = structlog.get_logger(__name__)

_PART = 8 * CHUNK
_PARTS_AT_ONCE = 3
"""With the part that is being filled, 32 MiB for an upload. S3 takes 10,000 parts: 80 GB."""
_MOST_COPIED = 5 * 1024**3
"""S3 copies no larger object by itself."""


class S3Blobs:
    """The blobs below one prefix of a bucket."""

    def __init__(self, bucket: str, prefix: str, *, most_copied: int = _MOST_COPIED) -> None:
        """most_copied: the largest object, in bytes, that the store copies by itself."""
        self.marker = f"s3://{bucket}/{prefix}/{MARKER}" if prefix else f"s3://{bucket}/{MARKER}"
        self._most_copied = most_copied
        try:
            self._store = S3Store(
                bucket,
                prefix=prefix or None,
                disable_bulk_delete=True,  # one at a time is all we need, and not every store has the other
                client_options={"allow_http": True, "connect_timeout": "5s", "timeout": "60s"},
                # Somebody waits for the answer: give up in seconds, and let the caller decide.
                retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=10)},
            )
        except (BaseError, ValueError) as error:
            raise StartupError(f"The S3 store for files cannot be used: {_reason(error)}.") from error

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Written:
        measured = SizeAndDigest(max_bytes)
        await self._write(key, chunks, measured)
        crashpoints.reach("blob written")
        return measured.written(key)

    async def _write(self, key: str, chunks: AsyncIterator[bytes], measured: SizeAndDigest) -> None:
        writer = obstore.open_writer_async(self._store, key, buffer_size=_PART, max_concurrency=_PARTS_AT_ONCE)
        try:
            async for piece in pieces(chunks):
                await asyncio.to_thread(measured.add, piece)
                with _storing():
                    # Shielded: a step that is dropped half-way would leave an upload behind that nobody can name.
                    await asyncio.shield(writer.write(piece))
            with _storing():
                await asyncio.shield(writer.close())
        except BaseException:  # a cancelled task, too
            await asyncio.shield(asyncio.ensure_future(self._undo(writer, key)))
            raise

    async def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        with _reading(key):
            size = (await self._store.head_async(key))["size"]
        return self._chunks(key, start, size if end is None else min(end, size))

    async def _chunks(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """One request for every 8 MiB: none is open while a slow reader takes its time."""
        while start < end:
            with _reading(key):
                part = memoryview(await self._store.get_range_async(key, start=start, end=min(start + _PART, end)))
            for at in range(0, len(part), CHUNK):
                yield bytes(part[at : at + CHUNK])
            start += len(part)

    async def delete(self, key: str) -> None:
        with _storing(), suppress(FileNotFoundError):
            await self._store.delete_async(key)

    async def retire(self, key: str, day: str) -> None:
        target = f"{TRASH}/{day}/{key}"
        with _storing(), suppress(FileNotFoundError):
            size = (await self._store.head_async(key))["size"]
            if size > self._most_copied:
                await self._write(target, self._chunks(key, 0, size), SizeAndDigest(size))
            else:
                await self._store.copy_async(key, target)
        await self.delete(key)

    async def purge(self, *, deleted_before: str, drafts_before: float) -> None:
        """The bucket's lifecycle rule for incomplete uploads removes those."""
        with _storing():
            days = await self._store.list_with_delimiter_async(TRASH)
            for folder in days["common_prefixes"]:
                day = folder.rpartition("/")[2]
                if is_day(day) and day < deleted_before:
                    await self._remove_all(folder)

    async def _remove_all(self, folder: str) -> None:
        async for batch in self._store.list(folder, chunk_size=1000):
            for item in batch:
                if is_key(item["path"].rpartition("/")[2]):
                    await self._store.delete_async(item["path"])

    async def keys(self) -> set[str]:
        with _storing():
            return {
                item["path"]
                async for batch in self._store.list(chunk_size=1000)
                for item in batch
                if is_key(item["path"])
            }

    async def owner(self) -> str | None:
        with _storing():
            try:
                content = await (await self._store.get_async(MARKER)).bytes_async()
            except FileNotFoundError:
                return None
        return bytes(content).decode().strip() or None

    async def set_owner(self, database_id: str) -> None:
        with _storing():
            await self._store.put_async(MARKER, f"{database_id}\n".encode())

    async def close(self) -> None:
        pass

    async def _undo(self, writer: obstore.AsyncWritableFile, key: str) -> None:
        """Leave nothing of an upload, however far it came. A store that is gone keeps the parts it has, out of sight;
        the bucket's lifecycle rule for incomplete uploads removes them."""
        try:
            await writer.__aexit__(Exception, None, None)  # waits for the step under way, then aborts
        except OSError:  # closed already: it failed, or was cancelled and is an object by now
            with suppress(LocumError):
                await self.delete(key)
        except BaseError as error:
            log.warning("an upload could not be aborted", key=key, reason=_reason(error))


@contextmanager
def _storing() -> Iterator[None]:
    """What the store refuses, in words. Its own go to the log: they name hosts and buckets."""
    try:
        yield
    except (BaseError, OSError) as error:
        log.warning("the file store did not serve", reason=_reason(error))
        raise Unavailable("The file store cannot be reached or refused the request. Try again later.") from error


@contextmanager
def _reading(key: str) -> Iterator[None]:
    with _storing():
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"No content found for file '{key}'.") from None


def _reason(error: Exception) -> str:
    """What the store said, on one line, without the client's own notes below it."""
    return " ".join(str(error).partition("\n\nDebug source")[0].split())[:600]
