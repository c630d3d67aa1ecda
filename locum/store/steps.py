"""Rows of run steps: the journal of a run."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.pages import Listing, Page
from locum.domain.steps import Step
from locum.errors import NotFound
from locum.store.rows import decode, delete_row, encode, page_of, select_doc, update_doc
from locum.store.tables import run_steps as table
from locum.store.tables import runs

_INSERT = sa.insert(table)
_GET = select_doc(table, table.c.id, table.c.run_id)
_SAVE = update_doc(table)
_DELETE = delete_row(table)
_OF_RUN = select_doc(table, table.c.run_id).order_by(table.c.seq)

_OF_THREAD = (
    select_doc(table)
    .where(table.c.run_id.in_(sa.select(runs.c.id).where(runs.c.thread_id == sa.bindparam("thread_id"))))
    .order_by(table.c.seq)
)


def insert(conn: Connection, resource: str, step: Step) -> None:
    row = {"id": step.id, "resource": resource, "thread_id": step.thread_id, "run_id": step.run_id}
    conn.execute(_INSERT, {**row, "doc": encode(step)})


def get(conn: Connection, resource: str, run_id: str, step_id: str) -> Step:
    doc = conn.execute(_GET, {"id": step_id, "run_id": run_id, "resource": resource}).scalar_one_or_none()
    if doc is None:
        raise NotFound(f"No run step found with id '{step_id}'.")
    return decode(doc, Step)


def save(conn: Connection, resource: str, step: Step) -> None:
    conn.execute(_SAVE, {"at": step.id, "of": resource, "doc": encode(step)})


def delete(conn: Connection, resource: str, step_id: str) -> None:
    conn.execute(_DELETE, {"at": step_id, "of": resource})


def of_run(conn: Connection, resource: str, run_id: str) -> list[Step]:
    """All steps of a run in the order they were opened."""
    docs = conn.execute(_OF_RUN, {"run_id": run_id, "resource": resource}).scalars()
    return [decode(doc, Step) for doc in docs]


def of_thread(conn: Connection, resource: str, thread_id: str) -> list[Step]:
    """The steps of all runs of a thread in the order they were opened."""
    docs = conn.execute(_OF_THREAD, {"thread_id": thread_id, "resource": resource}).scalars()
    return [decode(doc, Step) for doc in docs]


def page(conn: Connection, resource: str, run_id: str, page: Page) -> Listing[Step]:
    where = sa.and_(table.c.run_id == run_id, table.c.resource == resource)
    return page_of(conn, Step, table, where, page, noun="run step")
