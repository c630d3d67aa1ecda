"""Rows of threads."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.threads import Thread
from locum.errors import NotFound
from locum.store import file_uses
from locum.store.rows import decode, delete_row, encode, select_doc, update_doc
from locum.store.tables import messages, run_steps, runs
from locum.store.tables import threads as table

_INSERT = sa.insert(table)
_GET = select_doc(table, table.c.id)
_LOCK = _GET.with_for_update()
_SAVE = update_doc(table)
_DELETE = delete_row(table)


def insert(conn: Connection, resource: str, thread: Thread) -> None:
    conn.execute(_INSERT, {"id": thread.id, "resource": resource, "doc": encode(thread)})
    if file_ids := thread.tool_resources.code_interpreter_file_ids:
        file_uses.replace(conn, resource, thread.id, file_ids)


def get(conn: Connection, resource: str, thread_id: str, *, for_update: bool = False) -> Thread:
    """The thread. With `for_update` whoever else writes to this thread waits until the transaction ends."""
    row = {"id": thread_id, "resource": resource}
    doc = conn.execute(_LOCK if for_update else _GET, row).scalar_one_or_none()
    if doc is None:
        raise NotFound(f"No thread found with id '{thread_id}'.")
    return decode(doc, Thread)


def save(conn: Connection, resource: str, thread: Thread) -> None:
    conn.execute(_SAVE, {"at": thread.id, "of": resource, "doc": encode(thread)})
    file_uses.replace(conn, resource, thread.id, thread.tool_resources.code_interpreter_file_ids)


def delete(conn: Connection, resource: str, thread_id: str) -> None:
    """The thread and all that stands in it."""
    file_uses.replace(conn, resource, thread_id, ())
    for each in (runs, run_steps, messages):  # runs first: a worker that writes holds the run's row
        conn.execute(sa.delete(each).where(each.c.thread_id == thread_id, each.c.resource == resource))
    conn.execute(_DELETE, {"at": thread_id, "of": resource})
