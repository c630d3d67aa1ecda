"""Rows of uploads and of their parts. The bytes of a part are in `blobs`; no row is written before its blob is."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.uploads import Upload, UploadPart, part_blob_key
from locum.errors import NotFound
from locum.store import staged_blobs
from locum.store.rows import decode, encode, select_doc, update_doc
from locum.store.tables import upload_parts
from locum.store.tables import uploads as table

_INSERT = sa.insert(table)
_GET = select_doc(table, table.c.id)
_LOCK = _GET.with_for_update()
_SAVE = update_doc(table, "status")
_INSERT_PART = sa.insert(upload_parts)
_FINISHED = (
    sa.select(table.c.seq)
    .where(table.c.status != "pending", table.c.expires_at <= sa.bindparam("before"))
    .order_by(table.c.seq)
    .limit(500)  # other writers wait no longer than that takes
    .with_for_update(skip_locked=True)
)
_DELETE_FINISHED = sa.delete(table).where(table.c.seq.in_(_FINISHED))
_PARTS = select_doc(upload_parts, upload_parts.c.upload_id).order_by(upload_parts.c.seq)


def insert(conn: Connection, resource: str, upload: Upload) -> None:
    row = {"id": upload.id, "resource": resource, "status": upload.status, "expires_at": upload.expires_at}
    conn.execute(_INSERT, {**row, "doc": encode(upload)})


def get(conn: Connection, resource: str, upload_id: str, *, for_update: bool = False) -> Upload:
    """The upload. With `for_update` whoever else writes to it or adds a part waits until the transaction ends."""
    row = {"id": upload_id, "resource": resource}
    doc = conn.execute(_LOCK if for_update else _GET, row).scalar_one_or_none()
    if doc is None:
        raise NotFound(f"No such Upload object: {upload_id}", param="upload_id")
    return decode(doc, Upload)


def save(conn: Connection, resource: str, upload: Upload) -> None:
    conn.execute(_SAVE, {"at": upload.id, "of": resource, "status": upload.status, "doc": encode(upload)})


def add_part(conn: Connection, resource: str, part: UploadPart) -> None:
    """Insert the row of a part whose bytes are staged. Raise Unavailable if they were swept meanwhile."""
    staged_blobs.adopt(conn, part_blob_key(part.id))
    row = {"id": part.id, "resource": resource, "upload_id": part.upload_id}
    conn.execute(_INSERT_PART, {**row, "doc": encode(part)})


def parts(conn: Connection, resource: str, upload_id: str) -> list[UploadPart]:
    """The upload's parts, in the order they arrived."""
    docs = conn.execute(_PARTS, {"upload_id": upload_id, "resource": resource}).scalars()
    return [decode(doc, UploadPart) for doc in docs]


def remove_parts(conn: Connection, resource: str, upload_id: str, *, now: float) -> list[UploadPart]:
    """Delete the rows of the upload's parts and note their bytes as garbage; return the parts."""
    removed = parts(conn, resource, upload_id)
    at = upload_parts.c.upload_id == upload_id
    conn.execute(sa.delete(upload_parts).where(at, upload_parts.c.resource == resource))
    staged_blobs.note_garbage(conn, [part_blob_key(part.id) for part in removed], now=now)
    return removed


def overdue(conn: Connection, now: int) -> list[tuple[str, str]]:
    """Resource and id of the uploads of all resources that wait for parts, and whose hour is over."""
    rows = conn.execute(
        sa.select(table.c.resource, table.c.id).where(table.c.status == "pending", table.c.expires_at <= now)
    )
    return [(resource, upload_id) for resource, upload_id in rows]


def delete_finished(conn: Connection, before: int) -> int:
    """Delete some rows of uploads of all resources that take no parts and whose hour was over by then.

    Return their number; 0 when there are no more. Their parts have no rows, and their files have rows of their own.
    """
    return conn.execute(_DELETE_FINISHED, {"before": before}).rowcount


def known_part_ids(conn: Connection) -> set[str]:
    """Return the ids of all parts of all resources."""
    return set(conn.execute(sa.select(upload_parts.c.id)).scalars())
