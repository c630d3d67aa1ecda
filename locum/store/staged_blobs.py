"""Notes of the blobs that no row refers to: those about to get a row, and garbage about to be removed.

A key is noted before its bytes are stored. The transaction that inserts a row for the bytes removes the note, and the
transaction that deletes the row notes the key as garbage. Only noted keys are ever swept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from locum.errors import Unavailable
from locum.store.tables import staged_blobs as table

_INSERT = sa.insert(table)
_RENEW = (
    sa.update(table)
    .where(table.c.key == sa.bindparam("at"), table.c.is_garbage.is_(False))
    .values(staged_at=sa.bindparam("now"))
)
_ADOPT = sa.delete(table).where(table.c.key == sa.bindparam("at"), table.c.is_garbage.is_(False))
_FORGET = sa.delete(table).where(table.c.key.in_(sa.bindparam("keys", expanding=True)))
_OVERDUE = (
    sa.select(table.c.key)
    .where(table.c.is_garbage.is_(False), table.c.staged_at <= sa.bindparam("before"))
    .with_for_update(skip_locked=True)
)
_IS_ANY_OVERDUE = sa.select(
    sa.exists().where(table.c.is_garbage.is_(False), table.c.staged_at <= sa.bindparam("before"))
)
_MARK_OVERDUE = sa.update(table).where(table.c.key.in_(_OVERDUE)).values(is_garbage=True)
_GARBAGE = (
    sa.select(table.c.key)
    .where(table.c.is_garbage.is_(True))
    .order_by(table.c.staged_at, table.c.key)
    .limit(sa.bindparam("limit"))
)


def note(conn: Connection, key: str, *, now: float) -> None:
    """Note a key whose bytes are about to be stored."""
    conn.execute(_INSERT, {"key": key, "staged_at": now, "is_garbage": False})


def renew(conn: Connection, key: str, *, now: float) -> None:
    """Start the grace period of a noted key anew, while its bytes still arrive."""
    conn.execute(_RENEW, {"at": key, "now": now})


def adopt(conn: Connection, key: str) -> None:
    """Remove the note of a key for which this transaction inserts a row. Raise Unavailable if the key was swept."""
    if conn.execute(_ADOPT, {"at": key}).rowcount != 1:
        raise Unavailable("The file was not stored in time. Nothing of this request was kept.")


def note_garbage(conn: Connection, keys: Iterable[str], *, now: float) -> None:
    """Note the keys of rows that this transaction deletes."""
    rows = [{"key": key, "staged_at": now, "is_garbage": True} for key in keys]
    if rows:
        conn.execute(_INSERT, rows)


def is_any_overdue(conn: Connection, *, before: float) -> bool:
    """Return whether a key noted up to `before` has got no row."""
    return bool(conn.execute(_IS_ANY_OVERDUE, {"before": before}).scalar_one())


def mark_overdue(conn: Connection, *, before: float) -> None:
    """Turn the keys noted up to `before` into garbage: from now on no row can adopt them."""
    conn.execute(_MARK_OVERDUE, {"before": before})


def garbage(conn: Connection, *, limit: int) -> list[str]:
    """Return keys of garbage, oldest first."""
    return list(conn.execute(_GARBAGE, {"limit": limit}).scalars())


def forget(conn: Connection, keys: Sequence[str]) -> None:
    """Remove the notes of bytes that are gone."""
    conn.execute(_FORGET, {"keys": keys})


def every(conn: Connection) -> set[str]:
    """Return all noted keys."""
    return set(conn.execute(sa.select(table.c.key)).scalars())
