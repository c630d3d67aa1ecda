from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from locum.domain.assistants import Assistant
from locum.domain.messages import Message, Text, TextPart
from locum.domain.pages import Page
from locum.domain.runs import Run
from locum.errors import InvalidRequest, LeaseLost, NotFound, StartupError, Unavailable
from locum.store import assistants, messages, runs
from locum.store.data_dir import lock_data_dir
from locum.store.database import Database
from locum.store.migrations import HEAD, current_revision
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLite, sqlite_engine
from locum.store.tables import metadata


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def sqlite(tmp_path: Path, runner: asyncio.Runner) -> Iterator[SQLite]:
    database = SQLite(tmp_path / "locum.db")
    yield database
    runner.run(database.close())


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Database]:
    """Every test that takes this runs on both."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
        return
    database = runner.run(Postgres.open(request.getfixturevalue("postgres").create()))
    yield database
    runner.run(database.close())


def assistant(number: int) -> Assistant:
    return Assistant(id=f"asst_{number}", created_at=1, model="m")


def test_the_migrations_make_the_tables_the_code_uses(db: Database, runner: asyncio.Runner) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def look(conn: sa.Connection) -> tuple[str | None, object]:
        return current_revision(conn), compare_metadata(MigrationContext.configure(conn), metadata)

    assert runner.run(db.read(look)) == (HEAD, [])


def test_writes_that_wait_together_are_all_kept_and_an_error_undoes_only_its_own(
    db: Database, runner: asyncio.Runner
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
    assert {a.id for a in listing.data} == {f"asst_{n}" for n in range(50) if n % 7}


def test_a_write_whose_caller_went_away_is_still_committed_whole(db: Database, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        task = asyncio.create_task(db.write(lambda conn: assistants.insert(conn, "r", assistant(1))))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    runner.run(scenario())

    async def seen() -> None:
        async with asyncio.timeout(10):
            while not (await db.read(lambda conn: assistants.page(conn, "r", Page()))).data:
                pass

    runner.run(seen())


def test_a_read_cannot_write(db: Database, runner: asyncio.Runner) -> None:
    with pytest.raises(sa.exc.DBAPIError, match=r"readonly|read-only"):
        runner.run(db.read(lambda conn: assistants.insert(conn, "r", assistant(1))))


def test_a_full_disk_undoes_everything_of_its_batch_and_says_so(sqlite: SQLite, runner: asyncio.Runner) -> None:
    def fill(conn: sa.Connection) -> None:
        conn.exec_driver_sql("PRAGMA max_page_count = 60")
        assistants.insert(conn, "r", msgspec.structs.replace(assistant(0), instructions="x" * 1_000_000))

    async def batch() -> list[object]:
        writes = [lambda conn, n=n: assistants.insert(conn, "r", assistant(n)) for n in (1, 2)]
        return await asyncio.gather(*(sqlite.write(fn) for fn in (writes[0], fill, writes[1])), return_exceptions=True)

    async def hold_then_batch() -> list[object]:
        # While this one is at work the others gather into one batch.
        began = asyncio.ensure_future(sqlite.write(lambda conn: assistants.page(conn, "r", Page())))
        results = await batch()
        await asyncio.gather(began, return_exceptions=True)
        return results

    results = runner.run(hold_then_batch())
    kept = {each.id for each in runner.run(sqlite.read(lambda conn: assistants.page(conn, "r", Page()))).data}
    assert isinstance(results[1], Unavailable)
    for result, name in ((results[0], "asst_1"), (results[2], "asst_2")):
        assert (result is None) == (name in kept), (result, kept)
        assert result is None or isinstance(result, Unavailable)


def test_a_writer_survives_what_no_job_expects(sqlite: SQLite, runner: asyncio.Runner) -> None:
    def end_the_transaction(conn: sa.Connection) -> None:
        conn.exec_driver_sql("ROLLBACK")

    with pytest.raises(Unavailable):
        runner.run(sqlite.write(end_the_transaction))
    runner.run(sqlite.write(lambda conn: assistants.insert(conn, "r", assistant(1))))
    assert runner.run(sqlite.read(lambda conn: assistants.get(conn, "r", "asst_1"))).id == "asst_1"


def test_a_write_after_the_end_is_refused(tmp_path: Path, runner: asyncio.Runner) -> None:
    database = SQLite(tmp_path / "locum.db")
    runner.run(database.close())
    with pytest.raises(Unavailable):
        runner.run(database.write(lambda conn: assistants.insert(conn, "r", assistant(1))))


def test_a_file_that_is_no_database_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "locum.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StartupError, match="is damaged .file is not a database."):
        SQLite(tmp_path / "locum.db")


def test_a_database_of_a_newer_release_is_said_in_one_line(tmp_path: Path, runner: asyncio.Runner) -> None:
    database = SQLite(tmp_path / "locum.db")
    runner.run(database.write(lambda conn: conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))))
    runner.run(database.close())
    with pytest.raises(StartupError, match="newer version"):
        SQLite(tmp_path / "locum.db")


def test_every_commit_of_sqlite_is_flushed_to_the_disk(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "locum.db")
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


def test_an_object_of_another_resource_does_not_exist(db: Database, runner: asyncio.Runner) -> None:
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
    db: Database, runner: asyncio.Runner, order: str, after: int | None, before: int | None, ascending: list[int]
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


def test_messages_of_one_second_keep_the_order_they_came_in(db: Database, runner: asyncio.Runner) -> None:
    def insert(conn: sa.Connection) -> None:
        for n in range(5):
            content = (TextPart(Text(value=str(n))),)
            messages.insert(
                conn, "r", Message(id=f"msg_{n}", created_at=1, thread_id="t", role="user", content=content)
            )

    runner.run(db.write(insert))
    said = runner.run(db.read(lambda conn: messages.conversation(conn, "r", "t", but_run="x", tokens=10**6)))
    assert [each.text for each in said] == list("01234")
    assert [
        m.text
        for m in runner.run(
            db.read(lambda conn: messages.conversation(conn, "r", "t", but_run="x", newest=2, tokens=10**6))
        )
    ] == [
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


def test_a_thread_has_one_active_run(db: Database, runner: asyncio.Runner) -> None:
    runner.run(db.write(lambda conn: runs.insert(conn, "r", run(1))))
    with pytest.raises(InvalidRequest, match="^Thread t already has an active run run_1.$"):
        runner.run(db.write(lambda conn: runs.insert(conn, "r", run(2))))


def test_runs_that_are_not_over_are_counted_by_status(db: Database, runner: asyncio.Runner) -> None:
    def insert(conn: sa.Connection) -> None:
        for number, status in enumerate(("queued", "queued", "in_progress", "completed")):
            each = msgspec.structs.replace(run(number, thread=f"t{number}"), status=status)
            runs.insert(conn, "r" if number else "another", each)

    runner.run(db.write(insert))
    assert runner.run(db.read(runs.count_active)) == {"queued": 2, "in_progress": 1}


def test_the_index_keeps_a_second_active_run_out_even_without_the_look(db: Database, runner: asyncio.Runner) -> None:
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


def test_a_lapsed_lease_is_taken_over_and_the_old_worker_can_write_nothing(
    db: Database, runner: asyncio.Runner
) -> None:
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


def test_a_streamed_run_is_kept_for_its_own_process_for_a_while(db: Database, runner: asyncio.Runner) -> None:
    runner.run(db.write(lambda conn: runs.insert(conn, "r", run(1), owner="mine", lease_until=10.0)))
    assert not runner.run(db.read(lambda conn: runs.any_claimable(conn, "other", now=5.0)))
    assert runner.run(db.read(lambda conn: runs.any_claimable(conn, "mine", now=5.0)))
    assert runner.run(db.read(lambda conn: runs.any_claimable(conn, "other", now=11.0)))


def test_claims_made_at_once_never_share_a_run(db: Database, runner: asyncio.Runner) -> None:
    def insert(conn: sa.Connection) -> None:
        for number in range(20):
            runs.insert(conn, "r", run(number, thread=f"t{number}"))

    def claim(owner: str):  # type: ignore[no-untyped-def]
        return db.write(lambda conn: runs.claim(conn, owner, now=0.0, lease_until=10.0, limit=7))

    async def race() -> list[list[runs.Claim]]:
        return await asyncio.gather(*(claim(f"worker {number}") for number in range(6)))

    runner.run(db.write(insert))
    claimed = [each.run_id for claims in runner.run(race()) for each in claims]
    assert len(claimed) == len(set(claimed))
    rest = runner.run(claim("the last"))
    assert len(claimed) + len(rest) >= 20 or rest == []
