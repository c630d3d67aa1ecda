"""Fixtures of file search: databases of truth and of what is derived, both of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from locum.search import derived
from locum.store.database import Database
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLite


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(
    request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path: Path
) -> Iterator[tuple[Database, Database]]:
    """(the database, the derived data's), which on PostgreSQL are one."""
    if request.param == "sqlite":
        sqlite = SQLite(tmp_path / "locum.db")
        own = SQLite(tmp_path / "search.db", derived.prepare)
        yield sqlite, own
        runner.run(own.close())
        runner.run(sqlite.close())
        return
    postgres = runner.run(Postgres.open(request.getfixturevalue("postgres").create()))
    runner.run(postgres.write(derived.prepare))
    yield postgres, postgres
    runner.run(postgres.close())
