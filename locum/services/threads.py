"""Threads: create, retrieve, list, update, fork, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection

from locum import ids
from locum.access.principals import Principal
from locum.clock import Clock
from locum.domain.messages import ImageFilePart, Message
from locum.domain.pages import Listing, Page
from locum.domain.threads import Thread
from locum.errors import InvalidRequest
from locum.services.checks import require_files, with_attachments
from locum.services.once import Once, make_once
from locum.services.params import NewMessage, NewThread, ThreadChanges, said
from locum.signals.local import LocalSignals
from locum.store import messages as message_store
from locum.store import runs as run_store
from locum.store import threads as store
from locum.store.database import Database
from locum.streams.hub import Streams


class Threads:
    """`forget_session` ends the code interpreter's session of a deleted thread (resource, thread id)."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        signals: LocalSignals,
        streams: Streams,
        forget_session: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._db = db
        self._streams = streams
        self._clock = clock
        self._signals = signals
        self._forget_session = forget_session

    async def create(self, principal: Principal, new: NewThread, *, once: Once | None = None) -> Thread:
        """A new thread with its messages, in order."""
        now, resource = self._clock(), principal.resource

        def insert(conn: Connection) -> Thread:
            return make_once(
                conn,
                resource,
                once,
                lambda: insert_thread(conn, resource, new, now=int(now)),
                lambda thread_id: store.get(conn, resource, thread_id),
                now=now,
            )[0]

        return await self._db.write(insert)

    async def retrieve(self, principal: Principal, thread_id: str) -> Thread:
        return await self._db.read(lambda conn: store.get(conn, principal.resource, thread_id))

    async def list(self, principal: Principal, page: Page, *, metadata: dict[str, str]) -> Listing[Thread]:
        """A page of the threads whose metadata has all of these pairs; Forbidden unless the key may."""
        principal.require("threads:list")
        return await self._db.read(lambda conn: store.page(conn, principal.resource, page, metadata=metadata))

    async def fork(
        self,
        principal: Principal,
        thread_id: str,
        *,
        message_id: str | None = None,
        metadata: dict[str, str] | UnsetType = UNSET,
        once: Once | None = None,
    ) -> Thread:
        """A new thread with copies of the messages up to and including one, or of all; allowed while a run is active.

        It has the tool resources of the old one, and its metadata where `metadata` is not said.
        """
        now, resource = self._clock(), principal.resource

        def insert(conn: Connection) -> Thread:
            origin = store.get(conn, resource, thread_id, for_update=True)

            def make() -> Thread:
                if message_id is not None:
                    _check_whole(message_store.get(conn, resource, thread_id, message_id))
                fork = msgspec.structs.replace(
                    origin,
                    id=ids.new("thread_"),
                    created_at=int(now),
                    metadata=origin.metadata if metadata is UNSET else metadata,
                )
                store.insert(conn, resource, fork)
                message_store.copy(conn, resource, thread_id, to=fork.id, upto=message_id)
                return fork

            return make_once(conn, resource, once, make, lambda id_: store.get(conn, resource, id_), now=now)[0]

        return await self._db.write(insert)

    async def update(self, principal: Principal, thread_id: str, changes: ThreadChanges) -> Thread:
        """Change metadata or tool resources; allowed while a run is active."""

        def change(conn: Connection) -> Thread:
            before = store.get(conn, principal.resource, thread_id, for_update=True)
            after = msgspec.structs.replace(before, **said(changes))
            had = before.tool_resources.code_interpreter_file_ids
            now_has = after.tool_resources.code_interpreter_file_ids
            require_files(
                conn, principal.resource, (each for each in now_has if each not in had), now=int(self._clock())
            )
            store.save(conn, principal.resource, after)
            return after

        return await self._db.write(change)

    async def delete(self, principal: Principal, thread_id: str) -> None:
        """Remove the thread with its messages and runs; a run at work on it stops. Files it made stay."""

        def remove(conn: Connection) -> str | None:
            store.get(conn, principal.resource, thread_id, for_update=True)
            active = run_store.active(conn, principal.resource, thread_id)
            store.delete(conn, principal.resource, thread_id)
            return active.id if active else None

        stopped = await self._db.write(remove)
        if stopped:
            self._streams.break_off(stopped, "its thread was deleted.")
            self._signals.cancel(stopped)
            self._signals.changed(stopped)
        await self._forget_session(principal.resource, thread_id)


def _check_whole(message: Message) -> None:
    if message.status == "in_progress":
        raise InvalidRequest(
            f"Message {message.id} is still being written: a thread cannot be forked there.",
            param="message_id",
            code="invalid_value",
        )


def insert_thread(conn: Connection, resource: str, new: NewThread, *, now: int) -> Thread:
    """Insert a thread and the messages it begins with."""
    resources = with_attachments(new.tool_resources, new.messages)
    require_files(conn, resource, resources.code_interpreter_file_ids, now=now)
    thread = Thread(id=ids.new("thread_"), created_at=now, metadata=new.metadata, tool_resources=resources)
    store.insert(conn, resource, thread)
    for message in new.messages:
        insert_message(conn, resource, thread.id, message, now=now)
    return thread


def insert_message(conn: Connection, resource: str, thread_id: str, new: NewMessage, *, now: int) -> Message:
    """Insert a message a caller wrote; whether the thread may take it has been decided before."""
    images = (part.image_file.file_id for part in new.content if isinstance(part, ImageFilePart))
    require_files(conn, resource, (*images, *(each.file_id for each in new.attachments)), now=now)
    message = Message(
        id=ids.new("msg_"),
        created_at=now,
        completed_at=now,
        thread_id=thread_id,
        role=new.role,
        content=new.content,
        attachments=new.attachments,
        metadata=new.metadata,
    )
    message_store.insert(conn, resource, message)
    return message


def add_messages(
    conn: Connection, resource: str, thread: Thread, new: tuple[NewMessage, ...], *, now: int
) -> list[Message]:
    """Insert messages and let their attachments join the thread's tool resources."""
    resources = with_attachments(thread.tool_resources, new)
    if resources != thread.tool_resources:
        store.save(conn, resource, msgspec.structs.replace(thread, tool_resources=resources))
    return [insert_message(conn, resource, thread.id, message, now=now) for message in new]
