"""Tool resources of assistants, threads and runs: checked, the vector stores made that come with them, and the files of
messages joined to a thread's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace
from sqlalchemy import Connection

from locum.domain.files import File
from locum.domain.messages import Attachment
from locum.domain.tools import CodeInterpreterTool, FileSearchTool, ToolResources
from locum.domain.vector_stores import THREAD_STORE_DAYS, ExpiresAfter, is_searchable
from locum.services.checks import require_files, require_stores
from locum.services.params import NewMessage, NewVectorStore, NewVectorStoreFile
from locum.services.vector_store_files import add_files
from locum.services.vector_stores import insert_store
from locum.store import vector_stores as store

OF_THREADS = ExpiresAfter(days=THREAD_STORE_DAYS)
_HAD_NOTHING = ToolResources()


def settled(
    conn: Connection,
    resource: str,
    said: ToolResources,
    new_stores: Sequence[NewVectorStore] = (),
    *,
    had: ToolResources = _HAD_NOTHING,
    expires_after: ExpiresAfter | None = None,
    now: int,
) -> ToolResources:
    """The resources as they were said, with the stores that were described made: they end as `expires_after` says.

    NotFound for a file or a store that does not exist, unless it is among those it `had`.
    """
    files = (each for each in said.code_interpreter_file_ids if each not in had.code_interpreter_file_ids)
    require_files(conn, resource, files, now=now)
    require_stores(conn, resource, (each for each in said.vector_store_ids if each not in had.vector_store_ids))
    made = [
        insert_store(conn, resource, replace(new, expires_after=expires_after), now=now, refuse_at=_files_of(index))
        for index, new in enumerate(new_stores)
    ]
    return said.with_vector_stores((*said.vector_store_ids, *(each.id for each in made))) if made else said


def _files_of(index: int) -> str:
    return f"tool_resources.file_search.vector_stores[{index}].file_ids"


def attached(conn: Connection, resource: str, message: NewMessage, *, now: int) -> NewMessage:
    """The message with attachments for its `file_ids`."""
    return (
        with_files(message, require_files(conn, resource, message.file_ids, now=now)) if message.file_ids else message
    )


def with_files(message: NewMessage, files: Iterable[File]) -> NewMessage:
    """The message with attachments for the files of its `file_ids`: for the code interpreter, and for file search where
    they can be searched."""
    for_both = (CodeInterpreterTool(), FileSearchTool())
    by_id = tuple(
        Attachment(file_id=file.id, tools=for_both if is_searchable(file.filename) else for_both[:1]) for file in files
    )
    return replace(message, attachments=message.attachments + by_id, file_ids=())


def joined(
    conn: Connection, resource: str, resources: ToolResources, messages: Iterable[NewMessage], *, now: int
) -> ToolResources:
    """A thread's resources once these messages are in it. What is to be searched goes into the thread's vector store,
    into a new one where it has none (any more)."""
    attachments = [each for message in messages for each in message.attachments]
    if for_code := tuple(each.file_id for each in attachments if each.is_for_code):
        resources = resources.with_code_interpreter_files(for_code)
    for_search = dict.fromkeys(each.file_id for each in attachments if each.is_for_search)
    if not for_search:
        return resources
    files = tuple(NewVectorStoreFile(file_id=each) for each in for_search)
    known = {each.id for each in store.existing(conn, resource, resources.vector_store_ids)}
    for store_id in resources.vector_store_ids:
        if store_id in known:
            store.get(conn, resource, store_id, for_update=True)
            add_files(conn, resource, store_id, files, now=now, refuse_at="attachments")
            return resources
    new = NewVectorStore(files=files, expires_after=OF_THREADS)
    return resources.with_vector_stores((insert_store(conn, resource, new, now=now, refuse_at="attachments").id,))
