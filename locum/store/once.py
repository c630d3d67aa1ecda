"""Rows of idempotency keys: which object a request with that key has made. Kept for a day."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from locum.store.tables import once as table

KEEP_SECONDS = 24 * 3600
_SWEEP = 100

# Another transaction with the same key is waited for here, on PostgreSQL as on SQLite.
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
    .values(object_id=sa.bindparam("made"))
)
_old = (
    sa.select(table.c.resource, table.c.key)
    .where(table.c.created_at <= sa.bindparam("before"))
    .order_by(table.c.created_at)
    .limit(_SWEEP)
    .with_for_update(skip_locked=True)
)
_FORGET = sa.delete(table).where(sa.tuple_(table.c.resource, table.c.key).in_(_old))


class Made(msgspec.Struct, frozen=True):
    """What a request with the key has made, and the fingerprint of that request."""

    fingerprint: str
    object_id: str


def begin(conn: Connection, resource: str, key: str, fingerprint: str, *, now: int) -> Made | None:
    """None: nothing has been made with the key, and this transaction is about to. Old keys go on the way."""
    conn.execute(_FORGET, {"before": now - KEEP_SECONDS})
    row = {"resource": resource, "key": key, "fingerprint": fingerprint, "now": now}
    if conn.execute(_INSERT, row).rowcount > 0:
        return None
    found = conn.execute(_GET, {"of": resource, "at": key}).one()
    return Made(found.fingerprint, found.object_id)


def finish(conn: Connection, resource: str, key: str, object_id: str) -> None:
    """This is what was made."""
    conn.execute(_SET, {"of": resource, "at": key, "made": object_id})
