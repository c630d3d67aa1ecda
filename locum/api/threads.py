"""/threads"""

from __future__ import annotations

from locum.api.paging import listing
from locum.api.replies import Json, deleted
from locum.api.requests import ApiRequest
from locum.api.v2.requests.threads import ForkBody


async def create(request: ApiRequest) -> Json:
    body = await request.read(request.shapes.thread_body)
    thread = await request.services.threads.create(
        request.principal, body.to_params(), idempotency_key=request.idempotency_key()
    )
    return Json(request.shapes.render_thread(thread))


async def retrieve(request: ApiRequest) -> Json:
    thread = await request.services.threads.retrieve(request.principal, request.id("thread_id"))
    return Json(request.shapes.render_thread(thread))


async def list_(request: ApiRequest) -> Json:
    """Locum's addition; the hosted API had no list of threads."""
    page = await request.services.threads.list(request.principal, request.page(), metadata=request.metadata())
    return Json(listing(page, request.shapes.render_thread))


async def fork(request: ApiRequest) -> Json:
    """Locum's addition: a thread that begins as another one stands."""
    thread_id = request.id("thread_id")
    body = await request.read(ForkBody)
    thread = await request.services.threads.fork(
        request.principal,
        thread_id,
        message_id=body.message_id,
        metadata=body.to_params(),
        idempotency_key=request.idempotency_key(),
    )
    return Json(request.shapes.render_thread(thread))


async def update(request: ApiRequest) -> Json:
    thread_id = request.id("thread_id")
    body = await request.read(request.shapes.thread_changes)
    thread = await request.services.threads.update(request.principal, thread_id, body.to_params())
    return Json(request.shapes.render_thread(thread))


async def delete(request: ApiRequest) -> Json:
    thread_id = request.id("thread_id")
    await request.services.threads.delete(request.principal, thread_id)
    return deleted(thread_id, "thread.deleted")
