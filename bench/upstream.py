"""An instant model server: the least that speaks streamed chat completions, in a process of its own.

A request whose body holds `paced` is answered by TOKENS tokens, one every INTERVAL seconds, one that holds `slowly` by
SLOW_TOKENS, one every SLOW_INTERVAL, one that holds `thinking` at once after THINKING seconds; every other one at once.
Each paced token carries the monotonic clock's nanoseconds of the moment it was sent, so that whoever receives it knows
how long it was under way.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvloop

TOKENS = 100
INTERVAL = 0.02
SLOW_TOKENS = 50
SLOW_INTERVAL = 0.2
THINKING = 0.35


def _event(delta: str, finish: str = "null") -> bytes:
    return (
        'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":0,"model":"bench",'
        f'"choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}\n\n'
    ).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_BEGIN = _event('{"role":"assistant","content":""}')
_END = (
    _event("{}", '"stop"')
    + b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","choices":[],'
    + b'"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}\n\ndata: [DONE]\n\n'
)
_WORDS = b"".join(_event(f'{{"content":"{word}"}}') for word in ("Two", " and", " two", " is", " four."))
_INSTANT = _HEAD + _chunk(_BEGIN + _WORDS + _END) + b"0\r\n\r\n"
_MODELS = b'{"object":"list","data":[{"id":"bench","object":"model","created":0,"owned_by":"bench"}]}'
_LISTED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_MODELS), _MODELS)


class Upstream(asyncio.Protocol):
    """One connection, kept alive."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            _, _, length = head.partition(b"content-length:")
            whole = end + 4 + int(length.split(b"\r\n")[0] or 0)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            if head.startswith(b"get"):
                self._transport.write(_LISTED)
            elif b"paced" in body:
                self._transport.write(_HEAD + _chunk(_BEGIN))
                self._pace(TOKENS, INTERVAL, self._loop.time())
            elif b"slowly" in body:
                self._transport.write(_HEAD + _chunk(_BEGIN))
                self._pace(SLOW_TOKENS, SLOW_INTERVAL, self._loop.time())
            elif b"thinking" in body:
                self._loop.call_later(THINKING, self._transport.write, _INSTANT)
            else:
                self._transport.write(_INSTANT)

    def _pace(self, left: int, interval: float, due: float) -> None:
        if self._transport.is_closing():
            return
        if left == 0:
            self._transport.write(_chunk(_END) + b"0\r\n\r\n")
            return
        self._transport.write(_chunk(_event(f'{{"content":"<{time.monotonic_ns()}>"}}')))
        self._loop.call_at(due + interval, self._pace, left - 1, interval, due + interval)


@contextmanager
def running() -> Iterator[str]:
    """The base URL of a server in a process of its own, gone at the end."""
    process = subprocess.Popen([sys.executable, "-m", "bench.upstream"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait(10)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(_serve())
