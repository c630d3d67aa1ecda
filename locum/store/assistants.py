"""Rows of assistants."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.assistants import Assistant
from locum.domain.pages import Listing, Page
from locum.errors import NotFound
from locum.store import file_uses
from locum.store.rows import decode, encode, page_of
from locum.store.tables import assistants as table


def insert(conn: Connection, resource: str, assistant: Assistant) -> None:
    conn.execute(sa.insert(table).values(id=assistant.id, resource=resource, doc=encode(assistant)))
    if file_ids := assistant.tool_resources.code_interpreter_file_ids:
        file_uses.replace(conn, resource, assistant.id, file_ids)


def get(conn: Connection, resource: str, assistant_id: str, *, for_update: bool = False) -> Assistant:
    query = sa.select(table.c.doc).where(table.c.id == assistant_id, table.c.resource == resource)
    doc = conn.execute(query.with_for_update() if for_update else query).scalar_one_or_none()
    if doc is None:
        raise NotFound(f"No assistant found with id '{assistant_id}'.")
    return decode(doc, Assistant)


def save(conn: Connection, resource: str, assistant: Assistant) -> None:
    conn.execute(
        sa.update(table).where(table.c.id == assistant.id, table.c.resource == resource).values(doc=encode(assistant))
    )
    file_uses.replace(conn, resource, assistant.id, assistant.tool_resources.code_interpreter_file_ids)


def delete(conn: Connection, resource: str, assistant_id: str) -> None:
    file_uses.replace(conn, resource, assistant_id, ())
    conn.execute(sa.delete(table).where(table.c.id == assistant_id, table.c.resource == resource))


def page(conn: Connection, resource: str, page: Page) -> Listing[Assistant]:
    return page_of(conn, Assistant, table, table.c.resource == resource, page, noun="assistant")
