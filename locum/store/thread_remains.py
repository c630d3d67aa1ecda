"""Notes of threads that do not exist and yet have rows: deleted ones and unfinished copies, whose rows are removed in
portions. Only noted threads lose their rows: nothing is inferred from the absence of a thread."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.store.tables import thread_remains as table

_INSERT = sa.insert(table)
_FORGET = sa.delete(table).where(table.c.thread_id == sa.bindparam("at"), table.c.resource == sa.bindparam("of"))
_DUE = (
    sa.select(table.c.resource, table.c.thread_id)
    .where(table.c.due_at <= sa.bindparam("now"))
    .order_by(table.c.due_at, table.c.thread_id)
    .limit(100)
)


def note(conn: Connection, resource: str, thread_id: str, *, due_at: float) -> None:
    """Note a thread whose rows may be removed from that second on."""
    conn.execute(_INSERT, {"thread_id": thread_id, "resource": resource, "due_at": due_at})


def forget(conn: Connection, resource: str, thread_id: str) -> bool:
    """Remove the note. Return False if there was none."""
    return conn.execute(_FORGET, {"at": thread_id, "of": resource}).rowcount == 1


def due(conn: Connection, *, now: float) -> list[tuple[str, str]]:
    """Return (resource, thread id) of up to 100 threads that are due, longest due first."""
    return [(row.resource, row.thread_id) for row in conn.execute(_DUE, {"now": now})]
