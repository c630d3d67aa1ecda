"""A database that an earlier release made opens in this one, with everything that is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from locum.domain.pages import Page
from locum.store import assistants, keys, runs, usage
from locum.store import messages as message_store
from locum.store.database import Database
from locum.store.migrations import HEAD, current_revision, migrate, upgrade
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLite, sqlite_engine

# Rows as the release with that schema wrote them.
RELEASES = {
    "0001": [
        "INSERT INTO keys (id, resource, sha256, created_at) VALUES ('key_default', 'default', 'ab', 1)",
        """INSERT INTO assistants (id, resource, doc) VALUES ('asst_1', 'default', '{"id":"asst_1","created_at":1,
        "model":"gpt-4o","name":"조수","description":null,"instructions":null,"tools":[{"type":"code_interpreter"}],
        "tool_resources":{},"metadata":{"k":"v"},"temperature":1.0,"top_p":1.0,"response_format":"auto",
        "reasoning_effort":null}')""",
        """INSERT INTO threads (id, resource, doc) VALUES ('thread_1', 'default',
        '{"id":"thread_1","created_at":1,"metadata":{},"tool_resources":{}}')""",
        """INSERT INTO messages (id, resource, thread_id, seq, run_id, doc) VALUES ('msg_1', 'default', 'thread_1', 1,
        NULL, '{"id":"msg_1","created_at":1,"thread_id":"thread_1","role":"user","content":[{"type":"text","text":
        {"value":"hello","annotations":[]}}],"status":"completed","assistant_id":null,"run_id":null,"attachments":[],
        "metadata":{},"completed_at":1,"incomplete_at":null,"incomplete_details":null}')""",
        """INSERT INTO runs (id, resource, thread_id, status, expires_at, fence, attempts, doc) VALUES ('run_1',
        'default', 'thread_1', 'queued', 601, 0, 0, '{"id":"run_1","created_at":1,"thread_id":"thread_1",
        "assistant_id":"asst_1","status":"queued","model":"gpt-4o","instructions":"","tools":[],"expires_at":601}')""",
    ],
}
RELEASES["0002"] = [
    *RELEASES["0001"],
    """INSERT INTO threads (id, resource, doc) VALUES ('thread_2', 'default',
    '{"id":"thread_2","created_at":2,"metadata":{"누구":"Ann"},"tool_resources":{}}')""",
]

RELEASES["0003"] = [
    *RELEASES["0002"],
    "INSERT INTO keys (id, resource, sha256, created_at, permissions) VALUES ('key_1', 'r', 'cd', 1, 'threads:list')",
]
RELEASES["0004"] = RELEASES["0003"]
RELEASES["0005"] = RELEASES["0004"]
RELEASES["0006"] = [
    *RELEASES["0005"],
    """INSERT INTO vector_stores (id, resource, doc) VALUES ('vs_1', 'default',
    '{"id":"vs_1","created_at":1,"last_active_at":1}')""",
]
RELEASES["0007"] = RELEASES["0006"]


def build(conn: sa.Connection, revision: str) -> None:
    """The schema of that revision, with its rows."""
    upgrade(conn, to=revision)
    assert current_revision(conn) == revision
    for statement in RELEASES[revision]:
        conn.execute(sa.text(statement.replace(":", r"\:")))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def schema(conn: sa.Connection) -> dict[str, Any]:
    """Everything the database knows of its tables."""
    inspector = sa.inspect(conn)
    read: list[Callable[[str], Any]] = [
        inspector.get_columns,
        inspector.get_pk_constraint,
        inspector.get_unique_constraints,
        inspector.get_foreign_keys,
        inspector.get_check_constraints,
        inspector.get_table_options,
    ]
    tables = {table: [str(part(table)) for part in read] for table in inspector.get_table_names()}
    return {**tables, "indexes": {table: _indexes(inspector, table) for table in tables}}


def _indexes(inspector: sa.Inspector, table: str) -> list[str]:
    indexes = inspector.get_indexes(table)
    for index in indexes:
        index["dialect_options"] = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return sorted(map(str, indexes))


async def postgres_schema(url: str, prepare: Callable[[sa.Connection], None]) -> dict[str, Any]:
    engine = create_async_engine(sa.make_url(url).set(drivername="postgresql+asyncpg"))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(prepare)
            return await connection.run_sync(schema)
    finally:
        await engine.dispose()


def sqlite_schema(path: Path, prepare: Callable[[sa.Connection], None]) -> dict[str, Any]:
    engine = sqlite_engine(path)
    try:
        with engine.begin() as connection:
            prepare(connection)
            return schema(connection)
    finally:
        engine.dispose()


async def old_postgres(url: str, revision: str) -> Database:
    engine = create_async_engine(sa.make_url(url).set(drivername="postgresql+asyncpg"))
    async with engine.begin() as connection:
        await connection.run_sync(build, revision)
    await engine.dispose()
    return await Postgres.open(url)


def old_sqlite(path: Path, revision: str) -> Database:
    engine = sqlite_engine(path)
    with engine.begin() as connection:
        build(connection, revision)
    engine.dispose()
    return SQLite(path)


@pytest.mark.parametrize("revision", RELEASES)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_an_earlier_release_stored_is_there_after_an_upgrade(
    kind: str, revision: str, tmp_path: Path, runner: asyncio.Runner, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        db = old_sqlite(tmp_path / "locum.db", revision)
    else:
        db = runner.run(old_postgres(request.getfixturevalue("postgres").create(), revision))
    try:
        assert runner.run(db.read(current_revision)) == HEAD
        assistant = runner.run(db.read(lambda conn: assistants.get(conn, "default", "asst_1")))
        assert (assistant.name, assistant.metadata) == ("조수", {"k": "v"})
        said = runner.run(db.read(lambda conn: message_store.page(conn, "default", "thread_1", Page())))
        assert [each.text for each in said.data] == ["hello"]
        assert runner.run(db.read(lambda conn: runs.any_claimable(conn, "me", now=2.0)))
        assert runner.run(db.read(lambda conn: keys.owner(conn, "ab"))) == ("key_default", "default")
        assert runner.run(db.read(lambda conn: usage.sums(conn, by="resource"))) == []
    finally:
        runner.run(db.close())


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_new_database_has_the_schema_that_all_migrations_give(
    kind: str, tmp_path: Path, runner: asyncio.Runner, request: pytest.FixtureRequest
) -> None:
    def migrate_all(conn: sa.Connection) -> None:
        migrate(conn, to=HEAD)

    if kind == "sqlite":
        created = sqlite_schema(tmp_path / "created.db", upgrade)
        migrated = sqlite_schema(tmp_path / "migrated.db", migrate_all)
    else:
        postgres = request.getfixturevalue("postgres")
        created = runner.run(postgres_schema(postgres.create(), upgrade))
        migrated = runner.run(postgres_schema(postgres.create(), migrate_all))
    assert "alembic_version" in created
    assert created == migrated


def test_every_schema_that_was_released_is_tried() -> None:
    versions = Path(assistants.__file__).parent / "migrations" / "versions"
    released = sorted(path.name[:4] for path in versions.glob("[0-9]*.py"))
    assert released[-1] == HEAD
    assert sorted(RELEASES) == released[:-1]
