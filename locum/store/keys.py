"""Rows of keys. Only the SHA-256 of a key is kept; keys are long random strings, so a plain digest is enough."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.store.tables import keys as table


def put(conn: Connection, resource: str, key_id: str, sha256: str, *, now: int) -> None:
    """The key of that id is now this one."""
    conn.execute(sa.delete(table).where((table.c.id == key_id) | (table.c.sha256 == sha256)))
    conn.execute(sa.insert(table).values(id=key_id, resource=resource, sha256=sha256, created_at=now))


def remove(conn: Connection, key_id: str) -> None:
    conn.execute(sa.delete(table).where(table.c.id == key_id))


def owner(conn: Connection, sha256: str) -> tuple[str, str] | None:
    """(key id, resource) of a key, or None."""
    row = conn.execute(sa.select(table.c.id, table.c.resource).where(table.c.sha256 == sha256)).one_or_none()
    return (row.id, row.resource) if row else None
