"""Threads: create, retrieve, list, update, fork, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection

from locum import ids
from locum.access.principals import Principal
from locum.clock import Clock
from locum.domain.pages import Listing, Page
from locum.domain.threads import Thread
from locum.services import tool_resources
from locum.services.forks import Fork, fork
from locum.services.idempotency import IdempotencyKey, create_or_find
from locum.services.messages import attach_files, insert_messages
from locum.services.params import NewThread, ThreadChanges, are_searched, said
from locum.services.portions import portion, remove_remains, sweep_remains
from locum.services.vector_stores import delete_made_for
from locum.signals.base import Signals
from locum.store import runs as run_store
from locum.store import thread_remains
from locum.store import threads as store
from locum.store.database import Database
from locum.streams.hub import Streams


class Threads:
    """`forget_session` ends the code interpreter's session of a deleted thread (resource, thread id). `wake` tells the
    ingestion worker that there may be files to ingest."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        signals: Signals,
        streams: Streams,
        forget_session: Callable[[str, str], Awaitable[None]],
        wake: Callable[[], None],
    ) -> None:
        self._db = db
        self._streams = streams
        self._clock = clock
        self._signals = signals
        self._forget_session = forget_session
        self._wake = wake

    async def create(
        self, principal: Principal, new: NewThread, *, idempotency_key: IdempotencyKey | None = None
    ) -> Thread:
        """A new thread with its messages, in order."""
        now, resource = self._clock(), principal.resource

        def insert(conn: Connection) -> Thread:
            return create_or_find(
                conn,
                resource,
                idempotency_key,
                lambda: insert_thread(conn, resource, new, now=int(now)),
                lambda thread_id: store.get(conn, resource, thread_id),
                now=now,
            )[0]

        thread = await self._db.write(insert)
        if are_searched(new.new_stores, new.messages):
            self._wake()
        return thread

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
        idempotency_key: IdempotencyKey | None = None,
    ) -> Thread:
        """A new thread with copies of the messages up to and including one, or of all; allowed while a run is active.

        It has the tool resources of the old one, and its metadata where `metadata` is not said.
        """
        changes = {} if metadata is UNSET else {"metadata": metadata}
        request = Fork(principal.resource, thread_id, message_id, changes)
        return await fork(self._db, self._clock, request, idempotency_key)

    async def update(self, principal: Principal, thread_id: str, changes: ThreadChanges) -> Thread:
        """Change metadata or tool resources; allowed while a run is active."""

        def change(conn: Connection) -> Thread:
            before = store.get(conn, principal.resource, thread_id, for_update=True)
            after = msgspec.structs.replace(before, **said(changes))
            resources = tool_resources.resolve(
                conn,
                principal.resource,
                after.tool_resources,
                changes.new_stores,
                current=before.tool_resources,
                thread_id=thread_id,
                now=int(self._clock()),
            )
            after = msgspec.structs.replace(after, tool_resources=resources)
            store.save(conn, principal.resource, after)
            return after

        thread = await self._db.write(change)
        if are_searched(changes.new_stores):
            self._wake()
        return thread

    async def delete(self, principal: Principal, thread_id: str) -> None:
        """Delete the thread with its messages, its runs and the vector stores that were made for it. An active run
        stops. Files stay."""

        resource = principal.resource

        def remove(conn: Connection) -> tuple[str | None, list[str], bool]:
            store.get(conn, resource, thread_id, for_update=True)
            active = run_store.active(conn, resource, thread_id)
            store.delete(conn, resource, thread_id)
            store_ids = delete_made_for(conn, resource, thread_id)
            is_empty = store.remove_rows(conn, resource, thread_id, portion())
            if not is_empty:
                thread_remains.note(conn, resource, thread_id, due_at=self._clock())
            return active.id if active else None, store_ids, is_empty

        stopped, store_ids, is_empty = await self._db.write(remove)
        for store_id in store_ids:
            self._signals.changed(store_id)
        if stopped:
            self._streams.break_off(stopped, "its thread was deleted.")
            self._signals.cancel(stopped)
            self._signals.changed(stopped)
        if not is_empty:
            await remove_remains(self._db, resource, thread_id)
        await self._forget_session(resource, thread_id)

    async def sweep(self) -> tuple[str, ...]:
        """Remove rows that a crash has left of threads; return the ids of these threads."""
        return await sweep_remains(self._db, self._clock)


def insert_thread(conn: Connection, resource: str, new: NewThread, *, now: int) -> Thread:
    """Insert a thread and the messages it begins with."""
    thread_id = ids.new("thread_")
    resources = tool_resources.resolve(conn, resource, new.tool_resources, new.new_stores, thread_id=thread_id, now=now)
    messages, resources = attach_files(conn, resource, resources, new.messages, thread_id=thread_id, now=now)
    thread = Thread(id=thread_id, created_at=now, metadata=new.metadata, tool_resources=resources)
    store.insert(conn, resource, thread)
    insert_messages(conn, resource, thread.id, messages, now=now)
    return thread
