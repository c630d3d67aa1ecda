"""Rows of files. The bytes are in `blobs`, under the file's id; no row is written before its blob is.

The transaction that inserts or deletes a row also keeps the notes of `staged_blobs.py`.

`now` is in seconds since the epoch: a file whose time has come is not found, even before its row is removed.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.files import File, blob_key
from locum.domain.pages import Listing, Page
from locum.errors import NotFound
from locum.store import staged_blobs
from locum.store.rows import decode, delete_row, encode, page_of, select_doc
from locum.store.tables import files as table

_INSERT = sa.insert(table)


def _lives_at(now: int | sa.BindParameter[int]) -> sa.ColumnElement[bool]:
    return sa.or_(table.c.expires_at.is_(None), table.c.expires_at > now)


_GET = select_doc(table, table.c.id).where(_lives_at(sa.bindparam("now")))
_EXISTING = sa.select(table.c.doc).where(
    table.c.resource == sa.bindparam("resource"),
    table.c.id.in_(sa.bindparam("ids", expanding=True)),
    _lives_at(sa.bindparam("now")),
)
_DELETE = delete_row(table)
_MADE = (
    select_doc(table, table.c.thread_id)
    .add_columns(table.c.path)
    .where(table.c.path.is_not(None))
    .order_by(table.c.seq)
)


def insert(conn: Connection, resource: str, file: File) -> None:
    """Insert the row of a file whose bytes are staged. Raise Unavailable if they were swept meanwhile."""
    staged_blobs.adopt(conn, blob_key(file.id))
    origin = {
        "thread_id": file.origin.thread_id if file.origin else None,
        "path": file.origin.path if file.origin else None,
    }
    row = {"id": file.id, "resource": resource, "purpose": file.purpose, "expires_at": file.expires_at, **origin}
    conn.execute(_INSERT, {**row, "doc": encode(file)})


def get(conn: Connection, resource: str, file_id: str, *, now: int) -> File:
    doc = conn.execute(_GET, {"id": file_id, "resource": resource, "now": now}).scalar_one_or_none()
    if doc is None:
        raise NotFound(f"No such File object: {file_id}", param="id")
    return decode(doc, File)


def delete(conn: Connection, resource: str, file_id: str, *, now: float) -> None:
    """Delete the row of a file, if there is one, and note its bytes as garbage."""
    if conn.execute(_DELETE, {"at": file_id, "of": resource}).rowcount > 0:
        staged_blobs.note_garbage(conn, [blob_key(file_id)], now=now)


def page(conn: Connection, resource: str, page: Page, *, now: int, purpose: str | None = None) -> Listing[File]:
    where = sa.and_(table.c.resource == resource, _lives_at(now))
    if purpose is not None:
        where = sa.and_(where, table.c.purpose == purpose)
    return page_of(conn, File, table, where, page, noun="file")


def existing(
    conn: Connection, resource: str, file_ids: Iterable[str], *, now: int, for_share: bool = False
) -> list[File]:
    """Those of the files that (still) exist. With `for_share` they do until the transaction ends."""
    row = {"resource": resource, "ids": list(dict.fromkeys(file_ids)), "now": now}
    docs = conn.execute(_EXISTING.with_for_update(read=True) if for_share else _EXISTING, row).scalars()
    return [decode(doc, File) for doc in docs]


def ids_of_expired(resource: str | sa.BindParameter[str], now: int | sa.BindParameter[int]) -> sa.Select[str]:
    """Of the resource's files whose time has come, and whose rows are still there: what others know of them is left
    out. They are few, an hour's."""
    return sa.select(table.c.id).where(table.c.resource == resource, table.c.expires_at <= now)


def expired_of(conn: Connection, resource: str, now: int) -> frozenset[str]:
    """The same ids, looked up."""
    return frozenset(conn.execute(_EXPIRED, {"of": resource, "now": now}).scalars())


_EXPIRED = ids_of_expired(sa.bindparam("of"), sa.bindparam("now"))


def expired(conn: Connection, now: int) -> list[tuple[str, str]]:
    """Resource and id of the files of all resources whose time has come."""
    rows = conn.execute(sa.select(table.c.resource, table.c.id).where(table.c.expires_at <= now))
    return [(resource, file_id) for resource, file_id in rows]


def made_in_thread(conn: Connection, resource: str, thread_id: str) -> dict[str, File]:
    """Path below /mnt/data -> the newest file a run of the thread made there, in the order these were made."""
    newest: dict[str, File] = {}
    for doc, path in conn.execute(_MADE, {"thread_id": thread_id, "resource": resource}):
        newest.pop(path, None)
        newest[path] = decode(doc, File)
    return newest


def known_ids(conn: Connection) -> set[str]:
    """Return the ids of all files of all resources."""
    return set(conn.execute(sa.select(table.c.id)).scalars())
