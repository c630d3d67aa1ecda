"""What holds wherever bytes are kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from functools import cache

import pytest

from locum import ids
from locum.blobs.base import Blobs
from locum.errors import NotFound, TooLarge, Unavailable
from tests.blobs.conftest import Place

MB = 1024 * 1024
SIZES = [3, 20 * MB]
"""An object in one piece, and one in parts."""


@cache
def whole(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def content(size: int) -> AsyncIterator[bytes]:
    """Bytes no two of which are alike, in pieces as a socket gives them."""
    for at in range(0, size, 60_000):
        yield whole(size)[at : at + 60_000]


async def put(blobs: Blobs, size: int, *, max_bytes: int = 1024 * MB) -> str:
    return (await blobs.put(ids.new(""), content(size), max_bytes=max_bytes)).key


async def read(blobs: Blobs, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in await blobs.get(key, start, end)])


@pytest.mark.parametrize("size", [0, 1, MB, 8 * MB, 20 * MB + 1])
def test_what_is_put_is_what_is_got(place: Place, size: int) -> None:
    async def check() -> None:
        key = ids.new("")
        written = await place.blobs.put(key, content(size), max_bytes=size)
        expected = whole(size)
        assert (written.key, written.bytes, written.sha256) == (key, size, hashlib.sha256(expected).hexdigest())
        chunks = [chunk async for chunk in await place.blobs.get(key)]
        assert b"".join(chunks) == expected
        assert all(type(chunk) is bytes and 0 < len(chunk) <= MB for chunk in chunks)
        assert len(place.left()) == 1

    asyncio.run(check())


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1),
        (0, None),
        (5, 10),
        (MB - 1, MB + 1),
        (8 * MB - 1, 16 * MB + 1),
        (20 * MB - 1, None),
        (19 * MB, 99 * MB),
        (20 * MB, None),
        (99 * MB, None),
        (7, 7),
        (9, 7),
    ],
)
def test_any_part_can_be_read(place: Place, start: int, end: int | None) -> None:
    async def check() -> None:
        key = await put(place.blobs, 20 * MB)
        assert await read(place.blobs, key, start, end) == whole(20 * MB)[start:end]

    asyncio.run(check())


def test_a_part_of_an_empty_blob_is_empty(place: Place) -> None:
    async def check() -> None:
        key = await put(place.blobs, 0)
        assert await read(place.blobs, key, 0, 5) == b""

    asyncio.run(check())


@pytest.mark.parametrize("size", SIZES)
def test_too_large_leaves_nothing(place: Place, size: int) -> None:
    async def check() -> None:
        with pytest.raises(TooLarge, match="at most"):
            await put(place.blobs, size, max_bytes=size - 1)
        assert place.left() == set()

    asyncio.run(check())


class _Gone(Exception):
    """The client is."""


@pytest.mark.parametrize("size", SIZES)
def test_an_upload_that_breaks_off_leaves_nothing(place: Place, size: int) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        async for chunk in content(size):
            yield chunk
        raise _Gone

    async def check() -> None:
        with pytest.raises(_Gone):
            await place.blobs.put(ids.new(""), breaking(), max_bytes=MB * 100)
        assert place.left() == set()

    asyncio.run(check())


@pytest.mark.parametrize("size", SIZES)
def test_an_upload_that_is_cancelled_while_it_waits_leaves_nothing(place: Place, size: int) -> None:
    async def check() -> None:
        waits = asyncio.Event()

        async def stalling() -> AsyncIterator[bytes]:
            async for chunk in content(size):
                yield chunk
            waits.set()
            await asyncio.Event().wait()

        upload = asyncio.create_task(place.blobs.put(ids.new(""), stalling(), max_bytes=MB * 100))
        await waits.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert place.left() == set()

    asyncio.run(check())


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3])
def test_an_upload_that_is_cancelled_at_any_moment_is_there_whole_or_leaves_nothing(
    place: Place, moment: float
) -> None:
    async def check() -> None:
        key = ids.new("")
        upload = asyncio.create_task(place.blobs.put(key, content(20 * MB), max_bytes=MB * 100))
        await asyncio.wait([upload], timeout=moment)
        upload.cancel()
        try:
            await upload
        except asyncio.CancelledError:
            assert place.left() == set()
        else:
            assert await read(place.blobs, key) == whole(20 * MB)

    asyncio.run(check())


def test_a_key_that_is_not_there_is_said_at_once(place: Place) -> None:
    async def check() -> None:
        with pytest.raises(NotFound):
            await place.blobs.get(ids.new(""))

    asyncio.run(check())


def test_what_is_deleted_is_gone_and_may_be_deleted_again(place: Place) -> None:
    async def check() -> None:
        key, kept = await put(place.blobs, 5), await put(place.blobs, 6)
        await place.blobs.delete(key)
        await place.blobs.delete(key)
        with pytest.raises(NotFound):
            await place.blobs.get(key)
        assert len(await read(place.blobs, kept)) == 6

    asyncio.run(check())


def test_keys_are_those_of_blobs_only(place: Place) -> None:
    async def check() -> None:
        keys = {await put(place.blobs, 5) for _ in range(3)}
        retired = await put(place.blobs, 5)
        await place.blobs.retire(retired, "2026-12-01")
        await place.blobs.set_owner("db_1")
        place.add_foreign()
        assert await place.blobs.keys() == keys

    asyncio.run(check())


def test_retired_blob_is_found_in_the_trash_only(place: Place) -> None:
    async def check() -> None:
        key, kept = await put(place.blobs, 5), await put(place.blobs, 6)
        for _ in range(2):  # a sweep repeats what a dead server has begun
            await place.blobs.retire(key, "2026-12-01")
        with pytest.raises(NotFound):
            await place.blobs.get(key)
        assert len(await read(place.blobs, kept)) == 6
        assert {name for name in place.left() if "deleted" in name} == {place.path(f"deleted/2026-12-01/{key}")}

    asyncio.run(check())


def test_blob_that_is_not_there_can_be_retired(place: Place) -> None:
    asyncio.run(place.blobs.retire(ids.new(""), "2026-12-01"))
    assert place.left() == set()


def test_purge_removes_earlier_days_of_the_trash_and_nothing_else(place: Place) -> None:
    async def check() -> None:
        kept = await put(place.blobs, 5)
        for day in ("2026-11-30", "2026-12-01", "2026-12-02"):
            await place.blobs.retire(await put(place.blobs, 5), day)
        place.add_foreign()
        before = {name for name in place.left() if "2026-11-30" not in name and "2026-12-01" not in name}
        await place.blobs.purge(deleted_before="2026-12-02", drafts_before=0)
        assert place.left() == before
        assert len(before) >= 3
        assert len(await read(place.blobs, kept)) == 5

    asyncio.run(check())


def test_marker_names_the_owner(place: Place) -> None:
    async def check() -> None:
        assert await place.blobs.owner() is None
        for name in ("db_1", "db_2"):
            await place.blobs.set_owner(name)
            assert await place.blobs.owner() == name
        assert place.left() == {place.path("database-id")}

    asyncio.run(check())


def test_a_place_that_is_away_is_said_and_served_again_when_it_is_back(place: Place) -> None:
    async def check() -> None:
        key = await put(place.blobs, 9)
        place.take_away()
        try:
            before = time.monotonic()
            for size in SIZES:
                with pytest.raises(Unavailable) as raised:
                    await put(place.blobs, size)
                assert raised.value.retry_after > 0
            assert time.monotonic() - before < 30
        finally:
            place.bring_back()
        assert await read(place.blobs, key) == whole(9)
        assert len(await read(place.blobs, await put(place.blobs, 20 * MB))) == 20 * MB
        assert len(place.left()) == 2

    asyncio.run(check())


@pytest.mark.parametrize("size", [64 * MB, pytest.param(512 * MB, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_a_large_file_goes_in_and_out_in_little_memory(place: Place, size: int) -> None:
    """In a process of its own, because memory is never given back."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.blobs.transfer", place.url, str(size)],
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
    )
    figures = json.loads(done.stdout)
    print(figures)
    assert figures["same"]
    assert 0 < figures["grown"] <= 64 * MB
