"""Forks: threads that begin as other ones stand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from locum import ids
from locum.clock import Clock
from locum.domain.messages import Message
from locum.domain.threads import Thread
from locum.errors import InvalidRequest, Unavailable
from locum.services.idempotency import IdempotencyKey, create_or_find
from locum.services.portions import IsOver, portion, remove_remains
from locum.store import messages as message_store
from locum.store import thread_remains
from locum.store import threads as store
from locum.store.database import Database

_COPY_SECONDS = 3600.0
"""A copy that is not complete by then is given up."""


class Fork(msgspec.Struct, frozen=True):
    """A request for a copy of a thread: of its messages up to and including one, or of all (None)."""

    resource: str
    thread_id: str
    message_id: str | None
    changes: dict[str, Any]
    """Attributes of the new thread that differ from those of the old one."""


class _TooLong(Exception):
    """The thread cannot be copied within one portion."""


async def fork(
    db: Database,
    clock: Clock,
    request: Fork,
    idempotency_key: IdempotencyKey | None,
    *,
    begin_portion: Callable[[], IsOver] = portion,
) -> Thread:
    """Return the new thread. A long one is copied in portions and exists only when it is complete."""
    try:
        return await db.write(lambda conn: _fork_at_once(conn, request, idempotency_key, begin_portion(), now=clock()))
    except _TooLong:
        return await _fork_in_portions(db, clock, request, idempotency_key, begin_portion)


def _fork_at_once(
    conn: Connection, request: Fork, idempotency_key: IdempotencyKey | None, is_over: IsOver, *, now: float
) -> Thread:
    def copy() -> Thread:
        thread_id = ids.new("thread_")
        last = _last_position(conn, request)
        if _copy(conn, request, thread_id, is_over, above=-1, upto=last) < last:
            raise _TooLong("the portion is over")
        return _insert(conn, request, thread_id, now=now)

    return _create_or_find(conn, request, idempotency_key, copy, now=now)


async def _fork_in_portions(
    db: Database,
    clock: Clock,
    request: Fork,
    idempotency_key: IdempotencyKey | None,
    begin_portion: Callable[[], IsOver],
) -> Thread:
    thread_id, now = ids.new("thread_"), clock()

    def begin(conn: Connection) -> int:
        thread_remains.note(conn, request.resource, thread_id, due_at=now + _COPY_SECONDS)
        return _last_position(conn, request)

    def complete(conn: Connection) -> Thread:
        if not thread_remains.forget(conn, request.resource, thread_id):
            raise Unavailable("The copy of the thread took too long. Nothing of this request was kept.")
        return _insert(conn, request, thread_id, now=now)

    def copy(conn: Connection, above: int, upto: int) -> int:
        return _copy(conn, request, thread_id, begin_portion(), above=above, upto=upto)

    def finish(conn: Connection) -> Thread:
        return _create_or_find(conn, request, idempotency_key, lambda: complete(conn), now=now)

    place, last = -1, await db.write(begin)
    while place < last:
        place = await db.write(partial(copy, above=place, upto=last))
    thread = await db.write(finish)
    if thread.id != thread_id:  # a repeated request was quicker
        await remove_remains(db, request.resource, thread_id)
    return thread


def _create_or_find(
    conn: Connection,
    request: Fork,
    idempotency_key: IdempotencyKey | None,
    create: Callable[[], Thread],
    *,
    now: float,
) -> Thread:
    def find(thread_id: str) -> Thread:
        return store.get(conn, request.resource, thread_id)

    return create_or_find(conn, request.resource, idempotency_key, create, find, now=now)[0]


def _last_position(conn: Connection, request: Fork) -> int:
    """Return the place of the last message to copy. NotFound or InvalidRequest if there is no such message."""
    store.get(conn, request.resource, request.thread_id, for_update=True)
    if request.message_id is None:
        return message_store.last_position(conn, request.resource, request.thread_id)
    _check_whole(message_store.get(conn, request.resource, request.thread_id, request.message_id))
    return message_store.position(conn, request.resource, request.thread_id, request.message_id)


def _check_whole(message: Message) -> None:
    if message.status == "in_progress":
        raise InvalidRequest(
            f"Message {message.id} is still being written: a thread cannot be forked there.",
            param="message_id",
            code="invalid_value",
        )


def _copy(conn: Connection, request: Fork, thread_id: str, is_over: IsOver, *, above: int, upto: int) -> int:
    """Copy a portion of the messages; return the place reached."""
    store.get(conn, request.resource, request.thread_id, for_update=True)
    return message_store.copy(
        *(conn, request.resource, request.thread_id), to=thread_id, above=above, upto=upto, is_over=is_over
    )


def _insert(conn: Connection, request: Fork, thread_id: str, *, now: float) -> Thread:
    origin = store.get(conn, request.resource, request.thread_id, for_update=True)
    new = msgspec.structs.replace(origin, id=thread_id, created_at=int(now), **request.changes)
    store.insert(conn, request.resource, new)
    return new
