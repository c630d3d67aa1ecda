"""/assistants/{assistant_id}/files: the code interpreter's files of an assistant, one by one."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from locum.api import validation
from locum.api.paging import listing
from locum.api.replies import Json, deleted
from locum.api.requests import ApiRequest
from locum.api.v1.links import linked, page_of
from locum.api.v1.objects import render_assistant_file
from locum.api.v1.requests import AssistantChanges, AssistantFileBody
from locum.domain.assistants import Assistant
from locum.domain.pages import Listing
from locum.domain.tools import ToolResources
from locum.errors import NotFound

_NOUN = "assistant file"


async def create(request: ApiRequest) -> Json:
    """Link a file; one that is linked already stays so."""
    assistant_id = request.id("assistant_id")
    file_id = (await request.read(AssistantFileBody)).file_id

    def link(resources: ToolResources) -> ToolResources:
        linked = resources.with_code_interpreter_files((file_id,))
        file_ids = list(linked.code_interpreter_file_ids)
        validation.parse(AssistantChanges, {"file_ids": file_ids}, surface=request.call.surface)  # not too many
        return linked

    assistant = await request.services.assistants.update_resources(request.principal, assistant_id, link)
    return Json(await _render(request, assistant, file_id))


async def list_(request: ApiRequest) -> Json:
    page, assistant = request.page(), await _assistant(request)
    wanted = page_of(_file_ids(assistant), page, noun=_NOUN)
    rows = []
    for file_id in wanted.data:
        with suppress(NotFound):  # its time has come, and it has not been swept yet
            rows.append(await _render(request, assistant, file_id))
    return Json(listing(Listing(data=tuple(rows), has_more=wanted.has_more), lambda row: row))


async def retrieve(request: ApiRequest) -> Json:
    assistant = await _assistant(request)
    file_id = linked(request.id("file_id"), _file_ids(assistant), noun=_NOUN)
    return Json(await _render(request, assistant, file_id))


async def delete(request: ApiRequest) -> Json:
    """Unlink a file; the file itself stays."""
    assistant_id, file_id = request.id("assistant_id"), request.id("file_id")

    def unlink(resources: ToolResources) -> ToolResources:
        return resources.without_file(linked(file_id, resources.code_interpreter_file_ids, noun=_NOUN))

    await request.services.assistants.update_resources(request.principal, assistant_id, unlink)
    return deleted(file_id, "assistant.file.deleted")


async def _assistant(request: ApiRequest) -> Assistant:
    return await request.services.assistants.retrieve(request.principal, request.id("assistant_id"))


def _file_ids(assistant: Assistant) -> tuple[str, ...]:
    return assistant.tool_resources.code_interpreter_file_ids


async def _render(request: ApiRequest, assistant: Assistant, file_id: str) -> dict[str, Any]:
    file = await request.services.files.retrieve(request.principal, file_id)
    return render_assistant_file(assistant, file)
