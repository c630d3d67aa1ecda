"""/threads/{thread_id}/messages"""

from __future__ import annotations

from locum.api.paging import listing
from locum.api.replies import Json, deleted
from locum.api.requests import ApiRequest
from locum.api.runs import MAX_QUEUE_SECONDS
from locum.api.v2.requests.base import MetadataBody


async def create(request: ApiRequest) -> Json:
    thread_id = request.id("thread_id")
    body = await request.read(request.shapes.message_body)
    wait = request.seconds("wait_for_thread", maximum=MAX_QUEUE_SECONDS)
    creating = request.services.messages.create(
        request.principal,
        thread_id,
        body.to_params(),
        idempotency_key=request.idempotency_key(),
        wait_seconds=wait or 0.0,
    )
    message = await (request.unless_gone(creating) if wait else creating)
    return Json(request.shapes.render_message(message))


async def retrieve(request: ApiRequest) -> Json:
    thread_id, message_id = request.id("thread_id"), request.id("message_id")
    message = await request.services.messages.retrieve(request.principal, thread_id, message_id)
    return Json(request.shapes.render_message(message))


async def list_(request: ApiRequest) -> Json:
    thread_id, run_id = request.id("thread_id"), request.query("run_id")
    page = await request.services.messages.list(request.principal, thread_id, request.page(), run_id=run_id)
    return Json(listing(page, request.shapes.render_message))


async def update(request: ApiRequest) -> Json:
    thread_id, message_id = request.id("thread_id"), request.id("message_id")
    metadata = (await request.read(MetadataBody)).to_params()
    message = await request.services.messages.update(request.principal, thread_id, message_id, metadata=metadata)
    return Json(request.shapes.render_message(message))


async def delete(request: ApiRequest) -> Json:
    thread_id, message_id = request.id("thread_id"), request.id("message_id")
    await request.services.messages.delete(request.principal, thread_id, message_id)
    return deleted(message_id, "thread.message.deleted")
