"""/threads/{thread_id}/runs/{run_id}/events: a stream that can be resumed, and read by many. Locum's addition."""

from __future__ import annotations

from locum.api.requests import ApiRequest
from locum.api.sse import Sse


async def follow(request: ApiRequest) -> Sse:
    """The whole run so far, then what happens; with `Last-Event-ID` exactly what came after that event."""
    thread_id, run_id = request.id("thread_id"), request.id("run_id")
    after = request.headers.get("last-event-id") or request.query("last_event_id")
    render = request.shapes.events(with_content=request.includes_content())
    reader = await request.services.runs.events(request.principal, thread_id, run_id, after=after)
    return Sse(reader, render, watch_key=request.watch_key)
