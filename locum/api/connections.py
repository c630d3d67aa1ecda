"""Bounds on everything that is read before a request's key is known: bytes, number and time.

Covered: request line, head and number of headers; time for a head and between two pieces of a body; connections in all
and for each address. An `Upgrade` to another protocol is ignored, as RFC 9110 (7.8) allows, and the request is read as
HTTP/1.1 with its body: httptools alone would drop the body.

Not covered: the size of bodies, which are bounded where they are read; how long an answer takes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

_DISCARD_SECONDS = 1.0
"""So long a refused client may go on sending: to close at once would take the refusal from it."""
_HOP_BY_HOP = (b"upgrade", b"http2-settings")
_TYPES = {503: "server_error"}

RESPONSE_HEADERS = [("x-content-type-options", "nosniff")]
"""Headers of every response, for `uvicorn.Config(headers=...)`: no browser may guess a type of its own."""
_RESPONSE_HEADERS = b"".join(f"{name}: {value}\r\n".encode() for name, value in RESPONSE_HEADERS)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """head_seconds: from the first byte of a connection, or of its next request, to the end of the head. body_seconds:
    between two pieces of a body. trusted: addresses of proxies, which make connections for many clients.
    """

    request_line_bytes: int = 8 * 1024
    head_bytes: int = 64 * 1024
    headers: int = 100
    head_seconds: float = 15.0
    body_seconds: float = 60.0
    connections: int = 10_000
    connections_per_address: int = 5_000
    trusted: frozenset[str] = frozenset()


class Connections:
    """Open connections, in all and by address."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._total = 0
        self._by_address: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Count a connection; False where there are too many already."""
        bounds = self._bounds
        is_bounded = address not in bounds.trusted
        if self._total >= bounds.connections:
            return False
        if is_bounded and self._by_address[address] >= bounds.connections_per_address:
            return False
        self._total += 1
        self._by_address[address] += 1
        return True

    def release(self, address: str) -> None:
        self._total -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


class _Refused(Exception):
    """Raised in the parser's callbacks to end parsing."""


def bounded_protocol(bounds: Bounds) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol with these bounds, for `uvicorn.Config(http=...)`."""
    connections = Connections(bounds)

    class Protocol(BoundedProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(bounds, connections, *args, **kwargs)

    return Protocol


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Overrides the parser's callbacks to count, and refuses in the API's own error format."""

    def __init__(self, bounds: Bounds, connections: Connections, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bounds = bounds
        self._connections = connections
        self._address: str | None = None
        self._is_in_head = True
        self._is_in_body = False
        self._has_completed = False  # a message, in the data that is being parsed
        self._head_bytes = 0
        self._header_bytes = 0  # of the head's complete headers
        self._is_upgrade = False
        self._refusal: tuple[int, str] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if not self._connections.admit(address):
            self._refuse(503, "Too many connections. Try again later.")
            return
        self._address = address
        self._start_timer(self._bounds.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._address is not None:
            self._connections.release(self._address)
            self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        self._unset_keepalive_if_required()
        if self._timer is None:  # the first bytes of the next request
            self._start_timer(self._bounds.head_seconds)
        self._has_completed = False
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (400, "Invalid HTTP request received.")))
            return
        self._count_head(data)
        if self._is_in_body:
            self._start_timer(self._bounds.body_seconds)

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._is_upgrade = False
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)
            self._parse(data[upgrade.args[0] :])

    def _head_without_upgrade(self) -> bytes:
        """Return the head of the request that was just parsed, without the wish for another protocol."""
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in _HOP_BY_HOP)
            if name not in _HOP_BY_HOP:
                lines.append(b"%s: %s" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def _count_head(self, data: bytes) -> None:
        """Bound a head that has not ended: a header that never ends is in no callback."""
        if not self._is_in_head or self._has_completed:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > self._bounds.head_bytes:
            self._refuse(431, self._too_large())

    # ---- the parser's callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self._bounds.request_line_bytes:
            self._stop(414, f"The request line is longer than {self._bounds.request_line_bytes} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)
        if len(self.headers) > self._bounds.headers:
            self._stop(431, f"The request has more than {self._bounds.headers} headers.")
        if self._header_bytes > self._bounds.head_bytes:
            self._stop(431, self._too_large())

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._stop_timer()
        if self.parser.get_method() == b"CONNECT":
            self._stop(405, "This server is no proxy: the method CONNECT is not allowed.")
        if self.parser.should_upgrade():
            self._is_upgrade = True
            return
        self._is_in_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_upgrade:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_upgrade:
            return
        self._is_in_head, self._is_in_body, self._has_completed = True, False, True
        self._stop_timer()
        super().on_message_complete()

    # ---- refusals

    def _too_large(self) -> str:
        return f"The head of the request is larger than {self._bounds.head_bytes} bytes."

    def _stop(self, status: int, message: str) -> None:
        self._refusal = (status, message)
        raise _Refused

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        self._timer = None
        if self._is_in_body and self.flow.read_paused:  # it is this server that does not read
            self._start_timer(self._bounds.body_seconds)
        elif self._is_in_body:
            self._refuse(408, f"No part of the body came for {self._bounds.body_seconds:g} seconds.")
        elif self._head_bytes:
            self._refuse(408, f"The head of the request was not complete after {self._bounds.head_seconds:g} seconds.")
        else:
            self.transport.close()  # nothing was asked

    def _refuse(self, status: int, message: str) -> None:
        """Answer, unless an earlier answer is under way, and close once the client had time to read that."""
        self._refusal = (status, message)
        self._stop_timer()
        cycle = self.cycle
        is_answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if not is_answering:
            self.transport.write(_response(status, message))
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.flow.resume_reading()
        self.loop.call_later(_DISCARD_SECONDS, self.transport.close)


def _response(status: int, message: str) -> bytes:
    error = {"message": message, "type": _TYPES.get(status, "invalid_request_error"), "param": None, "code": None}
    body = msgspec.json.encode({"error": error})
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINE[status] + _RESPONSE_HEADERS + head + body


def bounds_for(
    open_files: int, *, connections: int | None, per_address: int | None, trusted: Collection[str]
) -> Bounds:
    """Return the bounds for a process that may have so many open files: a stream takes two, and others are needed."""
    total = connections or max(16, (open_files - 64) // 2)
    return Bounds(
        connections=total, connections_per_address=per_address or max(8, total // 2), trusted=frozenset(trusted)
    )
