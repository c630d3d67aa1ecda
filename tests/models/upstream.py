"""A scripted model server: real HTTP on 127.0.0.1, answers as told, remembers what it was asked.

    with ScriptedUpstream() as upstream:                 # in a thread of its own: for any kind of test
        upstream.script([Status(429, {"Retry-After": "1"}), Text("hello")])
        ... point a server or a client at upstream.base_url ...
        assert upstream.requests[0]["model"] == "m"

    async with ScriptedUpstream() as upstream:           # the same, in the running event loop
        upstream.answer = lambda body: Text(body["messages"][-1]["content"])

`script` hands its replies out in order, one per chat request; `answer` decides by the request, and is asked when the
script is used up. With neither, the reply is a 418 that says so. `GET /v1/models` lists `upstream.models`.
Waiting is by condition, never by sleeping: `upstream.wait(lambda: upstream.disconnects == 1)`
(in a coroutine: `await asyncio.to_thread(upstream.wait, ...)`). `Held` replies stop until `release()`.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Text:
    """An answer in words. `split` cuts the response's bytes every so many bytes; `streamed=False`: one JSON body."""

    text: str
    usage: Usage | None = Usage(10, 5)
    finish_reason: str = "stop"
    split: int | None = None
    streamed: bool = True


@dataclass(frozen=True)
class Call:
    """A tool call. `arguments` is sent as given when it is text (so it may be invalid)."""

    name: str
    arguments: Mapping[str, Any] | str
    id: str | None = None
    fragments: int = 3
    text: str = ""
    usage: Usage | None = Usage(10, 5)


@dataclass(frozen=True)
class Calls:
    """Several tool calls in one answer."""

    calls: Sequence[Call]
    text: str = ""
    usage: Usage | None = Usage(10, 5)


@dataclass(frozen=True)
class Status:
    """An answer that is an error: text, or a JSON value."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True)
class Cut:
    """Begins an answer with this text and drops the connection. Without text: drops it before any answer."""

    after_text: str = ""


@dataclass(frozen=True)
class Hang:
    """Says this text, then nothing more, until the client goes away or the server is closed."""

    after_text: str = ""


@dataclass(frozen=True)
class Raw:
    """These bytes as the body of a 200; `whole=False` drops the connection after them instead of ending the body."""

    body: bytes | Sequence[bytes]
    content_type: str = "text/event-stream"
    whole: bool = True


class Held:
    """Says `after_text`, waits for `release()`, then gives `reply` (its words follow those already said)."""

    def __init__(self, reply: Text | Call | Calls, after_text: str = "") -> None:
        self.reply = reply
        self.after_text = after_text
        self._lock = threading.Lock()
        self._released = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def release(self) -> None:
        with self._lock:
            self._released = True
            for loop, event in self._waiting:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(event.set)

    def gate(self) -> asyncio.Event:
        event = asyncio.Event()
        with self._lock:
            if self._released:
                event.set()
            self._waiting.append((asyncio.get_running_loop(), event))
        return event


Reply = Text | Call | Calls | Status | Cut | Hang | Raw | Held


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any


class ScriptedUpstream:
    def __init__(self) -> None:
        self.models: list[str] | Reply = ["scripted"]
        self.answer: Callable[[dict[str, Any]], Reply] | None = None
        self.requests: list[dict[str, Any]] = []
        """The bodies of the chat requests, in the order they came."""
        self.received: list[Request] = []
        """Every request of any kind."""
        self.connections = 0
        self.disconnects = 0
        """How often a client went away before its answer was complete."""
        self.base_url = ""
        self._script: deque[Reply] = deque()
        self._changed = threading.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def script(self, replies: Iterable[Reply]) -> None:
        """Replies for the next chat requests, behind those still waiting."""
        with self._changed:
            self._script.extend(replies)

    def forget(self) -> None:
        """Drop the replies that nobody has asked for."""
        with self._changed:
            self._script.clear()

    def wait(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Block until the condition holds; it is looked at whenever something happens here."""
        with self._changed:
            if not self._changed.wait_for(condition, seconds):
                raise AssertionError(f"not within {seconds} s; {len(self.requests)} requests were seen")

    # ---- life

    def __enter__(self) -> Self:
        started = threading.Event()

        def run() -> None:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                runner.run(self._open())
                started.set()
                self._loop.run_forever()
                runner.run(self._close())

        self._thread = threading.Thread(target=run, name="scripted-upstream", daemon=True)
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError("the scripted upstream did not start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1024)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- HTTP

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._happened(connections=1)
        try:
            while (request := await _read_request(reader)) is not None:
                await self._serve(request, reader, writer)
        except (ConnectionError, _Gone):
            self._happened(disconnects=1)
        except asyncio.CancelledError:
            pass  # the server is being closed
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_chat = request.path.partition("?")[0].endswith("/chat/completions")
        with self._changed:
            self.received.append(request)
            if is_chat:
                self.requests.append(request.body)
            self._changed.notify_all()
        response = _Response(reader, writer)
        if is_chat:
            await response.reply(self._choose(request.body), streamed=bool(request.body.get("stream")))
        elif (reply := self.other(request)) is not None:
            await response.reply(reply, streamed=False)
        elif isinstance(self.models, list):
            listed = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in self.models]
            await response.whole(200, {}, {"object": "list", "data": listed})
        else:
            await response.reply(self.models, streamed=False)

    def other(self, request: Request) -> Reply | None:
        """For scripted servers of other kinds: the reply to what is no chat, or None."""
        return None

    def _choose(self, body: dict[str, Any]) -> Reply:
        with self._changed:
            if self._script:
                return self._script.popleft()
        if self.answer is None:
            return Status(418, body="the script is used up")
        try:
            return self.answer(body)
        except Exception as error:
            return Status(418, body=f"the scenario failed: {error!r}")

    def _happened(self, *, connections: int = 0, disconnects: int = 0) -> None:
        with self._changed:
            self.connections += connections
            self.disconnects += disconnects
            self._changed.notify_all()


