"""Rows of what was used: one for each session of the code interpreter. They stay when their thread is deleted."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.usage import By, SessionUsage, UsageSum
from locum.store.tables import session_usage as table

_DAY = 86_400

_INSERT = sa.insert(table)


def _no_less(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    said = sa.bindparam(f"said_{column.name}", type_=column.type)
    return sa.case((column < said, said), else_=column)


_FIGURES = ("last_used_at", "hours", "cells", "cpu_seconds", "peak_memory_bytes")
_UPDATE = (
    sa.update(table)
    .where(table.c.instance == sa.bindparam("at"), table.c.resource == sa.bindparam("of"))
    .values({name: _no_less(table.c[name]) for name in _FIGURES})
)

_KEYS: dict[By, tuple[sa.ColumnElement[Any], ...]] = {
    "resource": (table.c.resource,),
    "thread": (table.c.resource, table.c.thread_id),
    "day": ((table.c.opened_at - table.c.opened_at % _DAY).label("day"),),
}
_SUMS = (
    sa.func.count().label("sessions"),
    sa.func.sum(table.c.hours).label("hours"),
    sa.func.sum(table.c.cells).label("cells"),
    sa.func.sum(table.c.cpu_seconds).label("cpu_seconds"),
    sa.func.max(table.c.peak_memory_bytes).label("peak_memory_bytes"),
)


def record(conn: Connection, resource: str, thread_id: str, usage: SessionUsage) -> None:
    """What a session has used so far. What was recorded of it before is in these figures, or they are in that."""
    figures = {name: getattr(usage, name) for name in _FIGURES}
    said = {f"said_{name}": value for name, value in figures.items()}
    if conn.execute(_UPDATE, {"at": usage.instance, "of": resource, **said}).rowcount == 0:
        row = {"instance": usage.instance, "resource": resource, "thread_id": thread_id, "opened_at": usage.opened_at}
        conn.execute(_INSERT, {**row, **figures})


def sums(
    conn: Connection, *, by: By, resource: str | None = None, since: int = 0, limit: int | None = None
) -> list[UsageSum]:
    """What the sessions used that were opened `since` then, in the order of their keys: for the owner, of all resources
    unless one is named."""
    keys = _KEYS[by]
    query = sa.select(*keys, *_SUMS).where(table.c.opened_at >= since).group_by(*keys).order_by(*keys).limit(limit)
    if resource is not None:
        query = query.where(table.c.resource == resource)
    return [UsageSum(**row) for row in conn.execute(query).mappings()]
