"""What sessions used, as it is recorded and added up, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from locum.domain.threads import Thread
from locum.domain.usage import SessionUsage, UsageSum
from locum.store import threads, usage
from locum.store.database import Database
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLite

DAY = 86_400
MONDAY = 20_000 * DAY


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        database: Database = SQLite(tmp_path / "locum.db")
    else:
        database = runner.run(Postgres.open(request.getfixturevalue("postgres").create()))
    yield database
    runner.run(database.close())


class Book:
    """What is recorded, and how it adds up."""

    def __init__(self, db: Database, runner: asyncio.Runner) -> None:
        self.db = db
        self.runner = runner

    def record(self, resource: str, thread: str, used: SessionUsage) -> None:
        self.runner.run(self.db.write(lambda conn: usage.record(conn, resource, thread, used)))

    def sums(self, **options: Any) -> list[UsageSum]:
        return self.runner.run(self.db.read(lambda conn: usage.sums(conn, **options)))


@pytest.fixture
def book(db: Database, runner: asyncio.Runner) -> Book:
    return Book(db, runner)


def session(name: str, opened_at: int = MONDAY, **figures: Any) -> SessionUsage:
    defaults = {"last_used_at": opened_at, "cells": 1, "cpu_seconds": 0.5, "peak_memory_bytes": 1000}
    return SessionUsage(instance=name, opened_at=opened_at, **{**defaults, **figures})


def test_a_session_is_one_row_with_its_latest_figures(book: Book) -> None:
    book.record("r", "t", session("a"))
    book.record("r", "t", session("a", last_used_at=MONDAY + 3600, cells=4, cpu_seconds=2.25, peak_memory_bytes=2**40))
    assert book.sums(by="thread") == [
        UsageSum(
            resource="r",
            thread_id="t",
            sessions=1,
            hours=2,
            cells=4,
            cpu_seconds=2.25,
            peak_memory_bytes=2**40,
        )
    ]


def test_recording_again_or_an_earlier_look_changes_nothing(book: Book) -> None:
    early, late = session("a"), session("a", last_used_at=MONDAY + 4000, cells=3, cpu_seconds=9, peak_memory_bytes=5000)
    book.record("r", "t", late)
    before = book.sums(by="thread")
    book.record("r", "t", late)
    book.record("r", "t", early)
    assert book.sums(by="thread") == before


def test_each_figure_grows_by_itself(book: Book) -> None:
    book.record("r", "t", session("a", cells=2, cpu_seconds=1.0))
    book.record("r", "t", session("a", cells=1, cpu_seconds=3.0))
    (total,) = book.sums(by="resource")
    assert (total.cells, total.cpu_seconds) == (2, 3.0)


def test_sums_by_resource_thread_and_day(book: Book) -> None:
    book.record("ann", "t1", session("a", last_used_at=MONDAY + 3700, cells=3, cpu_seconds=1.5))
    book.record("ann", "t1", session("b", MONDAY + 2 * DAY, cpu_seconds=0.25, peak_memory_bytes=3000))
    book.record("ann", "t2", session("c", MONDAY + DAY - 1))
    book.record("bob", "t3", session("d", MONDAY + DAY))
    by_resource = [(each.resource, each.sessions, each.hours, each.cells) for each in book.sums(by="resource")]
    assert by_resource == [("ann", 3, 4, 5), ("bob", 1, 1, 1)]
    first = book.sums(by="resource")[0]
    assert (first.cpu_seconds, first.peak_memory_bytes) == (2.25, 3000)
    by_thread = [(each.resource, each.thread_id, each.sessions, each.hours) for each in book.sums(by="thread")]
    assert by_thread == [("ann", "t1", 2, 3), ("ann", "t2", 1, 1), ("bob", "t3", 1, 1)]
    by_day = [(each.day, each.sessions) for each in book.sums(by="day")]
    assert by_day == [(MONDAY, 2), (MONDAY + DAY, 1), (MONDAY + 2 * DAY, 1)]


def test_sums_of_one_resource_and_since_a_moment(book: Book) -> None:
    book.record("ann", "t1", session("a", MONDAY - 1))
    book.record("ann", "t1", session("b", MONDAY))
    book.record("bob", "t2", session("c", MONDAY))
    assert [each.sessions for each in book.sums(by="resource", since=MONDAY)] == [1, 1]
    assert [(each.resource, each.sessions) for each in book.sums(by="resource", resource="ann")] == [("ann", 2)]
    assert book.sums(by="resource", resource="nobody") == []
    assert len(book.sums(by="thread", limit=1)) == 1


def test_another_resource_cannot_write_to_a_session(book: Book) -> None:
    book.record("ann", "t", session("a"))
    with pytest.raises(Exception, match=r"UNIQUE|unique"):
        book.record("bob", "t", session("a", cells=9))
    assert [(each.resource, each.cells) for each in book.sums(by="resource")] == [("ann", 1)]


def test_deleting_a_thread_keeps_what_it_used(book: Book) -> None:
    def make(conn: Any) -> None:
        threads.insert(conn, "r", Thread(id="thread_1", created_at=1))

    book.runner.run(book.db.write(make))
    book.record("r", "thread_1", session("a"))
    book.runner.run(book.db.write(lambda conn: threads.delete(conn, "r", "thread_1")))
    assert [each.thread_id for each in book.sums(by="thread")] == ["thread_1"]


def test_a_sum_says_only_what_it_is_of() -> None:
    one = UsageSum(day=MONDAY, sessions=1, hours=1, cells=1, cpu_seconds=0.5, peak_memory_bytes=1)
    assert set(msgspec.to_builtins(one)) == {"day", "sessions", "hours", "cells", "cpu_seconds", "peak_memory_bytes"}
