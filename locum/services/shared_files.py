"""v1's assistants have one list of files, for all of their tools: it is kept as the code interpreter's.

An assistant that can search has those of them that can be searched in a vector store besides.
"""

from __future__ import annotations

from sqlalchemy import Connection

from locum.domain.tools import CodeInterpreterTool, FileSearchTool, Tool, ToolResources
from locum.domain.vector_stores import is_searchable, unsupported
from locum.errors import InvalidRequest
from locum.services.checks import require_files
from locum.services.params import NewVectorStore, NewVectorStoreFile
from locum.services.vector_store_files import add_files
from locum.services.vector_stores import insert_store
from locum.store import vector_store_files as file_store
from locum.store import vector_stores as store


def share(
    conn: Connection,
    resource: str,
    resources: ToolResources,
    tools: tuple[Tool, ...],
    *,
    had: ToolResources,
    assistant_id: str,
    now: int,
) -> ToolResources:
    """Return the resources of an assistant with these tools, its store in step with its files: files that it `had` and
    has no more leave the store; other files of the store stay. A new store is deleted with the assistant: v1 does not
    show it.

    InvalidRequest in the hosted words for a file that none of the tools could read.
    """
    known = [each.id for each in store.existing(conn, resource, resources.vector_store_ids)]
    gone = set(had.code_interpreter_file_ids) - set(resources.code_interpreter_file_ids)
    for store_id in known:
        store.get(conn, resource, store_id, for_update=True)
        for file_id in sorted(gone):
            file_store.delete(conn, resource, store_id, file_id)
    if not any(isinstance(tool, FileSearchTool) for tool in tools):
        return resources
    files = require_files(conn, resource, resources.code_interpreter_file_ids, now=now)
    wrong = unsupported(file.filename for file in files)
    if wrong and CodeInterpreterTool() not in tools:
        raise InvalidRequest(wrong, param="file_ids", code="unsupported_file")
    searched = tuple(NewVectorStoreFile(file_id=file.id) for file in files if is_searchable(file.filename))
    if not searched:
        return resources
    if known:
        add_files(conn, resource, known[0], searched, now=now, refuse_at="file_ids")
        return resources
    made = insert_store(
        conn, resource, NewVectorStore(files=searched), now=now, refuse_at="file_ids", made_for=assistant_id
    )
    return resources.with_vector_stores((made.id,))