class _Gone(Exception):
    """The client closed its connection while it was being answered."""


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, json.loads(body) if body else None)


class _Response:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._split: int | None = None

    async def reply(self, reply: Reply, *, streamed: bool) -> None:
        match reply:
            case Status(status, headers, body):
                await self.whole(status, headers, {"error": {"message": f"status {status}"}} if body is None else body)
            case Raw(body, content_type, whole):
                self._begin(content_type)
                for block in [body] if isinstance(body, bytes) else body:
                    await self._block(block)
                await (self._end() if whole else self._drop())
            case Cut(after_text):
                if after_text:
                    self._begin()
                    await self._said(after_text)
                await self._drop()
            case Hang(after_text):
                self._begin()
                await self._said(after_text)
                await self._silence(None)
            case Held():
                self._begin()
                await self._said(reply.after_text)
                await self._silence(reply.gate())
                await self._rest(reply.reply)
            case Text() if not (streamed and reply.streamed):
                await self.whole(200, {}, _plain(reply))
            case Call() | Calls() if not streamed:
                await self.whole(200, {}, _plain(reply))
            case _:
                self._begin()
                if isinstance(reply, Text):
                    self._split = reply.split
                await self._event(_delta({"role": "assistant", "content": ""}))
                await self._rest(reply)

    async def whole(self, status: int, headers: Mapping[str, str], body: Any) -> None:
        payload = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "text/plain" if isinstance(body, str) else "application/json"
        fields = {"Content-Type": kind, "Content-Length": str(len(payload)), **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._writer.write(f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode() + payload)
        await self._writer.drain()

    async def _rest(self, reply: Text | Call | Calls) -> None:
        if isinstance(reply, Text):
            await self._said(reply.text)
            reason = reply.finish_reason
        else:
            calls = [reply] if isinstance(reply, Call) else reply.calls
            await self._said(reply.text)
            for index, call in enumerate(calls):
                for delta in _fragments(index, call):
                    await self._event(_delta({"tool_calls": [delta]}))
            reason = "tool_calls"
        await self._event(_delta({}, reason))
        if reply.usage is not None:
            await self._event({"object": "chat.completion.chunk", "choices": [], "usage": _usage(reply.usage)})
        await self._block(b"data: [DONE]\n\n")
        await self._end()

    async def _said(self, text: str) -> None:
        for word in _words(text):
            await self._event(_delta({"content": word}))

    async def _event(self, event: Any) -> None:
        await self._block(b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n")

    def _begin(self, content_type: str = "text/event-stream") -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._writer.write(head.encode())

    async def _block(self, block: bytes) -> None:
        step = self._split or len(block) or 1
        for start in range(0, len(block), step):
            part = block[start : start + step]
            self._writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await self._writer.drain()
            await asyncio.sleep(0)  # another request's turn, and a packet of its own
        if self._reader.at_eof():
            raise _Gone

    async def _end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def _drop(self) -> None:
        await self._writer.drain()
        self._writer.close()

    async def _silence(self, until: asyncio.Event | None) -> None:
        """Say nothing until the event is set; notice a client that goes away meanwhile."""
        await self._writer.drain()
        gone = asyncio.ensure_future(self._reader.read(1))
        waits = [gone] if until is None else [gone, asyncio.ensure_future(until.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise _Gone
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


def _words(text: str) -> list[str]:
    """The text in pieces of a word each, spaces kept."""
    pieces = [piece + " " for piece in text.split(" ")]
    pieces[-1] = pieces[-1][:-1]
    return [piece for piece in pieces if piece]


def _delta(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "model": "scripted", "choices": [choice]}


def _arguments(call: Call) -> str:
    return call.arguments if isinstance(call.arguments, str) else json.dumps(dict(call.arguments), ensure_ascii=False)


def _call_id(index: int, call: Call) -> str:
    return call.id or f"call_scripted{index}"


def _fragments(index: int, call: Call) -> list[dict[str, Any]]:
    arguments = _arguments(call)
    step = max(1, -(-len(arguments) // call.fragments))
    function = {"name": call.name, "arguments": ""}
    first = {"index": index, "id": _call_id(index, call), "type": "function", "function": function}
    pieces = [arguments[start : start + step] for start in range(0, len(arguments), step)]
    return [first, *({"index": index, "function": {"arguments": piece}} for piece in pieces)]


def _usage(usage: Usage) -> dict[str, int]:
    total = usage.prompt_tokens + usage.completion_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": total,
    }


def _plain(reply: Text | Call | Calls) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    reason = reply.finish_reason if isinstance(reply, Text) else "tool_calls"
    if not isinstance(reply, Text):
        message["tool_calls"] = [
            {
                "id": _call_id(index, call),
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call)},
            }
            for index, call in enumerate([reply] if isinstance(reply, Call) else reply.calls)
        ]
    body: dict[str, Any] = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
    }
    if reply.usage is not None:
        body["usage"] = _usage(reply.usage)
    return body
