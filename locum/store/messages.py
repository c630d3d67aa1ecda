"""Rows of messages. `seq` counts within the thread: it is the order of the conversation."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from locum import ids
from locum.domain.messages import Message
from locum.domain.pages import Listing, Page
from locum.errors import NotFound
from locum.store.rows import decode, delete_row, encode, page_of, select_doc, update_doc
from locum.store.tables import messages as table

_next_seq = sa.select(sa.func.coalesce(sa.func.max(table.c.seq), 0) + 1).where(
    table.c.thread_id == sa.bindparam("in_thread")
)
_INSERT = sa.insert(table).values(
    {
        **{name: sa.bindparam(name) for name in ("id", "resource", "thread_id", "run_id", "doc")},
        "seq": _next_seq.scalar_subquery(),
    }
)
_INSERT_ROWS = sa.insert(table)
_GET = select_doc(table, table.c.id, table.c.thread_id)
_LOCK = _GET.with_for_update()
_SAVE = update_doc(table)
_DELETE = delete_row(table)
_OF_RUN = select_doc(table, table.c.run_id).order_by(table.c.seq)
_BUT_RUN = (
    select_doc(table, table.c.thread_id)
    .add_columns(table.c.seq)
    .where(sa.or_(table.c.run_id.is_(None), table.c.run_id != sa.bindparam("but_run")))
)
_BUT_RUN_BELOW = (
    _BUT_RUN.where(table.c.seq < sa.bindparam("below")).order_by(table.c.seq.desc()).limit(sa.bindparam("most"))
)
_BUT_RUN_FIRST = _BUT_RUN.order_by(table.c.seq).limit(1)
_PICTURE = re.compile(r";base64,[^\"]*")
_BATCHES = (20, 200)
"""Rows are read so many at a time: few at first, as each may hold pictures of many megabytes."""
_MAX_BYTES = 32 * 1024 * 1024
"""Of documents, pictures in them included; the message that goes beyond is the last."""
_COPY_BATCH = 20
_COPIED = (
    sa.select(table.c.seq, table.c.doc)
    .where(
        table.c.thread_id == sa.bindparam("thread_id"),
        table.c.resource == sa.bindparam("resource"),
        table.c.seq > sa.bindparam("above"),
        table.c.seq <= sa.bindparam("upto"),
    )
    .order_by(table.c.seq)
    .limit(_COPY_BATCH)
)
_PLACE = sa.select(table.c.seq).where(
    *(table.c[name] == sa.bindparam(name) for name in ("id", "thread_id", "resource"))
)


def insert(conn: Connection, resource: str, message: Message) -> None:
    conn.execute(_INSERT, {**_columns(resource, message), "in_thread": message.thread_id})


def append(conn: Connection, resource: str, thread_id: str, messages: Sequence[Message]) -> None:
    """Insert messages at the end of a thread that the caller has locked or that nobody else knows yet."""
    if messages:
        seq = conn.execute(_next_seq, {"in_thread": thread_id}).scalar_one()
        rows = [{**_columns(resource, message), "seq": seq + at} for at, message in enumerate(messages)]
        conn.execute(_INSERT_ROWS, rows)


def _columns(resource: str, message: Message) -> dict[str, Any]:
    row = {"id": message.id, "resource": resource, "thread_id": message.thread_id, "run_id": message.run_id}
    return {**row, "doc": encode(message)}


def get(conn: Connection, resource: str, thread_id: str, message_id: str, *, for_update: bool = False) -> Message:
    message = find(conn, resource, thread_id, message_id, for_update=for_update)
    if message is None:
        raise NotFound(f"No message found with id '{message_id}'.")
    return message


def find(
    conn: Connection, resource: str, thread_id: str, message_id: str, *, for_update: bool = False
) -> Message | None:
    """The message, or None where it has been deleted. With `for_update` nobody else writes it until the transaction
    ends: a caller gives it metadata while a run writes its text."""
    row = {"id": message_id, "thread_id": thread_id, "resource": resource}
    doc = conn.execute(_LOCK if for_update else _GET, row).scalar_one_or_none()
    return decode(doc, Message) if doc is not None else None


def save(conn: Connection, resource: str, message: Message) -> None:
    conn.execute(_SAVE, {"at": message.id, "of": resource, "doc": encode(message)})


def delete(conn: Connection, resource: str, message_id: str) -> None:
    conn.execute(_DELETE, {"at": message_id, "of": resource})


def page(conn: Connection, resource: str, thread_id: str, page: Page, *, run_id: str | None = None) -> Listing[Message]:
    where = sa.and_(table.c.thread_id == thread_id, table.c.resource == resource)
    if run_id is not None:
        where = sa.and_(where, table.c.run_id == run_id)
    return page_of(conn, Message, table, where, page, noun="message")


def conversation(
    conn: Connection, resource: str, thread_id: str, *, but_run: str, newest: int | None = None, tokens: int
) -> list[Message]:
    """The messages of a thread but for those of one run, oldest first; with `newest`, only that many of its end.

    Of a thread that cannot fit into `tokens` anyway the end is loaded, somewhat more than fits, and its first message.
    """
    wanted = {"thread_id": thread_id, "resource": resource, "but_run": but_run}
    docs: list[str] = []
    below, left, room = 2**62, newest if newest is not None else 2**62, _MAX_BYTES
    while left > 0:
        most = min(_BATCHES[bool(docs)], left)
        batch = conn.execute(_BUT_RUN_BELOW, {**wanted, "below": below, "most": most}).all()
        for doc, seq in batch:
            docs.append(doc)
            below, left = seq, left - 1
            tokens, room = tokens - _least_tokens(doc), room - len(doc)
            if tokens < 0 or room < 0:
                return _decoded(docs if newest is not None else [*docs, *_first(conn, wanted, below)])
        if len(batch) < most:
            break
    return _decoded(docs)


def _first(conn: Connection, wanted: dict[str, str], below: int) -> list[str]:
    """The thread's first message, unless it is among those that have been read."""
    first = conn.execute(_BUT_RUN_FIRST, wanted).one()
    return [first.doc] if first.seq < below else []


