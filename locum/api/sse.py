"""Server-sent events: one client's view of a run. Losing the client never touches the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager

import structlog
from starlette.types import Receive, Scope, Send

from locum.domain.events import Done, Event, StreamError
from locum.streams.hub import Reader
from locum.streams.log import Render, encode

PING = b": ping\n"
"""Without a blank line: on one, the Python SDK would take a comment behind an event's id for an event without data."""
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the events back
]
_BROKEN: tuple[Event, ...] = (StreamError(message="The stream broke off. The run goes on: retrieve it."), Done())
_REVOKED: tuple[Event, ...] = (
    StreamError(message="The stream ends before the run: its API key is not valid any more.", code="invalid_api_key"),
    Done(),
)

WatchKey = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Takes a function to call once the key of a request is revoked, as long as the context lasts."""

_log = structlog.get_logger("locum.api")


class Sse:
    """An ASGI response. What is ready goes out in one `send`; when nothing is, a comment keeps proxies patient."""

    def __init__(self, reader: Reader, render: Render, *, watch_key: WatchKey, ping_seconds: float = 15.0) -> None:
        self._reader = reader
        self._render = render
        self._watch_key = watch_key
        self._is_revoked = False
        self._ping_seconds = ping_seconds
        self._ping_is_due = False
        self._sent_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        self._sent_at = self._loop.time()
        self._timer = self._loop.call_later(self._ping_seconds, self._tick)
        gone = self._loop.create_task(self._watch(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            with self._watch_key(self._revoke):
                await self._send_events(send)
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._timer.cancel()
            gone.cancel()
            self._reader.close()
            await asyncio.wait([gone])

    async def _send_events(self, send: Send) -> None:
        while True:
            if body := self._take():
                await send({"type": "http.response.body", "body": body, "more_body": True})
                self._sent_at = self._loop.time()
            if self._reader.is_over:
                return
            if not (self._ping_is_due or self._is_revoked):
                await self._reader.wait()

    def _take(self) -> bytes:
        if self._is_revoked and not self._reader.is_over:
            self._reader.close()
            return self._encode(_REVOKED)
        try:
            body = self._reader.take(self._render)
        except Exception as error:  # the border of a stream: its client gets an `error` event, the run goes on
            _log.error("stream failed", exc_info=error)
            self._reader.close()
            return self._encode(_BROKEN)
        is_due, self._ping_is_due = self._ping_is_due, False
        return body or (PING if is_due and not self._reader.is_over else b"")

    def _encode(self, events: tuple[Event, ...]) -> bytes:
        return b"".join([encode(self._render, event, None) for event in events])

    def _revoke(self) -> None:
        self._is_revoked = True
        self._reader.wake()

    def _tick(self) -> None:
        """One timer for the whole stream: to set one back with every token would cost as much as the token."""
        left = self._sent_at + self._ping_seconds - self._loop.time()
        if left <= 0:
            self._ping_is_due = True
            self._reader.wake()
        self._timer = self._loop.call_later(left if left > 0 else self._ping_seconds, self._tick)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._reader.close()
