"""Server-sent events: one client's view of a run. Losing the client never touches the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import structlog
from starlette.types import Receive, Scope, Send

from locum.domain.events import Done, Event, StreamError
from locum.streams.hub import Reader

PING = b": ping\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the events back
]
_BEHIND = StreamError(message="The stream was read too slowly and has been cut off. The run goes on: retrieve it.")
_BROKEN = StreamError(message="The stream broke off. The run goes on: retrieve it.")

_log = structlog.get_logger("locum.api")


class Sse:
    """An ASGI response. What is ready goes out in one `send`; when nothing is, a comment keeps proxies patient."""

    def __init__(
        self, reader: Reader, render: Callable[[Event], tuple[str, bytes]], *, ping_seconds: float = 15.0
    ) -> None:
        self._reader = reader
        self._render = render
        self._ping_seconds = ping_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        batches = self._encoded()
        gone = asyncio.ensure_future(_disconnect(receive))
        upcoming = asyncio.ensure_future(anext(batches, b""))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            while True:
                await asyncio.wait({upcoming, gone}, timeout=self._ping_seconds, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return
                if not upcoming.done():
                    await send({"type": "http.response.body", "body": PING, "more_body": True})
                    continue
                batch = upcoming.result()
                await send({"type": "http.response.body", "body": batch, "more_body": bool(batch)})
                if not batch:
                    return
                upcoming = asyncio.ensure_future(anext(batches, b""))
        finally:
            gone.cancel()
            upcoming.cancel()
            await asyncio.gather(gone, upcoming, return_exceptions=True)
            await batches.aclose()
            self._reader.close()

    async def _encoded(self) -> AsyncGenerator[bytes, None]:
        """Each batch of events as bytes; the last one always ends with `done`."""
        last: Event | None = None
        try:
            async for batch in self._reader.batches():
                if batch:
                    last = batch[-1]
                    yield b"".join(map(self._line, batch))
        except Exception as error:  # the border of a stream: its client gets an `error` event, the run goes on
            _log.error("stream failed", exc_info=error)
            yield self._line(_BROKEN) + self._line(Done())
            return
        if not isinstance(last, Done):
            yield self._line(_BEHIND) + self._line(Done())

    def _line(self, event: Event) -> bytes:
        name, data = self._render(event)
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
