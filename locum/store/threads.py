"""Rows of threads."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.pages import Listing, Page
from locum.domain.runs import ACTIVE
from locum.domain.threads import Thread
from locum.errors import NotFound
from locum.store import file_uses
from locum.store.rows import decode, delete_row, encode, page_of, select_doc, update_doc
from locum.store.tables import messages, run_steps, runs, thread_labels
from locum.store.tables import threads as table

_INSERT = sa.insert(table)
_GET = select_doc(table, table.c.id)
_LOCK = _GET.with_for_update()
_SAVE = update_doc(table)
_DELETE = delete_row(table)
_LABEL = sa.insert(thread_labels)
_UNLABEL = sa.delete(thread_labels).where(
    thread_labels.c.thread_id == sa.bindparam("at"), thread_labels.c.resource == sa.bindparam("of")
)
_REMOVED_ROWS = 20
"""By one statement: each may be of many megabytes."""


def _removal(of: sa.Table) -> sa.Delete:
    mine = sa.and_(of.c.thread_id == sa.bindparam("at"), of.c.resource == sa.bindparam("of"))
    some = sa.select(of.c.seq).where(mine).order_by(of.c.seq).limit(_REMOVED_ROWS)
    return sa.delete(of).where(mine, of.c.seq.in_(some))


_REMOVALS = tuple(map(_removal, (runs, run_steps, messages)))
_END_RUN = sa.delete(runs).where(
    runs.c.thread_id == sa.bindparam("at"), runs.c.resource == sa.bindparam("of"), runs.c.status.in_(ACTIVE)
)
_other = table.alias()
_FEW = 1000
"""So many threads of one label are sorted quicker than the whole list is searched for them."""


def insert(conn: Connection, resource: str, thread: Thread) -> None:
    conn.execute(_INSERT, {"id": thread.id, "resource": resource, "doc": encode(thread)})
    if used_ids := thread.tool_resources.used_ids:
        file_uses.replace(conn, resource, thread.id, used_ids)
    _label(conn, resource, thread)


def get(conn: Connection, resource: str, thread_id: str, *, for_update: bool = False) -> Thread:
    """The thread. With `for_update` whoever else writes to this thread waits until the transaction ends."""
    row = {"id": thread_id, "resource": resource}
    doc = conn.execute(_LOCK if for_update else _GET, row).scalar_one_or_none()
    if doc is None:
        raise NotFound(f"No thread found with id '{thread_id}'.")
    return decode(doc, Thread)


def save(conn: Connection, resource: str, thread: Thread) -> None:
    conn.execute(_SAVE, {"at": thread.id, "of": resource, "doc": encode(thread)})
    file_uses.replace(conn, resource, thread.id, thread.tool_resources.used_ids)
    conn.execute(_UNLABEL, {"at": thread.id, "of": resource})
    _label(conn, resource, thread)


def delete(conn: Connection, resource: str, thread_id: str) -> None:
    """Remove the thread and its active run: nobody can read or write what stands in it, which `remove_rows` removes."""
    file_uses.replace(conn, resource, thread_id, ())
    conn.execute(_UNLABEL, {"at": thread_id, "of": resource})
    conn.execute(_END_RUN, {"at": thread_id, "of": resource})  # before its thread: a worker that writes holds its row
    conn.execute(_DELETE, {"at": thread_id, "of": resource})


def remove_rows(conn: Connection, resource: str, thread_id: str, is_over: Callable[[], bool]) -> bool:
    """Remove runs, steps and messages of a thread that is deleted; return whether none is left, which is so unless
    `is_over` returned True before."""
    for statement in _REMOVALS:
        while conn.execute(statement, {"at": thread_id, "of": resource}).rowcount == _REMOVED_ROWS:
            if is_over():
                return False
    return True


def page(conn: Connection, resource: str, page: Page, *, metadata: dict[str, str]) -> Listing[Thread]:
    """A page of the threads whose metadata has all of these pairs, newest or oldest first."""
    where = table.c.resource == resource
    for key, value in metadata.items():
        label = sa.and_(
            thread_labels.c.resource == resource, thread_labels.c.key == key, thread_labels.c.value == value
        )
        if _is_on_few(conn, label):
            # By `seq`, which the list is ordered by: SQLite would search all threads for those of the ids.
            labelled = sa.select(_other.c.seq).join(thread_labels, thread_labels.c.thread_id == _other.c.id)
            where = sa.and_(where, table.c.seq.in_(labelled.where(label)))
        else:
            # Looked up thread by thread until the page is full: PostgreSQL would join all of them for an EXISTS.
            mine = sa.select(thread_labels.c.value).where(
                thread_labels.c.thread_id == table.c.id, thread_labels.c.key == key
            )
            where = sa.and_(where, mine.scalar_subquery() == value)
    return page_of(conn, Thread, table, where, page, noun="thread")


def _is_on_few(conn: Connection, label: sa.ColumnElement[bool]) -> bool:
    some = sa.select(thread_labels.c.thread_id).where(label).limit(_FEW + 1).subquery()
    return conn.execute(sa.select(sa.func.count()).select_from(some)).scalar_one() <= _FEW


def _label(conn: Connection, resource: str, thread: Thread) -> None:
    rows = [
        {"resource": resource, "thread_id": thread.id, "key": key, "value": value}
        for key, value in thread.metadata.items()
    ]
    if rows:
        conn.execute(_LABEL, rows)
