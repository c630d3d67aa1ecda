"""Rows of assistants."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.assistants import Assistant
from locum.domain.pages import Listing, Page
from locum.errors import NotFound
from locum.store import file_uses
from locum.store.rows import decode, delete_row, encode, page_of, select_doc, update_doc
from locum.store.tables import assistants as table

_INSERT = sa.insert(table)
_GET = select_doc(table, table.c.id)
_LOCK = _GET.with_for_update()
_SAVE = update_doc(table)
_DELETE = delete_row(table)


def insert(conn: Connection, resource: str, assistant: Assistant) -> None:
    conn.execute(_INSERT, {"id": assistant.id, "resource": resource, "doc": encode(assistant)})
    if used_ids := assistant.tool_resources.used_ids:
        file_uses.replace(conn, resource, assistant.id, used_ids)


def get(conn: Connection, resource: str, assistant_id: str, *, for_update: bool = False) -> Assistant:
    row = {"id": assistant_id, "resource": resource}
    doc = conn.execute(_LOCK if for_update else _GET, row).scalar_one_or_none()
    if doc is None:
        raise NotFound(f"No assistant found with id '{assistant_id}'.")
    return decode(doc, Assistant)


def save(conn: Connection, resource: str, assistant: Assistant) -> None:
    conn.execute(_SAVE, {"at": assistant.id, "of": resource, "doc": encode(assistant)})
    file_uses.replace(conn, resource, assistant.id, assistant.tool_resources.used_ids)


def delete(conn: Connection, resource: str, assistant_id: str) -> None:
    file_uses.replace(conn, resource, assistant_id, ())
    conn.execute(_DELETE, {"at": assistant_id, "of": resource})


def page(conn: Connection, resource: str, page: Page) -> Listing[Assistant]:
    return page_of(conn, Assistant, table, table.c.resource == resource, page, noun="assistant")
