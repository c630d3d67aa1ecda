"""Rows of idempotency keys, with the id of the object that a request with the key created. Kept for a day."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from locum.store.tables import idempotency_keys as table

KEEP_SECONDS = 24 * 3600
_SWEEP = 100

# On both databases this waits for another transaction that inserts the same key.
_INSERT = sa.text(
    "INSERT INTO once (resource, key, fingerprint, object_id, created_at) "
    "VALUES (:resource, :key, :fingerprint, '', :now) ON CONFLICT DO NOTHING"
)
_GET = sa.select(table.c.fingerprint, table.c.object_id).where(
    table.c.resource == sa.bindparam("of"), table.c.key == sa.bindparam("at")
)
_SET = (
    sa.update(table)
    .where(table.c.resource == sa.bindparam("of"), table.c.key == sa.bindparam("at"))
    .values(object_id=sa.bindparam("created"))
)
_old = (
    sa.select(table.c.resource, table.c.key)
    .where(table.c.created_at <= sa.bindparam("before"))
    .order_by(table.c.created_at)
    .limit(_SWEEP)
    .with_for_update(skip_locked=True)
)
_DELETE_OLD = sa.delete(table).where(sa.tuple_(table.c.resource, table.c.key).in_(_old))


class EarlierRequest(msgspec.Struct, frozen=True):
    """The fingerprint of the request that used the key first, and the id of the object it created."""

    fingerprint: str
    object_id: str


def begin(conn: Connection, resource: str, key: str, fingerprint: str, *, now: int) -> EarlierRequest | None:
    """Insert a key; return the earlier request if there was one. Deletes some old keys, too."""
    conn.execute(_DELETE_OLD, {"before": now - KEEP_SECONDS})
    row = {"resource": resource, "key": key, "fingerprint": fingerprint, "now": now}
    if conn.execute(_INSERT, row).rowcount > 0:
        return None
    earlier = conn.execute(_GET, {"of": resource, "at": key}).one()
    return EarlierRequest(earlier.fingerprint, earlier.object_id)


def finish(conn: Connection, resource: str, key: str, object_id: str) -> None:
    """Set the id of the object that the key has created."""
    conn.execute(_SET, {"of": resource, "at": key, "created": object_id})
