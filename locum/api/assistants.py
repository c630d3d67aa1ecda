"""/assistants"""

from __future__ import annotations

from locum.api.paging import listing
from locum.api.replies import Json, deleted
from locum.api.requests import ApiRequest


async def create(request: ApiRequest) -> Json:
    body = await request.read(request.shapes.assistant_body)
    assistant = await request.services.assistants.create(
        request.principal, body.to_params(), idempotency_key=request.idempotency_key()
    )
    return Json(request.shapes.render_assistant(assistant))


async def retrieve(request: ApiRequest) -> Json:
    assistant = await request.services.assistants.retrieve(request.principal, request.id("assistant_id"))
    return Json(request.shapes.render_assistant(assistant))


async def list_(request: ApiRequest) -> Json:
    page = await request.services.assistants.list(request.principal, request.page())
    return Json(listing(page, request.shapes.render_assistant))


async def update(request: ApiRequest) -> Json:
    assistant_id = request.id("assistant_id")
    body = await request.read(request.shapes.assistant_changes)
    assistant = await request.services.assistants.update(request.principal, assistant_id, body.to_params())
    return Json(request.shapes.render_assistant(assistant))


async def delete(request: ApiRequest) -> Json:
    assistant_id = request.id("assistant_id")
    await request.services.assistants.delete(request.principal, assistant_id)
    return deleted(assistant_id, "assistant.deleted")
