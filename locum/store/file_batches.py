"""Rows of file batches, and which files of the store belong to them."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.vector_stores import FileBatch
from locum.errors import NotFound
from locum.store.rows import decode, encode, select_doc, update_doc
from locum.store.tables import file_batch_files as members
from locum.store.tables import file_batches as table

_INSERT = sa.insert(table)
_GET = select_doc(table, table.c.id, table.c.vector_store_id)
_LOCK = _GET.with_for_update()
_SAVE = update_doc(table)


def insert(conn: Connection, resource: str, batch: FileBatch, file_rows: Iterable[int]) -> None:
    """file_rows: the numbers of the rows of its files."""
    row = {"id": batch.id, "resource": resource, "vector_store_id": batch.vector_store_id}
    conn.execute(_INSERT, {**row, "doc": encode(batch)})
    rows = [{"batch_id": batch.id, "file_seq": each} for each in dict.fromkeys(file_rows)]
    if rows:
        conn.execute(sa.insert(members), rows)


def get(conn: Connection, resource: str, store_id: str, batch_id: str, *, for_update: bool = False) -> FileBatch:
    row = {"id": batch_id, "vector_store_id": store_id, "resource": resource}
    doc = conn.execute(_LOCK if for_update else _GET, row).scalar_one_or_none()
    if doc is None:
        raise NotFound(f"No file batch found with id '{batch_id}' in vector store '{store_id}'.")
    return decode(doc, FileBatch)


def save(conn: Connection, resource: str, batch: FileBatch) -> None:
    conn.execute(_SAVE, {"at": batch.id, "of": resource, "doc": encode(batch)})
