"""Which assistants and threads have which files in their tool resources."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.store.tables import file_uses as table


def replace(conn: Connection, resource: str, object_id: str, file_ids: Iterable[str]) -> None:
    """From now on the object uses exactly these files."""
    conn.execute(sa.delete(table).where(table.c.object_id == object_id, table.c.resource == resource))
    rows = [{"file_id": file_id, "object_id": object_id, "resource": resource} for file_id in dict.fromkeys(file_ids)]
    if rows:
        conn.execute(sa.insert(table), rows)


def users(conn: Connection, resource: str, file_id: str) -> list[str]:
    """Ids of the assistants and threads that use the file."""
    return list(
        conn.execute(
            sa.select(table.c.object_id).where(table.c.file_id == file_id, table.c.resource == resource)
        ).scalars()
    )
