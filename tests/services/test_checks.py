from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Connection

from locum.domain.files import File, blob_key
from locum.errors import NotFound
from locum.services.checks import read_files, select_files
from locum.store import files as store
from locum.store import staged_blobs
from locum.store.database import Database
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLite


def new_file(file_id: str) -> File:
    return File(id=file_id, created_at=1, filename="a.csv", purpose="assistants", bytes=1, sha256="")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_more_files_are_read_than_one_statement_takes(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file_ids = [f"file-{number}" for number in range(40_000)]

    def read(conn: Connection) -> list[str]:
        for file_id in (file_ids[0], file_ids[-1]):
            staged_blobs.note(conn, blob_key(file_id), now=1)
            store.insert(conn, "default", new_file(file_id))
        return list(read_files(conn, "default", file_ids, now=1))

    async def scene(url: str | None) -> list[str]:
        db: Database = await Postgres.open(url) if url else SQLite(tmp_path / "locum.db")
        try:
            return await db.write(read)
        finally:
            await db.close()

    url = request.getfixturevalue("postgres").create() if database == "postgresql" else None
    assert asyncio.run(scene(url)) == [file_ids[0], file_ids[-1]]


@pytest.mark.parametrize(
    ("file_ids", "expected"),
    [((), []), (("file-2", "file-1"), ["file-2", "file-1"]), (("file-1", "file-2", "file-1"), ["file-1", "file-2"])],
)
def test_selected_files_come_in_the_order_of_their_ids_without_repetition(
    file_ids: tuple[str, ...], expected: list[str]
) -> None:
    files = {file_id: new_file(file_id) for file_id in ("file-1", "file-2", "file-3")}
    assert [file.id for file in select_files(files, file_ids)] == expected


def test_missing_files_are_named_in_the_hosted_words() -> None:
    with pytest.raises(NotFound) as raised:
        select_files({"file-1": new_file("file-1")}, ("file-3", "file-1", "file-2", "file-3"))
    assert raised.value.message == "Files [file-3, file-2] were not found"
