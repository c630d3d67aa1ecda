"""Keys in memory: reads of the database, rejected keys and their log lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from locum.access.keys import Keys
from locum.access.rejections import Rejections
from locum.clock import system_clock
from locum.errors import Unauthenticated
from locum.store.sqlite import SQLite

T = TypeVar("T")

KEY = "the-key-of-this-test"


class CountingDatabase(SQLite):
    """A database that counts its reads."""

    reads = 0

    async def read(self, fn: Callable[[Connection], T]) -> T:
        self.reads += 1
        return await super().read(fn)


@asynccontextmanager
async def opened(
    path: Path, *, now: Callable[[], float] = time.monotonic
) -> AsyncIterator[tuple[CountingDatabase, Keys]]:
    """A database and its keys, among them KEY. Reads are counted from here on."""
    db = CountingDatabase(path / "locum.db")
    try:
        keys = Keys(db, system_clock, keyless=False, monotonic=now)
        await keys.apply_setting(KEY)
        db.reads = 0
        yield db, keys
    finally:
        await db.close()


async def is_rejected(keys: Keys, key: str) -> bool:
    try:
        await keys.authenticate([key])
    except Unauthenticated:
        return True
    return False


def test_known_keys_cost_one_read_in_five_seconds(tmp_path: Path) -> None:
    async def scenario() -> None:
        now = [1000.0]
        async with opened(tmp_path, now=lambda: now[0]) as (db, keys):
            for _ in range(100):
                await keys.authenticate([KEY])
            assert db.reads == 0
            now[0] += 6
            await asyncio.gather(*(keys.authenticate([KEY]) for _ in range(100)))
            assert db.reads == 1

    asyncio.run(scenario())


def test_unknown_keys_are_delayed_and_known_keys_are_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as (db, keys):
            began = time.monotonic()
            guesses = [asyncio.ensure_future(is_rejected(keys, f"guess-{number}")) for number in range(500)]
            await asyncio.sleep(0)
            for _ in range(100):
                await keys.authenticate([KEY])
            assert time.monotonic() - began < 0.5
            assert not any(guess.done() for guess in guesses)
            assert all(await asyncio.gather(*guesses))
            assert time.monotonic() - began > 0.9
            assert db.reads == 1
            assert keys.rejections.total == 500

    asyncio.run(scenario())


def test_cancelled_request_with_unknown_key_leaves_the_others_waiting(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as (_, keys):
            first, second = (asyncio.ensure_future(is_rejected(keys, "guess")) for _ in range(2))
            await asyncio.sleep(0.1)
            first.cancel()
            assert await second
            with pytest.raises(asyncio.CancelledError):
                await first

    asyncio.run(scenario())


def test_unknown_key_that_another_server_has_just_created_is_accepted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as (db, keys):
            other = Keys(db, system_clock, keyless=False)
            _, key = await other.create("default", None)
            assert not await is_rejected(keys, key)
            assert keys.rejections.total == 0

    asyncio.run(scenario())


def test_rejections_are_logged_in_one_line_per_interval() -> None:
    async def scenario() -> None:
        rejections = Rejections(report_seconds=0.1)
        for _ in range(50):
            rejections.add()
        assert [line["count"] for line in lines] == [1]
        await asyncio.sleep(0.15)
        assert [line["count"] for line in lines] == [1, 49]
        await asyncio.sleep(0.3)
        assert len(lines) == 2
        rejections.add()
        assert [(line["count"], line["total"]) for line in lines[2:]] == [(1, 51)]

    with capture_logs() as lines:
        asyncio.run(scenario())
