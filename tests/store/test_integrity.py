"""Damaged database files: found at the start, and named with the remedy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from locum.app.adapters import open_database
from locum.errors import StartupError
from locum.settings import Settings
from locum.store.sqlite import REBUILD, SQLite, check_integrity, sqlite_engine

_PAGE = 4096


def prepare(connection: sa.Connection) -> None:
    """Create a table whose content fills many pages, which a start does not read."""
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, text TEXT)")


def fill(connection: sa.Connection) -> None:
    rows = [(number, f"{number}" * 200) for number in range(5000)]
    connection.exec_driver_sql("INSERT INTO t VALUES (?, ?)", rows)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a sound database of a few MB."""
    path = tmp_path_factory.mktemp("sound") / "a.db"

    async def make() -> None:
        db = SQLite(path, prepare)
        await db.write(fill)
        await db.close()

    asyncio.run(make())
    return path.read_bytes()


def open_and_close(path: Path, **options: object) -> None:
    asyncio.run(SQLite(path, prepare, **options).close())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: b"no database " * 1000, "file is not a database"),
        (lambda content: bytes(100) + content[100:], "file is not a database"),
        (lambda content: content[:100], "malformed"),
        (lambda content: content[: len(content) // 2], "malformed"),
        (lambda content: content[: 300 * _PAGE] + b"x" * 10 * _PAGE + content[310 * _PAGE :], "age 3"),
    ],
    ids=["other file", "header", "100 bytes", "half", "inner pages"],
)
def test_damaged_file_is_named_with_its_remedy(
    content: bytes, damage: Callable[[bytes], bytes], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(damage(content))
    with pytest.raises(StartupError) as refusal:
        open_and_close(path)
    assert refusal.value.message.startswith(f"The database {path} is damaged (")
    assert words in refusal.value.message
    assert "restore a backup" in refusal.value.message
    assert "\n" not in refusal.value.message
    with pytest.raises(StartupError, match="remove the file"):
        open_and_close(path, remedy=REBUILD)


def test_sound_file_passes(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(content)
    with capture_logs() as lines:
        open_and_close(tmp_path / "a.db")
    assert lines == []


@pytest.mark.parametrize("is_damaged", [False, True])
def test_check_that_takes_too_long_ends_without_a_result(content: bytes, *, is_damaged: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content[: -10 * _PAGE] + b"x" * 10 * _PAGE if is_damaged else content)
    engine = sqlite_engine(path)
    try:
        with engine.connect() as connection, capture_logs() as lines:
            check_integrity(connection, path, seconds=0)
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    finally:
        engine.dispose()
    assert [line["event"] for line in lines] == ["integrity check of the database stopped"]


def test_locked_file_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.db").mkdir()
    with pytest.raises(StartupError, match="cannot be used: unable to open database file"):
        open_and_close(tmp_path / "a.db")


def test_emptied_file_of_a_used_directory_is_no_new_database(tmp_path: Path) -> None:
    async def start() -> None:
        async with AsyncExitStack() as stack:
            await open_database(Settings(data_dir=tmp_path), stack)

    (tmp_path / "locum.db").touch()
    asyncio.run(start())
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "node").write_text("node_1")
    asyncio.run(start())  # the first start ended between the two files
    (tmp_path / "locum.db").write_bytes(b"")
    with pytest.raises(StartupError, match="the file is empty, and this directory has been used"):
        asyncio.run(start())
