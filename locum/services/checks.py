"""Rules several nouns share."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from locum.domain.files import File
from locum.domain.tools import CodeInterpreterTool, ToolResources
from locum.errors import NotFound
from locum.services.params import NewMessage
from locum.store import files as file_store


def require_files(conn: Connection, resource: str, file_ids: Iterable[str], *, now: int) -> list[File]:
    """The files of these ids; NotFound in the hosted API's words when one is missing."""
    wanted = list(dict.fromkeys(file_ids))
    found = file_store.existing(conn, resource, wanted, now=now) if wanted else []
    known = {file.id for file in found}
    if missing := [file_id for file_id in wanted if file_id not in known]:
        raise NotFound(f"Files [{', '.join(missing)}] were not found")
    return found


def code_interpreter_attachments(message: NewMessage) -> tuple[str, ...]:
    """Ids of the attached files that are for the code interpreter: they join the thread's tool resources."""
    return tuple(each.file_id for each in message.attachments if CodeInterpreterTool() in each.tools)


def with_attachments(resources: ToolResources, messages: Iterable[NewMessage]) -> ToolResources:
    """A thread's tool resources once these messages are in it."""
    file_ids = tuple(file_id for message in messages for file_id in code_interpreter_attachments(message))
    return resources.with_code_interpreter_files(file_ids) if file_ids else resources
