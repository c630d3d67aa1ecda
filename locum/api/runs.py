"""/threads/{thread_id}/runs and /threads/runs"""

from __future__ import annotations

from typing import TYPE_CHECKING

from locum.api.paging import listing
from locum.api.replies import Json
from locum.api.requests import HOLD_SECONDS, ApiRequest
from locum.api.sse import Sse
from locum.api.v2.requests.base import MetadataBody
from locum.api.v2.requests.runs import ToolOutputsBody

if TYPE_CHECKING:
    from locum.services.runs import Started

MAX_WAIT_SECONDS = 60
MAX_QUEUE_SECONDS = 300
"""How long a caller may ask to wait for a run, and for a thread that is busy."""


async def create(request: ApiRequest) -> Json | Sse:
    thread_id = request.id("thread_id")
    with_content = request.includes_content()
    body = await request.read(request.shapes.run_body)
    wait = request.seconds("wait_for_thread", maximum=MAX_QUEUE_SECONDS)
    creating = request.services.runs.create(
        request.principal,
        thread_id,
        body.to_params(),
        surface=request.call.surface,
        stream=bool(body.stream),
        idempotency_key=request.idempotency_key(),
        wait_seconds=wait or 0.0,
    )
    started = await (request.unless_gone(creating) if wait else creating)
    return _started(request, started, with_content=with_content)


async def create_and_run(request: ApiRequest) -> Json | Sse:
    body = await request.read(request.shapes.thread_and_run_body)
    started = await request.services.runs.create_and_run(
        request.principal,
        body.to_thread(),
        body.to_params(),
        surface=request.call.surface,
        stream=bool(body.stream),
        idempotency_key=request.idempotency_key(),
    )
    return _started(request, started)


async def retrieve(request: ApiRequest) -> Json:
    """What an SDK's poll helper asks is held until something changes: its answer then comes at once. So is what says
    how long to `wait`."""
    thread_id, run_id = request.id("thread_id"), request.id("run_id")
    runs = request.services.runs
    if (seconds := request.seconds("wait", maximum=MAX_WAIT_SECONDS)) is not None:
        run = await request.unless_gone(runs.wait(request.principal, thread_id, run_id, seconds))
        return Json(request.shapes.render_run(run), headers={"openai-poll-after-ms": "10"})
    if request.is_poll:
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
        request.principal,
        thread_id,
        run_id,
        body.to_params(),
        stream=bool(body.stream),
        idempotency_key=request.idempotency_key(),
    )
    return _started(request, started)


def _started(request: ApiRequest, started: Started, *, with_content: bool = False) -> Json | Sse:
    if started.reader is None:
        return Json(request.shapes.render_run(started.run))
    return Sse(started.reader, request.shapes.events(with_content=with_content), watch_key=request.watch_key)
