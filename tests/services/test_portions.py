"""Long threads are copied and removed in portions: other writes go between, and a crash leaves nothing for good."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.messages import Message, Text, TextPart
from locum.domain.threads import Thread
from locum.errors import NotFound, Unavailable
from locum.services.forks import Fork, fork
from locum.services.idempotency import IdempotencyKey
from locum.services.portions import PORTION_SECONDS, portion, remove_remains, sweep_remains
from locum.store import messages, thread_remains, threads
from locum.store.database import Database
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLite
from locum.store.tables import messages as message_table
from locum.store.tables import thread_remains as remains_table
from tests.databases import PostgresServer

ME = "default"
COUNT = 90
HOUR = 3600.0


def at_once() -> Callable[[], bool]:
    """Portions that are over after their first statement."""
    return lambda: True


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A path for SQLite or a URL of PostgreSQL."""
    if request.param == "sqlite":
        return tmp_path / "locum.db"
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.create()


@asynccontextmanager
async def opened(place: Path | str) -> AsyncIterator[Database]:
    """A database with a thread of COUNT messages."""
    db: Database = SQLite(place) if isinstance(place, Path) else await Postgres.open(place)
    try:
        await db.write(insert_thread)
        yield db
    finally:
        await db.close()


def meanwhile(db: Database, change: Callable[[Connection], object]) -> Callable[[], Callable[[], bool]]:
    """Portions of one statement, with that change after the first one that is kept: on SQLite, whose writes queue."""
    loop, begun = asyncio.get_running_loop(), itertools.count()

    async def write() -> None:
        await db.write(change)

    def begin() -> Callable[[], bool]:
        if next(begun) == 1:
            asyncio.run_coroutine_threadsafe(write(), loop)
        return at_once()

    return begin


def insert_thread(conn: Connection) -> None:
    threads.insert(conn, ME, Thread(id="thread_old", created_at=1))
    parts = (TextPart(Text(value=str(number))) for number in range(COUNT))
    conversation = [
        Message(id=f"msg_{number}", created_at=1, completed_at=1, thread_id="thread_old", role="user", content=(part,))
        for number, part in enumerate(parts)
    ]
    messages.append(conn, ME, "thread_old", conversation)


def texts(conn: Connection, thread_id: str) -> list[str]:
    conversation = messages.conversation(conn, ME, thread_id, but_run="", newest=1000, tokens=2**40)
    return [message.text for message in conversation]


def count_rows(conn: Connection, table: sa.Table) -> int:
    return conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_a_portion_is_over_when_its_time_is() -> None:
    times = iter([10.0, 10.0 + PORTION_SECONDS / 2, 10.0 + PORTION_SECONDS * 2])
    is_over = portion(lambda: next(times))
    assert [is_over(), is_over()] == [False, True]


def test_a_long_thread_is_copied_in_order_with_other_writes_between(place: Path | str) -> None:
    async def run() -> None:
        async with opened(place) as db:
            portions = itertools.count()

            def begin() -> Callable[[], bool]:
                next(portions)
                return at_once()

            whole = Fork(ME, "thread_old", None, {"metadata": {"copy": "yes"}})
            new = await fork(db, lambda: 5.0, whole, None, begin_portion=begin)
            assert next(portions) > COUNT // 20, "each portion is a transaction of its own"
            assert await db.read(lambda conn: texts(conn, new.id)) == list(map(str, range(COUNT)))
            assert await db.read(lambda conn: threads.get(conn, ME, new.id)) == new
            assert (new.created_at, new.metadata) == (5, {"copy": "yes"})
            assert await db.read(lambda conn: count_rows(conn, remains_table)) == 0
            part = await fork(db, lambda: 5.0, Fork(ME, "thread_old", "msg_49", {}), None, begin_portion=at_once)
            assert await db.read(lambda conn: texts(conn, part.id)) == list(map(str, range(50)))

    asyncio.run(run())


