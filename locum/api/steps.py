"""/threads/{thread_id}/runs/{run_id}/steps"""

from __future__ import annotations

from locum.api.paging import listing
from locum.api.replies import Json
from locum.api.requests import ApiRequest


async def list_(request: ApiRequest) -> Json:
    thread_id, run_id = request.id("thread_id"), request.id("run_id")
    request.check_include()
    page = await request.services.steps.list(request.principal, thread_id, run_id, request.page())
    return Json(listing(page, request.shapes.render_step))


async def retrieve(request: ApiRequest) -> Json:
    thread_id, run_id, step_id = request.id("thread_id"), request.id("run_id"), request.id("step_id")
    request.check_include()
    step = await request.services.steps.retrieve(request.principal, thread_id, run_id, step_id)
    return Json(request.shapes.render_step(step))
