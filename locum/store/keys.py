"""Rows of keys. Only the SHA-256 of a key is kept; keys are long random strings, so a plain digest is enough."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from locum.store.tables import keys as table


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """What may be told about a key: nothing of the key itself."""

    id: str
    resource: str
    name: str | None
    created_at: int


def put(conn: Connection, resource: str, key_id: str, sha256: str, *, name: str | None, now: int) -> None:
    """The key of that id is now this one."""
    conn.execute(sa.delete(table).where((table.c.id == key_id) | (table.c.sha256 == sha256)))
    conn.execute(sa.insert(table).values(id=key_id, resource=resource, sha256=sha256, name=name, created_at=now))


def remove(conn: Connection, key_id: str) -> bool:
    """Whether there was such a key."""
    return conn.execute(sa.delete(table).where(table.c.id == key_id)).rowcount > 0


def every(conn: Connection) -> list[StoredKey]:
    """All keys of all resources, oldest first."""
    columns = (table.c.id, table.c.resource, table.c.name, table.c.created_at)
    rows = conn.execute(sa.select(*columns).order_by(table.c.created_at, table.c.id))
    return [StoredKey(**row) for row in rows.mappings()]


def exist(conn: Connection) -> bool:
    """Whether there is a key at all."""
    return conn.execute(sa.select(sa.exists(sa.select(table.c.id)))).scalar_one()


def owner(conn: Connection, sha256: str) -> tuple[str, str] | None:
    """(key id, resource) of a key, or None."""
    row = conn.execute(sa.select(table.c.id, table.c.resource).where(table.c.sha256 == sha256)).one_or_none()
    return (row.id, row.resource) if row else None
