"""Rules several nouns share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from locum.domain.files import File
from locum.errors import NotFound
from locum.store import files as file_store
from locum.store import vector_stores as vector_store_store

_BATCH = 10_000
"""Most ids in one statement. asyncpg takes 32,767 parameters; the messages of a request may name more files."""


def require_files(
    conn: Connection, resource: str, file_ids: Iterable[str], *, now: int, for_share: bool = False
) -> list[File]:
    """Read the files of these ids; return them like `select_files`. With `for_share` they exist until the transaction
    ends."""
    wanted = tuple(dict.fromkeys(file_ids))
    return select_files(read_files(conn, resource, wanted, now=now, for_share=for_share), wanted)


def read_files(
    conn: Connection, resource: str, file_ids: Iterable[str], *, now: int, for_share: bool = False
) -> dict[str, File]:
    """Read those of the files that exist; return them by id. With `for_share` they exist until the transaction ends."""
    wanted = tuple(dict.fromkeys(file_ids))
    batches = (wanted[start : start + _BATCH] for start in range(0, len(wanted), _BATCH))
    return {
        file.id: file
        for batch in batches
        for file in file_store.existing(conn, resource, batch, now=now, for_share=for_share)
    }


def select_files(files: Mapping[str, File], file_ids: Iterable[str]) -> list[File]:
    """Return the files of these ids, each once, in order; NotFound in the hosted API's words if one is missing."""
    wanted = tuple(dict.fromkeys(file_ids))
    if missing := [file_id for file_id in wanted if file_id not in files]:
        raise NotFound(f"Files [{', '.join(missing)}] were not found")
    return [files[file_id] for file_id in wanted]


def require_stores(conn: Connection, resource: str, store_ids: Iterable[str]) -> None:
    """NotFound unless these vector stores exist."""
    for store_id in store_ids:
        vector_store_store.get(conn, resource, store_id)