def _decoded(newest_first: list[str]) -> list[Message]:
    return [decode(doc, Message) for doc in reversed(newest_first)]


def _least_tokens(doc: str) -> int:
    """What a message costs in any case: a doc without words has 450 characters, a token seldom more than twelve. The
    bytes of a picture in it are no words."""
    pictures = sum(map(len, _PICTURE.findall(doc))) if ";base64," in doc else 0
    return 4 + max(0, len(doc) - pictures - 500) // 12


def of_run(conn: Connection, resource: str, run_id: str) -> list[Message]:
    """What a run wrote, oldest first."""
    docs = conn.execute(_OF_RUN, {"run_id": run_id, "resource": resource}).scalars()
    return [decode(doc, Message) for doc in docs]


def position(conn: Connection, resource: str, thread_id: str, message_id: str) -> int:
    """Return the place of an existing message in its thread."""
    return int(conn.execute(_PLACE, {"id": message_id, "thread_id": thread_id, "resource": resource}).scalar_one())


def last_position(conn: Connection, resource: str, thread_id: str) -> int:
    """Return the place of the last message of a thread, 0 if it has none."""
    return int(conn.execute(_next_seq, {"in_thread": thread_id}).scalar_one()) - 1


def copy(
    conn: Connection, resource: str, thread_id: str, *, to: str, above: int, upto: int, is_over: Callable[[], bool]
) -> int:
    """Copy a thread's messages with places above `above` and up to `upto` into another thread, in their order, with ids
    of their own; return the place reached, which is `upto` unless `is_over` returned True before.

    The copies belong to no run. Messages that are still being written are not copied.
    """
    place = {"thread_id": thread_id, "resource": resource, "upto": upto}
    while True:
        batch = conn.execute(_COPIED, {**place, "above": above}).all()
        copies = [(_copy_of(decode(row.doc, Message), to), row.seq) for row in batch]
        if rows := [
            {**_columns(resource, message), "seq": seq} for message, seq in copies if message.status != "in_progress"
        ]:
            conn.execute(_INSERT_ROWS, rows)
        if len(batch) < _COPY_BATCH:
            return upto
        above = batch[-1].seq
        if is_over():
            return above


def _copy_of(message: Message, thread_id: str) -> Message:
    return msgspec.structs.replace(message, id=ids.new("msg_"), thread_id=thread_id, run_id=None)
