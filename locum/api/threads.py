"""/threads"""

from __future__ import annotations

from locum.api.replies import Json, deleted
from locum.api.requests import ApiRequest


async def create(request: ApiRequest) -> Json:
    body = await request.read(request.shapes.thread_body)
    thread = await request.services.threads.create(request.principal, body.to_params())
    return Json(request.shapes.render_thread(thread))


async def retrieve(request: ApiRequest) -> Json:
    thread = await request.services.threads.retrieve(request.principal, request.id("thread_id"))
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
