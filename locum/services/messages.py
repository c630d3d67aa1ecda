"""Messages: create, retrieve, list, update, delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection

from locum import ids
from locum.access.principals import Principal
from locum.clock import Clock
from locum.domain.image_urls import PUBLIC, ImageURLs
from locum.domain.messages import ImageFilePart, Message
from locum.domain.pages import Listing, Page
from locum.domain.threads import Thread
from locum.domain.tools import ToolResources
from locum.services import tool_resources
from locum.services.checks import read_files, select_files
from locum.services.idempotency import IdempotencyKey, create_or_find
from locum.services.params import NewMessage, are_searched
from locum.services.queue import ThreadBusy, ThreadQueue
from locum.store import messages as store
from locum.store import runs as run_store
from locum.store import threads as thread_store
from locum.store.database import Database


class Messages:
    """`wake` tells the ingestion worker that there may be files to ingest. image_urls: the addresses of images that
    messages may hold."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        queue: ThreadQueue,
        wake: Callable[[], None],
        *,
        image_urls: ImageURLs = PUBLIC,
    ) -> None:
        self.image_urls = image_urls
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


def add_messages(
    conn: Connection, resource: str, thread: Thread, new: Sequence[NewMessage], *, now: int
) -> list[Message]:
    """Insert messages into a thread that takes them; merge their attachments into its tool resources."""
    messages, resources = attach_files(conn, resource, thread.tool_resources, new, thread_id=thread.id, now=now)
    if resources != thread.tool_resources:
        thread_store.save(conn, resource, msgspec.structs.replace(thread, tool_resources=resources))
    return insert_messages(conn, resource, thread.id, messages, now=now)


def attach_files(
    conn: Connection, resource: str, resources: ToolResources, new: Sequence[NewMessage], *, thread_id: str, now: int
) -> tuple[list[NewMessage], ToolResources]:
    """Read the files of messages; return the messages with attachments for their `file_ids`, and a thread's resources
    with all attachments. NotFound for a file that does not exist."""
    named = (file_id for message in new for file_id in _file_ids(message))
    files = read_files(conn, resource, named, now=now, for_share=are_searched((), tuple(new)))
    messages = [tool_resources.from_file_ids(message, files) for message in new]
    select_files(files, (attachment.file_id for message in messages for attachment in message.attachments))
    resources = tool_resources.merge_attachments(
        conn, resource, resources, messages, files, thread_id=thread_id, now=now
    )
    for message in messages:  # last: a request that is wrong in several ways keeps the error it has always had
        select_files(files, _image_ids(message))
    return messages, resources


def insert_messages(
    conn: Connection, resource: str, thread_id: str, new: Sequence[NewMessage], *, now: int
) -> list[Message]:
    """Insert messages whose files exist into a thread that takes them."""
    messages = [
        Message(
            id=ids.new("msg_"),
            created_at=now,
            completed_at=now,
            thread_id=thread_id,
            role=message.role,
            content=message.content,
            attachments=message.attachments,
            metadata=message.metadata,
        )
        for message in new
    ]
    store.append(conn, resource, thread_id, messages)
    return messages


def _file_ids(message: NewMessage) -> Iterator[str]:
    yield from message.file_ids
    yield from (attachment.file_id for attachment in message.attachments)
    yield from _image_ids(message)


def _image_ids(message: NewMessage) -> Iterator[str]:
    return (part.image_file.file_id for part in message.content if isinstance(part, ImageFilePart))
