"""The chat-completions wire, both ways and without I/O: a request to bytes, the bytes of an answer to chunks.

It reads what servers really send: odd line ends, calls without ids or indexes, a plain JSON answer to a streamed
request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from locum import ids
from locum.models.chat import (
    ChatMessage,
    ChatRequest,
    Chunk,
    Finish,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolDefinition,
    Usage,
)
from locum.models.refusals import Habits, Problem

_MAX_EVENT_BYTES = 8 * 1024 * 1024
_SSE_FIELDS = frozenset({b"event", b"id", b"retry", b"data"})
_BOM = b"\xef\xbb\xbf"

Reason = Literal["stop", "length", "tool_calls", "content_filter"]


class GarbageError(Exception):
    """Not a chat-completions answer. The argument is the beginning of what came instead."""


class ReportedError(Exception):
    """The upstream reported an error in the place of (the rest of) its answer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


# ---- requests


def body_of(request: ChatRequest, habits: Habits) -> dict[str, Any]:
    """The body of a streamed chat-completions request. Parameters that are None are left out, and what its server has
    been seen to refuse."""
    body = {
        "model": request.model,
        "messages": [_message(message) for message in request.messages],
        "tools": [_tool(tool, habits) for tool in request.tools] or None,
        "tool_choice": request.tool_choice,
        "parallel_tool_calls": request.parallel_tool_calls,
        "temperature": request.temperature,
        "top_p": request.top_p,
        habits.max_tokens_parameter: _limit(request.max_completion_tokens, habits.most_tokens),
        "response_format": request.response_format,
        "reasoning_effort": request.reasoning_effort,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return {name: value for name, value in _without_none(body).items() if name not in habits.without}


def _limit(wanted: int | None, most: int | None) -> int | None:
    return wanted if wanted is None or most is None else min(wanted, most)


def sent_in(body: dict[str, Any]) -> set[str]:
    """The names of a body's parameters, those inside its tools too."""
    return set(body) | {name for tool in body.get("tools", ()) for name in tool["function"]}


def _message(message: ChatMessage) -> dict[str, Any]:
    # `content: null` is said aloud: several servers refuse an assistant message that has no such field.
    body: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def _tool(tool: ToolDefinition, habits: Habits) -> dict[str, Any]:
    function = _without_none(msgspec.structs.asdict(tool))
    return {"type": "function", "function": {key: each for key, each in function.items() if key not in habits.without}}


def _without_none(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


# ---- answers: bytes to events


class EventParser:
    """Cuts server-sent events out of blocks that may end anywhere, also inside a character.

    Lines are split as bytes, and no UTF-8 character contains a line feed, so nothing is decoded before it is whole.
    An answer whose first character is `{` is no event stream but one JSON document: it becomes one event at the end.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._data: list[bytes] = []
        self._document: list[bytes] | None = None
        self._started = False
        self._size = 0

    def feed(self, block: bytes) -> Iterator[bytes]:
        """The events completed by this block."""
        if self._document is not None:
            self._grow(len(block))
            self._document.append(block)
            return
        text = self._tail + block
        if not self._started:
            text = text.removeprefix(_BOM).lstrip()
            self._started = bool(text)
            if text.startswith(b"{"):
                self._document = [text]
                return
        lines = text.split(b"\n")
        self._tail = lines.pop()
        self._size = 0
        self._grow(len(self._tail))
        for line in lines:
            yield from self._line(line.removesuffix(b"\r"))

    def close(self) -> Iterator[bytes]:
        """What the end of the answer completes: a last event whose blank line never came."""
        if self._document is not None:
            yield b"".join(self._document)
            return
        yield from self._line(self._tail.removesuffix(b"\r"))
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[bytes]:
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            if value:
                self._grow(len(value))
                self._data.append(value)
        elif not line:
            if self._data:
                event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                self._data = []
                yield event
        elif line.startswith(b"{"):  # a bare JSON line: how some servers report an error in mid-stream
            yield line
        elif not line.startswith(b":") and line.partition(b":")[0] not in _SSE_FIELDS:
            raise GarbageError(one_line(line))

    def _grow(self, count: int) -> None:
        self._size += count
        if self._size > _MAX_EVENT_BYTES:
            raise GarbageError(f"an event of more than {_MAX_EVENT_BYTES} bytes")


# ---- answers: events to chunks


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    """In a plain, not streamed, answer."""
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Event(msgspec.Struct):
    object: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode

_REASONS: dict[str, Reason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class Answer:
    """Folds the events of one answer into chunks, and knows whether the answer has come to its end."""

    def __init__(self) -> None:
        self.done = False
        self.reason: Reason | None = None
        self._usage: Usage | None = None
        self._calls = _Calls()

    @property
    def is_complete(self) -> bool:
        """Nothing that matters can be missing any more."""
        return self.done or self.reason is not None

    def add(self, event: bytes) -> Iterator[Chunk]:
        """The deltas in one event."""
        if event == b"[DONE]":
            self.done = True
            return
        try:
            decoded = _decode_event(event)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise GarbageError(one_line(event)) from None
        if decoded.error is not None:
            raise ReportedError(_problem(decoded.error))
        if decoded.object == "error":
            raise ReportedError(problem_of(event))
        if decoded.usage is not None and decoded.usage.prompt_tokens is not None:
            self._usage = Usage(
                prompt_tokens=decoded.usage.prompt_tokens, completion_tokens=decoded.usage.completion_tokens or 0
            )
        if not decoded.choices:
            return
        choice = decoded.choices[0]
        delta = choice.delta or choice.message
        if delta is not None:
            if text := _text(delta.content):
                yield TextDelta(text)
            if delta.refusal:
                yield RefusalDelta(delta.refusal)
            if delta.tool_calls:
                for call in delta.tool_calls:
                    yield from self._calls.add(call)
            elif delta.function_call is not None:
                yield from self._calls.add(_Call(index=0, function=delta.function_call))
        if choice.finish_reason:
            self.reason = _REASONS.get(choice.finish_reason, "stop")

    def rest(self) -> Iterator[Chunk]:
        """What has been waiting for more that never came."""
        yield from self._calls.close()

    def finish(self) -> Finish:
        """The last chunk. Servers that end a tool-calling answer with `stop` are common: the calls decide."""
        reason: Reason = self.reason or "stop"
        if reason == "stop" and self._calls.count:
            reason = "tool_calls"
        return Finish(reason=reason, usage=self._usage)


class _Calls:
    """Which call a fragment belongs to, whether or not the upstream numbers or names its calls."""

    def __init__(self) -> None:
        self.count = 0
        self._by_index: dict[int, int] = {}
        self._ids: list[str | None] = []
        """The upstream's id of each call, None where it gave none."""
        self._names: list[str] = []
        self._arguments: list[str] = []

    def add(self, call: _Call) -> Iterator[ToolCallDelta]:
        """A call is told of once its name is known."""
        function = call.function or _Function()
        arguments = function.arguments or ""
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        number = self._find(call, function, arguments)
        if number is None:
            number = self.count
            if call.index is not None:
                self._by_index[call.index] = number
            self._ids.append(call.id or None)
            self._names.append("")
            self._arguments.append("")
            self.count += 1
        self._arguments[number] += arguments
        if not self._names[number]:
            if function.name:
                self._names[number] = function.name
                yield self._opening(number)
        elif arguments:
            yield ToolCallDelta(index=number, arguments=arguments)

    def close(self) -> Iterator[ToolCallDelta]:
        """The calls that never got a name."""
        for number in range(self.count):
            if not self._names[number]:
                yield self._opening(number)

    def _opening(self, number: int) -> ToolCallDelta:
        return ToolCallDelta(
            index=number,
            id=self._ids[number] or ids.new("call_"),
            name=self._names[number],
            arguments=self._arguments[number],
        )

    def _find(self, call: _Call, function: _Function, arguments: str) -> int | None:
        """The call this fragment continues; None when it opens a new one."""
        if call.index is not None:
            known = self._by_index.get(call.index)
            if known is None or not function.name or not self._names[known]:
                return known
            # Some servers number every one of several whole calls 0: another id together with a name is another call,
            # and so is, without ids, what comes with a name behind arguments that are whole.
            if call.id and self._ids[known]:
                return known if call.id == self._ids[known] else None
            return None if arguments and _is_object(self._arguments[known]) else known
        if call.id and call.id in self._ids:
            return self._ids.index(call.id)
        if call.id or function.name or not self.count:
            return None
        return self.count - 1


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, RecursionError):
        return False


def _text(content: str | list[dict[str, Any]] | None) -> str:
    """Content is text, or a list of parts of which those of type text count (the others are a model's thinking)."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return content or ""


# ---- errors


def problem_of(body: bytes) -> Problem:
    """The upstream's own words in an error body, whatever its shape, on one line."""
    try:
        return _problem(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Problem(text=one_line(body))


def _problem(value: Any) -> Problem:
    while isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return Problem(text=one_line(value if isinstance(value, str) else msgspec.json.encode(value)))
    own = Problem(text="", code=_code(value), param=_param(value), window=_window(value))
    for name in ("error", "message", "detail", "msg"):
        if value.get(name):
            inner = _problem(value[name])
            return Problem(
                text=inner.text,
                code=inner.code or own.code,
                param=inner.param or own.param,
                window=inner.window or own.window,
            )
    return msgspec.structs.replace(own, text=one_line(msgspec.json.encode(value)))


def _code(value: dict[str, Any]) -> str:
    """A word; some servers repeat the status there."""
    return next((str(value[name]) for name in ("code", "type") if isinstance(value.get(name), str)), "")


def _param(value: dict[str, Any]) -> str:
    """`param`, or the path of a pydantic finding without its `body`."""
    loc = value.get("loc")
    if isinstance(loc, list):
        return ".".join(str(each) for each in loc if each != "body")
    param = value.get("param")
    return param if isinstance(param, str) else ""


def _window(value: dict[str, Any]) -> int | None:
    size = value.get("n_ctx")
    return size if isinstance(size, int) and size > 0 else None


def one_line(text: str | bytes, max_characters: int = 300) -> str:
    """Text that came from outside, fit to be quoted in a message: one line, printable, not long."""
    if isinstance(text, bytes):
        text = text[: 4 * max_characters].decode("utf-8", "replace")
    text = "".join(character if character.isprintable() else " " for character in text)
    text = " ".join(text.split())
    return text if len(text) <= max_characters else text[: max_characters - 1] + "…"
