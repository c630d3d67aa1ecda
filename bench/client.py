"""A lean HTTP client: what it costs must not be mistaken for what the server costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self, cast

MESSAGE = {"role": "user", "content": "What is two and two?"}


class Connection(asyncio.Protocol):
    """One kept-alive connection, one request at a time."""

    _transport: asyncio.Transport
    _answer: asyncio.Future[bytes]

    @classmethod
    async def open(cls, base_url: str, *, key: str = "any") -> Self:
        host, _, rest = base_url.removeprefix("http://").partition(":")
        port, _, path = rest.partition("/")
        connection = cls()
        connection._prefix = f"/{path}" if path else ""
        connection._key = key
        await asyncio.get_running_loop().create_connection(lambda: connection, host, int(port))
        return connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: str = "",
        content_type: str = "application/json",
        on_data: Callable[[bytes], None] | None = None,
    ) -> bytes:
        """The body of a 200; `on_data` is given the raw bytes as they arrive. body: JSON, unless it is bytes."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {self._prefix}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
            f"Authorization: Bearer {self._key}\r\nOpenAI-Beta: assistants=v2\r\n"
            f"{headers}Content-Length: {len(content)}\r\n\r\n"
        )
        self._answer = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()
        self._end: int | None = None
        self._body = 0
        self._on_data = on_data
        self._transport.write(head.encode() + content)
        return await self._answer

    async def json(self, method: str, path: str, body: Any = None, *, headers: str = "") -> dict[str, Any]:
        return json.loads(await self.request(method, path, body, headers=headers))  # type: ignore[no-any-return]

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if hasattr(self, "_answer") and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed before the answer was whole"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._body == 0:
            self._read_head()
        if self._body and self._on_data is not None:
            self._on_data(data)
        if self._end is not None:
            if len(self._buffer) >= self._end:
                self._finish(bytes(self._buffer[self._body : self._end]))
        elif self._body and self._buffer.endswith(b"\r\n0\r\n\r\n"):
            self._finish(bytes(self._buffer[self._body :]))  # chunked, and left so

    def _read_head(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        self._body = end + 4
        head = bytes(self._buffer[:end]).lower()
        if not head.startswith(b"http/1.1 200"):
            self._answer.set_exception(RuntimeError(bytes(self._buffer[:2000]).decode()))
            return
        _, found, length = head.partition(b"content-length:")
        if found:
            self._end = self._body + int(length.split(b"\r\n")[0])

    def _finish(self, body: bytes) -> None:
        if not self._answer.done():
            self._answer.set_result(body)


async def ask_directly(
    connection: Connection, content: str = "What is two and two?", *, on_data: Callable[[bytes], None] | None = None
) -> None:
    """What a run asks of the model server, without a server in between."""
    message = {"role": "user", "content": content}
    body = {
        "model": "bench",
        "messages": [{"role": "system", "content": "Be brief."}, message],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    await connection.request("POST", "/chat/completions", body, on_data=on_data)
