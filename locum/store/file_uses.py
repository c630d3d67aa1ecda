"""Uses of files and vector stores in the tool resources of assistants and threads."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.store.tables import file_uses as table


def replace(conn: Connection, resource: str, object_id: str, used_ids: Iterable[str]) -> None:
    """Record the files and vector stores that an assistant or thread uses from now on."""
    conn.execute(sa.delete(table).where(table.c.object_id == object_id, table.c.resource == resource))
    rows = [{"file_id": used_id, "object_id": object_id, "resource": resource} for used_id in dict.fromkeys(used_ids)]
    if rows:
        conn.execute(sa.insert(table), rows)


def users(conn: Connection, resource: str, used_id: str) -> list[str]:
    """Return the ids of the assistants and threads that use a file or vector store."""
    return list(
        conn.execute(
            sa.select(table.c.object_id).where(table.c.file_id == used_id, table.c.resource == resource)
        ).scalars()
    )