def test_messages_added_during_a_copy_are_not_in_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path / "locum.db") as db:
            late = Message(id="msg_late", created_at=2, thread_id="thread_old", role="user", content=())
            begin = meanwhile(db, lambda conn: messages.append(conn, ME, "thread_old", [late]))
            new = await fork(db, lambda: 5.0, Fork(ME, "thread_old", None, {}), None, begin_portion=begin)
            assert len(await db.read(lambda conn: texts(conn, new.id))) == COUNT
            assert len(await db.read(lambda conn: texts(conn, "thread_old"))) == COUNT + 1

    asyncio.run(run())


def test_a_repeated_request_for_a_long_copy_makes_one(place: Path | str) -> None:
    async def run() -> None:
        async with opened(place) as db:
            key, whole = IdempotencyKey("once", "digest"), Fork(ME, "thread_old", None, {})
            copies = [fork(db, lambda: 5.0, whole, key, begin_portion=at_once) for _ in range(3)]
            first, *others = [thread.id for thread in await asyncio.gather(*copies)]
            assert set(others) == {first}
            assert await db.read(lambda conn: count_rows(conn, message_table)) == 2 * COUNT
            assert await db.read(lambda conn: count_rows(conn, remains_table)) == 0

    asyncio.run(run())


def test_rows_of_a_copy_that_was_never_completed_are_swept_an_hour_later(place: Path | str) -> None:
    class Stopped(Exception):
        pass

    async def run() -> None:
        async with opened(place) as db:
            portions = itertools.count()

            def begin() -> Callable[[], bool]:
                if next(portions) == 3:
                    raise Stopped
                return at_once()

            with pytest.raises(Stopped):
                await fork(db, lambda: 5.0, Fork(ME, "thread_old", None, {}), None, begin_portion=begin)
            assert await db.read(lambda conn: count_rows(conn, message_table)) > COUNT
            assert await sweep_remains(db, lambda: 5.0 + HOUR - 1) == ()
            assert len(await sweep_remains(db, lambda: 5.0 + HOUR)) == 1
            assert await db.read(lambda conn: count_rows(conn, message_table)) == COUNT
            assert await db.read(lambda conn: count_rows(conn, remains_table)) == 0
            assert len(await db.read(lambda conn: texts(conn, "thread_old"))) == COUNT

    asyncio.run(run())


def test_a_copy_that_was_swept_meanwhile_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path / "locum.db") as db:
            begin = meanwhile(db, lambda conn: conn.execute(sa.delete(remains_table)))
            with pytest.raises(Unavailable, match="took too long"):
                await fork(db, lambda: 5.0, Fork(ME, "thread_old", None, {}), None, begin_portion=begin)

    asyncio.run(run())


def test_a_thread_deleted_during_its_copy_ends_the_copy(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path / "locum.db") as db:
            begin = meanwhile(db, lambda conn: threads.delete(conn, ME, "thread_old"))
            with pytest.raises(NotFound, match="thread_old"):
                await fork(db, lambda: 5.0, Fork(ME, "thread_old", None, {}), None, begin_portion=begin)

    asyncio.run(run())


def test_the_rows_of_a_deleted_thread_go_in_portions(place: Path | str) -> None:
    async def run() -> None:
        async with opened(place) as db:

            def delete(conn: Connection) -> bool:
                threads.delete(conn, ME, "thread_old")
                thread_remains.note(conn, ME, "thread_old", due_at=1.0)
                return threads.remove_rows(conn, ME, "thread_old", at_once())

            assert not await db.write(delete)
            assert 0 < await db.read(lambda conn: count_rows(conn, message_table)) < COUNT
            await remove_remains(db, ME, "thread_old", begin_portion=at_once)
            assert await db.read(lambda conn: count_rows(conn, message_table)) == 0
            assert await db.read(lambda conn: count_rows(conn, remains_table)) == 0

    asyncio.run(run())
