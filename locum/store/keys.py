"""Rows of keys. Only the SHA-256 of a key is kept; keys are long random strings, so a plain digest is enough."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.keys import StoredKey
from locum.store.tables import keys as table

_KEYS = sa.select(table.c.id, table.c.resource, table.c.name, table.c.created_at, table.c.permissions)


def put(
    conn: Connection,
    resource: str,
    key_id: str,
    sha256: str,
    *,
    name: str | None,
    now: int,
    permissions: tuple[str, ...] = (),
) -> None:
    """The key of that id is now this one."""
    conn.execute(sa.delete(table).where((table.c.id == key_id) | (table.c.sha256 == sha256)))
    row = {"id": key_id, "resource": resource, "sha256": sha256, "name": name, "created_at": now}
    conn.execute(sa.insert(table), {**row, "permissions": ",".join(permissions)})


def remove(conn: Connection, key_id: str) -> bool:
    """Whether there was such a key."""
    return conn.execute(sa.delete(table).where(table.c.id == key_id)).rowcount > 0


def every(conn: Connection) -> list[StoredKey]:
    """All keys of all resources, oldest first."""
    return [_key(row) for row in conn.execute(_KEYS.order_by(table.c.created_at, table.c.id))]


def owner(conn: Connection, sha256: str) -> tuple[str, str] | None:
    """(key id, resource) of a key, or None."""
    row = conn.execute(sa.select(table.c.id, table.c.resource).where(table.c.sha256 == sha256)).one_or_none()
    return (row.id, row.resource) if row else None


def digests(conn: Connection) -> dict[str, StoredKey]:
    """Return all keys by the SHA-256 of each."""
    return {row.sha256: _key(row) for row in conn.execute(_KEYS.add_columns(table.c.sha256))}


def _key(row: Any) -> StoredKey:
    return StoredKey(
        id=row.id,
        resource=row.resource,
        name=row.name,
        created_at=row.created_at,
        permissions=tuple(filter(None, row.permissions.split(","))),
    )
