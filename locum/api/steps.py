"""/threads/{thread_id}/runs/{run_id}/steps"""

from __future__ import annotations

from functools import partial

from locum.api.paging import listing
from locum.api.replies import Json
from locum.api.requests import ApiRequest


async def list_(request: ApiRequest) -> Json:
    thread_id, run_id = request.id("thread_id"), request.id("run_id")
    with_content = request.includes_content()
    page = await request.services.steps.list(request.principal, thread_id, run_id, request.page())
    return Json(listing(page, partial(request.shapes.render_step, with_content=with_content)))


async def retrieve(request: ApiRequest) -> Json:
    thread_id, run_id, step_id = request.id("thread_id"), request.id("run_id"), request.id("step_id")
    with_content = request.includes_content()
    step = await request.services.steps.retrieve(request.principal, thread_id, run_id, step_id)
    return Json(request.shapes.render_step(step, with_content=with_content))
