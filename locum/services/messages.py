"""Messages: create, retrieve, list, update, delete."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection

from locum.access.principals import Principal
from locum.clock import Clock
from locum.domain.messages import Message
from locum.domain.pages import Listing, Page
from locum.services.idempotency import IdempotencyKey, create_or_find
from locum.services.params import NewMessage, are_searched
from locum.services.queue import ThreadBusy, ThreadQueue
from locum.services.threads import add_messages
from locum.store import messages as store
from locum.store import runs as run_store
from locum.store import threads as thread_store
from locum.store.database import Database


class Messages:
    """`wake` tells the ingestion worker that there may be files to ingest."""

    def __init__(self, db: Database, clock: Clock, queue: ThreadQueue, wake: Callable[[], None]) -> None:
        self._db = db
        self._clock = clock
        self._queue = queue
        self._wake = wake

    async def create(
        self,
        principal: Principal,
        thread_id: str,
        new: NewMessage,
        *,
        idempotency_key: IdempotencyKey | None = None,
        wait_seconds: float = 0.0,
    ) -> Message:
        """Add to the thread; refused in the hosted API's words while a run is active on it, after `wait_seconds`."""
        resource = principal.resource

        def insert(conn: Connection, now: float) -> Message:
            thread = thread_store.get(conn, resource, thread_id, for_update=True)

            def make() -> Message:
                if busy := run_store.active(conn, resource, thread_id):
                    message = f"Can't add messages to {thread_id} while a run {busy.id} is active."
                    raise ThreadBusy(message, run_id=busy.id)
                return add_messages(conn, resource, thread, (new,), now=int(now))[0]

            def find(message_id: str) -> Message:
                return store.get(conn, resource, thread_id, message_id)

            return create_or_find(conn, resource, idempotency_key, make, find, now=now)[0]

        async def attempt() -> Message:
            now = self._clock()
            return await self._db.write(lambda conn: insert(conn, now))

        message = await self._queue.when_free(thread_id, wait_seconds, attempt)
        if are_searched((), (new,)):
            self._wake()
        return message

    async def retrieve(self, principal: Principal, thread_id: str, message_id: str) -> Message:
        def get(conn: Connection) -> Message:
            thread_store.get(conn, principal.resource, thread_id)
            return store.get(conn, principal.resource, thread_id, message_id)

        return await self._db.read(get)

    async def list(
        self, principal: Principal, thread_id: str, page: Page, *, run_id: str | None = None
    ) -> Listing[Message]:
        """A page of the thread; with `run_id`, of what that run wrote."""

        def get(conn: Connection) -> Listing[Message]:
            thread_store.get(conn, principal.resource, thread_id)
            return store.page(conn, principal.resource, thread_id, page, run_id=run_id)

        return await self._db.read(get)

    async def update(
        self, principal: Principal, thread_id: str, message_id: str, *, metadata: dict[str, str] | UnsetType = UNSET
    ) -> Message:
        """Replace the metadata; nothing else of a message can change."""

        def change(conn: Connection) -> Message:
            thread_store.get(conn, principal.resource, thread_id, for_update=True)
            message = store.get(conn, principal.resource, thread_id, message_id, for_update=True)
            if metadata is not UNSET:
                message = msgspec.structs.replace(message, metadata=metadata)
                store.save(conn, principal.resource, message)
            return message

        return await self._db.write(change)

    async def delete(self, principal: Principal, thread_id: str, message_id: str) -> None:
        def remove(conn: Connection) -> None:
            thread_store.get(conn, principal.resource, thread_id, for_update=True)
            store.get(conn, principal.resource, thread_id, message_id)
            store.delete(conn, principal.resource, message_id)

        await self._db.write(remove)
