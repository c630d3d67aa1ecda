"""The identity of the database: a random id that a blob store names as its owner."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.store.tables import database_identity as table

_ONLY_ROW = 1
_GET = sa.select(table.c.id).where(table.c.number == _ONLY_ROW)
_INSERT = sa.text("INSERT INTO database_identity (number, id) VALUES (:number, :id) ON CONFLICT DO NOTHING")


def get(conn: Connection) -> str | None:
    """Return the id of the database; None before the first start of a server on it."""
    return conn.execute(_GET).scalar_one_or_none()


def ensure(conn: Connection, new_id: str) -> str:
    """Return the id of the database, which becomes `new_id` if it has none."""
    if (current := get(conn)) is not None:
        return current
    conn.execute(_INSERT, {"number": _ONLY_ROW, "id": new_id})
    return str(conn.execute(_GET).scalar_one())
