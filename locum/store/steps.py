"""Rows of run steps: the journal of a run."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.pages import Listing, Page
from locum.domain.steps import Step
from locum.errors import NotFound
from locum.store.rows import decode, encode, page_of
from locum.store.tables import run_steps as table


def insert(conn: Connection, resource: str, step: Step) -> None:
    conn.execute(
        sa.insert(table).values(
            id=step.id, resource=resource, thread_id=step.thread_id, run_id=step.run_id, doc=encode(step)
        )
    )


def get(conn: Connection, resource: str, run_id: str, step_id: str) -> Step:
    doc = conn.execute(
        sa.select(table.c.doc).where(table.c.id == step_id, table.c.run_id == run_id, table.c.resource == resource)
    ).scalar_one_or_none()
    if doc is None:
        raise NotFound(f"No run step found with id '{step_id}'.")
    return decode(doc, Step)


def save(conn: Connection, resource: str, step: Step) -> None:
    conn.execute(sa.update(table).where(table.c.id == step.id, table.c.resource == resource).values(doc=encode(step)))


def delete(conn: Connection, resource: str, step_id: str) -> None:
    conn.execute(sa.delete(table).where(table.c.id == step_id, table.c.resource == resource))


def of_run(conn: Connection, resource: str, run_id: str) -> list[Step]:
    """All steps of a run in the order they were opened."""
    docs = conn.execute(
        sa.select(table.c.doc).where(table.c.run_id == run_id, table.c.resource == resource).order_by(table.c.seq)
    ).scalars()
    return [decode(doc, Step) for doc in docs]


def page(conn: Connection, resource: str, run_id: str, page: Page) -> Listing[Step]:
    where = sa.and_(table.c.run_id == run_id, table.c.resource == resource)
    return page_of(conn, Step, table, where, page, noun="run step")
