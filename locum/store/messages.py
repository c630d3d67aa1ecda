"""Rows of messages. `seq` counts within the thread: it is the order of the conversation."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.messages import Message
from locum.domain.pages import Listing, Page
from locum.errors import NotFound
from locum.store.rows import decode, encode, page_of
from locum.store.tables import messages as table


def insert(conn: Connection, resource: str, message: Message) -> None:
    newest = conn.execute(
        sa.select(sa.func.max(table.c.seq)).where(table.c.thread_id == message.thread_id)
    ).scalar_one_or_none()
    conn.execute(
        sa.insert(table).values(
            id=message.id,
            resource=resource,
            thread_id=message.thread_id,
            seq=(newest or 0) + 1,
            run_id=message.run_id,
            doc=encode(message),
        )
    )


def get(conn: Connection, resource: str, thread_id: str, message_id: str) -> Message:
    message = find(conn, resource, thread_id, message_id)
    if message is None:
        raise NotFound(f"No message found with id '{message_id}'.")
    return message


def find(conn: Connection, resource: str, thread_id: str, message_id: str) -> Message | None:
    """The message, or None where it has been deleted."""
    query = sa.select(table.c.doc).where(
        table.c.id == message_id, table.c.thread_id == thread_id, table.c.resource == resource
    )
    doc = conn.execute(query).scalar_one_or_none()
    return decode(doc, Message) if doc is not None else None


def save(conn: Connection, resource: str, message: Message) -> None:
    conn.execute(
        sa.update(table).where(table.c.id == message.id, table.c.resource == resource).values(doc=encode(message))
    )


def delete(conn: Connection, resource: str, message_id: str) -> None:
    conn.execute(sa.delete(table).where(table.c.id == message_id, table.c.resource == resource))


def page(conn: Connection, resource: str, thread_id: str, page: Page, *, run_id: str | None = None) -> Listing[Message]:
    where = sa.and_(table.c.thread_id == thread_id, table.c.resource == resource)
    if run_id is not None:
        where = sa.and_(where, table.c.run_id == run_id)
    return page_of(conn, Message, table, where, page, noun="message")


def conversation(
    conn: Connection, resource: str, thread_id: str, *, but_run: str, newest: int | None = None
) -> list[Message]:
    """The messages of a thread but for those of one run, oldest first; with `newest`, only that many of its end."""
    query = (
        sa.select(table.c.doc)
        .where(
            table.c.thread_id == thread_id,
            table.c.resource == resource,
            sa.or_(table.c.run_id.is_(None), table.c.run_id != but_run),
        )
        .order_by(table.c.seq.desc())
    )
    docs = list(conn.execute(query.limit(newest) if newest is not None else query).scalars())
    return [decode(doc, Message) for doc in reversed(docs)]


def of_run(conn: Connection, resource: str, run_id: str) -> list[Message]:
    """What a run wrote, oldest first."""
    docs = conn.execute(
        sa.select(table.c.doc).where(table.c.run_id == run_id, table.c.resource == resource).order_by(table.c.seq)
    ).scalars()
    return [decode(doc, Message) for doc in docs]
