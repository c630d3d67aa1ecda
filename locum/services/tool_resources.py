"""Tool resources of assistants, threads and runs: check them, create the vector stores described with them, and merge
the attachments of messages into those of a thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace
from sqlalchemy import Connection

from locum.domain.files import File
from locum.domain.messages import Attachment
from locum.domain.tools import CodeInterpreterTool, FileSearchTool, ToolResources
from locum.domain.vector_stores import THREAD_STORE_DAYS, ExpiresAfter, is_searchable
from locum.services.checks import require_files, require_stores, select_files
from locum.services.params import NewMessage, NewVectorStore, NewVectorStoreFile
from locum.services.vector_store_files import add_files
from locum.services.vector_stores import insert_store
from locum.store import vector_stores as store

OF_THREADS = ExpiresAfter(days=THREAD_STORE_DAYS)
_NONE = ToolResources()


def resolve(
    conn: Connection,
    resource: str,
    requested: ToolResources,
    new_stores: Sequence[NewVectorStore] = (),
    *,
    current: ToolResources = _NONE,
    thread_id: str | None = None,
    now: int,
) -> ToolResources:
    """Create the described stores; return the requested resources with them. Those of a thread expire, and are deleted
    with it.

    NotFound for a file or store that does not exist, unless `current` names it too.
    """
    kept_files, kept_stores = current.code_interpreter_file_ids, current.vector_store_ids
    file_ids = (file_id for file_id in requested.code_interpreter_file_ids if file_id not in kept_files)
    require_files(conn, resource, file_ids, now=now)
    require_stores(conn, resource, (store_id for store_id in requested.vector_store_ids if store_id not in kept_stores))
    expires_after = None if thread_id is None else OF_THREADS
    created = [
        insert_store(
            *(conn, resource, replace(new, expires_after=expires_after)),
            now=now,
            refuse_at=_files_of(index),
            made_for=thread_id,
        ).id
        for index, new in enumerate(new_stores)
    ]
    return requested.with_vector_stores((*requested.vector_store_ids, *created)) if created else requested


def _files_of(index: int) -> str:
    return f"tool_resources.file_search.vector_stores[{index}].file_ids"


def from_file_ids(message: NewMessage, files: Mapping[str, File]) -> NewMessage:
    """Return the message with attachments for its `file_ids`: for the code interpreter, and for file search if the
    file is searchable. NotFound for a file that is not among `files`."""
    for_both = (CodeInterpreterTool(), FileSearchTool())
    by_id = tuple(
        Attachment(file_id=file.id, tools=for_both if is_searchable(file.filename) else for_both[:1])
        for file in select_files(files, message.file_ids)
    )
    return replace(message, attachments=message.attachments + by_id, file_ids=())


def merge_attachments(
    conn: Connection,
    resource: str,
    resources: ToolResources,
    messages: Iterable[NewMessage],
    files: Mapping[str, File],
    *,
    thread_id: str,
    now: int,
) -> ToolResources:
    """Return a thread's resources with the attachments of these messages. files: all attached files, read for share.

    Files for file search go into the thread's vector store, or into a new one if the thread has none (any more).
    """
    attachments = [attachment for message in messages for attachment in message.attachments]
    if for_code := tuple(attachment.file_id for attachment in attachments if attachment.is_for_code):
        resources = resources.with_code_interpreter_files(for_code)
    for_search = dict.fromkeys(attachment.file_id for attachment in attachments if attachment.is_for_search)
    if not for_search:
        return resources
    searched = tuple(NewVectorStoreFile(file_id=file_id) for file_id in for_search)
    existing = {vector_store.id for vector_store in store.existing(conn, resource, resources.vector_store_ids)}
    for store_id in resources.vector_store_ids:
        if store_id in existing:
            store.get(conn, resource, store_id, for_update=True)
            add_files(conn, resource, store_id, searched, now=now, refuse_at="attachments", files=files)
            return resources
    new = NewVectorStore(files=searched, expires_after=OF_THREADS)
    created = insert_store(conn, resource, new, now=now, refuse_at="attachments", files=files, made_for=thread_id)
    return resources.with_vector_stores((created.id,))
