"""Rules several nouns share."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from locum.domain.files import File
from locum.errors import NotFound
from locum.store import files as file_store
from locum.store import vector_stores as vector_store_store


def require_files(
    conn: Connection, resource: str, file_ids: Iterable[str], *, now: int, for_share: bool = False
) -> list[File]:
    """The files of these ids, each once, in their order; NotFound in the hosted API's words when one is missing. With
    `for_share` they are there until the transaction ends."""
    wanted = list(dict.fromkeys(file_ids))
    existing = file_store.existing(conn, resource, wanted, now=now, for_share=for_share) if wanted else []
    found = {file.id: file for file in existing}
    if missing := [file_id for file_id in wanted if file_id not in found]:
        raise NotFound(f"Files [{', '.join(missing)}] were not found")
    return [found[file_id] for file_id in wanted]


def require_stores(conn: Connection, resource: str, store_ids: Iterable[str]) -> None:
    """NotFound unless these vector stores exist."""
    for store_id in store_ids:
        vector_store_store.get(conn, resource, store_id)
