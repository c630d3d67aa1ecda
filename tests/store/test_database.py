from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from locum.domain.assistants import Assistant
from locum.domain.messages import Message, Text, TextPart
from locum.domain.pages import Page
from locum.domain.runs import Run
from locum.errors import InvalidRequest, LeaseLost, NotFound, StartupError
from locum.store import assistants, messages, runs
from locum.store.database import SQLite, lock_data_dir, sqlite_engine
from locum.store.migrations import HEAD, upgrade
from locum.store.tables import metadata


@pytest.fixture
def path(tmp_path: Path) -> Path:
    engine = sqlite_engine(tmp_path / "locum.db")
    upgrade(engine)
    engine.dispose()
    return tmp_path / "locum.db"


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def db(path: Path, runner: asyncio.Runner) -> Iterator[SQLite]:
    database = SQLite(path)
    yield database
    runner.run(database.close())


def assistant(number: int) -> Assistant:
    return Assistant(id=f"asst_{number}", created_at=1, model="m")


def test_the_migrations_make_the_tables_the_code_uses(path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = sqlite_engine(path)
    with engine.connect() as conn:
        assert conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == HEAD
        differences = compare_metadata(MigrationContext.configure(conn), metadata)
    engine.dispose()
    assert differences == []


def test_writes_that_wait_together_are_all_kept_and_an_error_undoes_only_its_own(
    db: SQLite, runner: asyncio.Runner
) -> None:
    def write(number: int):  # type: ignore[no-untyped-def]
        def insert(conn: sa.Connection) -> int:
            assistants.insert(conn, "r", assistant(number))
            if number % 7 == 0:
                raise ValueError(number)
            return number

        return insert

    async def scenario() -> list[object]:
        return await asyncio.gather(*(db.write(write(n)) for n in range(50)), return_exceptions=True)

    results = runner.run(scenario())
    assert [r for r in results if isinstance(r, int)] == [n for n in range(50) if n % 7]
    listing = runner.run(db.read(lambda conn: assistants.page(conn, "r", Page(limit=100, order="asc"))))
    assert [a.id for a in listing.data] == [f"asst_{n}" for n in range(50) if n % 7]


def test_a_write_whose_caller_went_away_is_still_committed_whole(db: SQLite, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        task = asyncio.create_task(db.write(lambda conn: assistants.insert(conn, "r", assistant(1))))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    runner.run(scenario())
    # Writes are done in the order they came: this one looks after that one's commit.
    assert runner.run(db.write(lambda conn: assistants.get(conn, "r", "asst_1"))).id == "asst_1"


def test_a_read_cannot_write(db: SQLite, runner: asyncio.Runner) -> None:
    with pytest.raises(sa.exc.OperationalError, match="readonly"):
        runner.run(db.read(lambda conn: assistants.insert(conn, "r", assistant(1))))


def test_every_commit_is_flushed_to_the_disk(path: Path) -> None:
    engine = sqlite_engine(path)
    with engine.connect() as conn:
        assert conn.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert conn.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()


def test_one_process_at_a_time_has_the_data_directory(tmp_path: Path) -> None:
    with lock_data_dir(tmp_path), pytest.raises(StartupError, match="in use by another Locum process"):
        lock_data_dir(tmp_path)
    lock_data_dir(tmp_path).close()


def test_a_data_directory_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="cannot be used"):
        lock_data_dir(tmp_path / "file")


def test_an_object_of_another_resource_does_not_exist(db: SQLite, runner: asyncio.Runner) -> None:
    runner.run(db.write(lambda conn: assistants.insert(conn, "mine", assistant(1))))
    with pytest.raises(NotFound, match="No assistant found with id 'asst_1'."):
        runner.run(db.read(lambda conn: assistants.get(conn, "yours", "asst_1")))


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize(
    ("after", "before", "ascending"),
    [
        (None, None, [0, 1, 2]),
        (3, None, [4, 5, 6]),
        (None, 8, [5, 6, 7]),
        (None, 2, [0, 1]),
        (3, 6, [4, 5]),
        (9, None, []),
    ],
)
def test_a_page_is_cut_by_its_cursors(
    db: SQLite, runner: asyncio.Runner, order: str, after: int | None, before: int | None, ascending: list[int]
) -> None:
    for n in range(10):
        number = n if order == "asc" else 9 - n
        runner.run(db.write(lambda conn, number=number: assistants.insert(conn, "r", assistant(number))))
    page = Page(
        limit=3,
        order=order,  # type: ignore[arg-type]
        after=None if after is None else f"asst_{after}",
        before=None if before is None else f"asst_{before}",
    )
    listing = runner.run(db.read(lambda conn: assistants.page(conn, "r", page)))
    assert [each.id for each in listing.data] == [f"asst_{n}" for n in ascending]


def test_messages_of_one_second_keep_the_order_they_came_in(db: SQLite, runner: asyncio.Runner) -> None:
    def insert(conn: sa.Connection) -> None:
        for n in range(5):
            content = (TextPart(Text(value=str(n))),)
            messages.insert(
                conn, "r", Message(id=f"msg_{n}", created_at=1, thread_id="t", role="user", content=content)
            )

    runner.run(db.write(insert))
    said = runner.run(db.read(lambda conn: messages.conversation(conn, "r", "t")))
    assert [each.text for each in said] == list("01234")
    assert [m.text for m in runner.run(db.read(lambda conn: messages.conversation(conn, "r", "t", newest=2)))] == [
        "3",
        "4",
    ]


def run(number: int, thread: str = "t") -> Run:
    return Run(
        id=f"run_{number}",
        created_at=1,
        thread_id=thread,
        assistant_id="a",
        status="queued",
        model="m",
        instructions="",
        tools=(),
        expires_at=600,
    )


def test_a_thread_has_one_active_run(db: SQLite, runner: asyncio.Runner) -> None:
    runner.run(db.write(lambda conn: runs.insert(conn, "r", run(1))))
    with pytest.raises(InvalidRequest, match="^Thread t already has an active run run_1.$"):
        runner.run(db.write(lambda conn: runs.insert(conn, "r", run(2))))


def test_the_index_keeps_a_second_active_run_out_even_without_the_look(db: SQLite, runner: asyncio.Runner) -> None:
    runner.run(db.write(lambda conn: runs.insert(conn, "r", run(1))))

    def second(conn: sa.Connection) -> None:
        runs.save(conn, "r", run(1))
        conn.execute(
            sa.text(
                "INSERT INTO runs (id, resource, thread_id, status, fence, attempts, doc) "
                "VALUES ('x', 'r', 't', 'queued', 0, 0, '{}')"
            )
        )

    with pytest.raises(sa.exc.IntegrityError):
        runner.run(db.write(second))


def test_a_lapsed_lease_is_taken_over_and_the_old_worker_can_write_nothing(db: SQLite, runner: asyncio.Runner) -> None:
    runner.run(db.write(lambda conn: runs.insert(conn, "r", run(1))))

    def claim(conn: sa.Connection, owner: str, now: float) -> list[runs.Claim]:
        return runs.claim(conn, owner, now=now, lease_until=now + 10, limit=5)

    (first,) = runner.run(db.write(lambda conn: claim(conn, "one", 0.0)))
    assert runner.run(db.write(lambda conn: claim(conn, "two", 5.0))) == []
    (second,) = runner.run(db.write(lambda conn: claim(conn, "two", 11.0)))
    assert (second.fence, second.attempts) == (first.fence + 1, 2)
    with pytest.raises(LeaseLost):
        runner.run(db.write(lambda conn: runs.fenced(conn, first)))
    assert runner.run(db.write(lambda conn: runs.fenced(conn, second))).status == "in_progress"
    assert runner.run(db.write(lambda conn: runs.renew(conn, [first, second], lease_until=30.0))) == {
        "run_1": "in_progress"
    }


def test_a_streamed_run_is_kept_for_its_own_process_for_a_while(db: SQLite, runner: asyncio.Runner) -> None:
    runner.run(db.write(lambda conn: runs.insert(conn, "r", run(1), owner="mine", lease_until=10.0)))
    assert not runner.run(db.read(lambda conn: runs.any_claimable(conn, "other", now=5.0)))
    assert runner.run(db.read(lambda conn: runs.any_claimable(conn, "mine", now=5.0)))
    assert runner.run(db.read(lambda conn: runs.any_claimable(conn, "other", now=11.0)))


def test_the_database_file_is_a_plain_sqlite_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
