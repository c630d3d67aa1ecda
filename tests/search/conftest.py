"""Fixtures of file search: a real parser behind real walls, driven from plain functions; databases of truth and of what
is derived, both of each kind."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from locum.documents import store as document_store
from locum.ingestion.extract.parser import LIMITS, Parsed, SandboxParser, Unreadable
from locum.sandbox.client import Sandbox
from locum.store.database import Database
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLite
from tests.sandbox.conftest import readable_python  # noqa: F401  (a fixture)

T = TypeVar("T")


def chunks_of(data: bytes, size: int = 1 << 20) -> Callable[[], AsyncIterator[bytes]]:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(data), size):
            yield data[at : at + size]

    return chunks


class Parsing:
    """A SandboxParser and the event loop it lives in."""

    def __init__(self, directory: Path, *, limits: dict[str, Any] | None = None, **settings: Any) -> None:
        self.directory = directory
        self.parser = SandboxParser(directory, limits=msgspec.structs.replace(LIMITS, **(limits or {})), **settings)
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def parse(self, name: str, data: bytes) -> Parsed:
        return self.run(self.parser.parse(name, chunks_of(data)))

    def refusal(self, name: str, data: bytes) -> Unreadable:
        with pytest.raises(Unreadable) as failure:
            self.parse(name, data)
        return failure.value

    def close(self) -> None:
        self.run(self.parser.close())
        self._runner.close()


def require_sandbox(**settings: Any) -> None:
    """Skip where this machine has no such tier: then every file fails, with the reason."""

    async def status() -> str | None:
        folder = tempfile.mkdtemp(prefix="locum-parse-")
        sandbox = Sandbox(Path(folder) / "sandbox", **settings)
        try:
            found = await sandbox.start()
            return found.reason if found.tier == "off" else None
        finally:
            await sandbox.close()
            shutil.rmtree(folder)

    if reason := asyncio.run(status()):
        pytest.skip(f"no sandbox on this machine: {reason}")


@pytest.fixture(scope="module")
def parsing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parsing]:
    require_sandbox()
    parsing = Parsing(tmp_path_factory.mktemp("data") / "sandbox-parser")
    yield parsing
    parsing.close()


@pytest.fixture(scope="module")
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
        own = SQLite(tmp_path / "search.db", document_store.prepare)
        yield sqlite, own
        runner.run(own.close())
        runner.run(sqlite.close())
        return
    postgres = runner.run(Postgres.open(request.getfixturevalue("postgres").create()))
    runner.run(postgres.write(document_store.prepare))
    yield postgres, postgres
    runner.run(postgres.close())
