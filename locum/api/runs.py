"""/threads/{thread_id}/runs and /threads/runs"""

from __future__ import annotations

from typing import TYPE_CHECKING

from locum.api.paging import listing
from locum.api.replies import Json
from locum.api.requests import ApiRequest
from locum.api.shapes import Shapes
from locum.api.sse import Sse
from locum.api.v2.requests import MetadataBody, ToolOutputsBody

if TYPE_CHECKING:
    from locum.services.runs import Started

HOLD_SECONDS = 5.0
"""How long a polling SDK's question is held when nothing has changed."""


async def create(request: ApiRequest) -> Json | Sse:
    thread_id = request.id("thread_id")
    request.check_include()
    body = await request.read(request.shapes.run_body)
    started = await request.services.runs.create(
        request.principal, thread_id, body.to_params(), surface=request.call.surface, stream=bool(body.stream)
    )
    return _started(request.shapes, started)


async def create_and_run(request: ApiRequest) -> Json | Sse:
    body = await request.read(request.shapes.thread_and_run_body)
    started = await request.services.runs.create_and_run(
        request.principal,
        body.to_thread(),
        body.to_params(),
        surface=request.call.surface,
        stream=bool(body.stream),
    )
    return _started(request.shapes, started)


async def retrieve(request: ApiRequest) -> Json:
    """What an SDK's poll helper asks is held until something changes: its answer then comes at once."""
    thread_id, run_id = request.id("thread_id"), request.id("run_id")
    runs, headers = request.services.runs, request.headers
    if headers.get("x-stainless-poll-helper") == "true" and "x-stainless-custom-poll-interval" not in headers:
        run = await runs.wait(request.principal, thread_id, run_id, HOLD_SECONDS)
        return Json(request.shapes.render_run(run), headers={"openai-poll-after-ms": "10"})
    run = await runs.retrieve(request.principal, thread_id, run_id)
    return Json(request.shapes.render_run(run), headers={"openai-poll-after-ms": "100"})


async def list_(request: ApiRequest) -> Json:
    page = await request.services.runs.list(request.principal, request.id("thread_id"), request.page())
    return Json(listing(page, request.shapes.render_run))


async def update(request: ApiRequest) -> Json:
    thread_id, run_id = request.id("thread_id"), request.id("run_id")
    metadata = (await request.read(MetadataBody)).to_params()
    run = await request.services.runs.update(request.principal, thread_id, run_id, metadata=metadata)
    return Json(request.shapes.render_run(run))


async def cancel(request: ApiRequest) -> Json:
    run = await request.services.runs.cancel(request.principal, request.id("thread_id"), request.id("run_id"))
    return Json(request.shapes.render_run(run))


async def submit_tool_outputs(request: ApiRequest) -> Json | Sse:
    thread_id, run_id = request.id("thread_id"), request.id("run_id")
    body = await request.read(ToolOutputsBody)
    started = await request.services.runs.submit_tool_outputs(
        request.principal, thread_id, run_id, body.to_params(), stream=bool(body.stream)
    )
    return _started(request.shapes, started)


def _started(shapes: Shapes, started: Started) -> Json | Sse:
    if started.reader is None:
        return Json(shapes.render_run(started.run))
    return Sse(started.reader, shapes.render_event)
