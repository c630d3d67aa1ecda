"""Tools for models that cannot call them by themselves: told in words, and read back out of the model's text.

The format is the one most open models have seen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>` in the answer,
`<tool_response>…</tool_response>` in a user message. `prompted` writes the prompt and `Splitter` reads the answer; both
are pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import aclosing
from itertools import groupby
from typing import Any, Literal

import msgspec

from locum import ids
from locum.models.chat import (
    ChatMessage,
    ChatModel,
    ChatRequest,
    Chunk,
    Finish,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolDefinition,
)


class PromptedTools:
    """A `ChatModel` with tools, made of one without. A request that is not about tools passes as it is."""

    def __init__(self, inner: ChatModel) -> None:
        self._inner = inner

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Yield deltas, then exactly one `Finish`; raise `ModelError` otherwise. A call comes whole, in one delta."""
        async with aclosing(self._inner.stream(prompted(request))) as chunks:
            read = _read(chunks, only_one=request.parallel_tool_calls is False) if request.tools else chunks
            async with aclosing(read):
                async for chunk in read:
                    yield chunk


async def _read(chunks: AsyncGenerator[Chunk, None], *, only_one: bool) -> AsyncGenerator[Chunk, None]:
    splitter, numbers = Splitter(only_one=only_one), _Numbers()
    async for chunk in chunks:
        match chunk:
            case TextDelta(text=text):
                for piece in splitter.feed(text):
                    yield _delta(piece, numbers)
            case ToolCallDelta():  # a server that reads the format by itself
                yield msgspec.structs.replace(chunk, index=numbers.of(chunk.index))
            case Finish():
                for piece in splitter.close(cut=chunk.reason == "length"):
                    yield _delta(piece, numbers)
                is_call = chunk.reason == "stop" and numbers.count > 0
                yield msgspec.structs.replace(chunk, reason="tool_calls") if is_call else chunk
            case _:
                yield chunk


class _Numbers:
    """Numbers the calls of an answer, wherever they were found."""

    def __init__(self) -> None:
        self.count = 0
        self._known: dict[int, int] = {}

    def next(self) -> int:
        self.count += 1
        return self.count - 1

    def of(self, index: int) -> int:
        """The number of the call that the inner model numbers `index`."""
        if index not in self._known:
            self._known[index] = self.next()
        return self._known[index]


def _delta(piece: str | ToolCall, numbers: _Numbers) -> Chunk:
    if isinstance(piece, str):
        return TextDelta(piece)
    return ToolCallDelta(index=numbers.next(), id=piece.id, name=piece.name, arguments=piece.arguments)


# ---- the prompt

_INSTRUCTIONS = """\
# Tools

You can call functions. These are available, each described by a JSON object on its own line:
<tools>
{tools}
</tools>

To call a function, write its name and its arguments as one JSON object between <tool_call> and </tool_call>:
<tool_call>
{{"name": "<name of the function>", "arguments": {{<its arguments, as its parameters demand>}}}}
</tool_call>

{number} End your message after the last </tool_call>; the results come in the next message, between <tool_response> \
and </tool_response>. Never write a <tool_response> yourself. When you need no function, answer without these tags."""

_SEVERAL = "For several calls write several such blocks, one after the other."
_ONLY_ONE = "Make at most one call in a message."

_REQUIRED = "[You must call a function now: answer with a <tool_call> block.]"
_NAMED = "[You must call the function {name} now: answer with a <tool_call> block for it.]"
_NONE = "[You must not call a function now: answer in words, with what you know.]"


def prompted(request: ChatRequest) -> ChatRequest:
    """The same request without tools, tool choice, calls and results: they are told in system, user and assistant
    text.

    The tools stand at the end of the first system message, the same in every turn (servers remember how a prompt
    begins). A tool choice stands at the end of the last message, where small models heed it; with `none` the tools stay
    described, because the calls made so far refer to them.
    """
    messages = _told(request.messages)
    if request.tools:
        messages = _with_tools(messages, request.tools, only_one=request.parallel_tool_calls is False)
        messages = _with_choice(messages, request.tool_choice)
    return msgspec.structs.replace(
        request, messages=tuple(messages), tools=(), tool_choice=None, parallel_tool_calls=None
    )


def _told(messages: Iterable[ChatMessage]) -> list[ChatMessage]:
    """Calls and results as text. Results of one turn share a message: some models want user and assistant to
    alternate."""
    told: list[ChatMessage] = []
    for is_result, group in groupby(messages, key=lambda message: message.role == "tool"):
        if is_result:
            told.append(_results(list(group)))
        else:
            told += [_with_calls(message) if message.tool_calls else message for message in group]
    return told


def _with_calls(message: ChatMessage) -> ChatMessage:
    calls = "\n".join(_block(call) for call in message.tool_calls)
    return ChatMessage(role=message.role, content=_appended(message.content, calls, between="\n"))


def _block(call: ToolCall) -> str:
    """The call as the model is asked to write it. Arguments that are no JSON object stand there as a string."""
    arguments = call.arguments if _is_object(call.arguments) else json.dumps(call.arguments, ensure_ascii=False)
    name = json.dumps(call.name, ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False


def _results(results: list[ChatMessage]) -> ChatMessage:
    texts = []
    others: list[dict[str, Any]] = []
    for result in results:
        parts = _parts(result.content)
        text = "".join(part["text"] for part in parts if part.get("type") == "text")
        # A result that contains the tag does not end there.
        text = text.replace("</tool_response>", r"<\/tool_response>")
        texts.append(f"<tool_response>\n{text}\n</tool_response>")
        others += [part for part in parts if part.get("type") != "text"]
    told = "\n".join(texts)
    return ChatMessage(role="user", content=[{"type": "text", "text": told}, *others] if others else told)


def _with_tools(messages: list[ChatMessage], tools: Iterable[ToolDefinition], *, only_one: bool) -> list[ChatMessage]:
    described = "\n".join(_described(tool) for tool in tools)
    instructions = _INSTRUCTIONS.format(tools=described, number=_ONLY_ONE if only_one else _SEVERAL)
    if not messages or messages[0].role != "system":
        return [ChatMessage(role="system", content=instructions), *messages]
    first, *others = messages
    return [msgspec.structs.replace(first, content=_appended(first.content, instructions)), *others]


def _described(tool: ToolDefinition) -> str:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    return json.dumps({"type": "function", "function": function}, ensure_ascii=False)


def _with_choice(messages: list[ChatMessage], choice: str | dict[str, Any] | None) -> list[ChatMessage]:
    match choice:
        case "required":
            told = _REQUIRED
        case "none":
            told = _NONE
        case {"function": {"name": name}}:
            told = _NAMED.format(name=name)
        case _:
            return messages
    *others, last = messages
    if last.role != "user":
        return [*messages, ChatMessage(role="user", content=told)]
    return [*others, msgspec.structs.replace(last, content=_appended(last.content, told))]


def _parts(content: str | list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    return content if isinstance(content, list) else [{"type": "text", "text": content or ""}]


def _appended(
    content: str | list[dict[str, Any]] | None, text: str, *, between: str = "\n\n"
) -> str | list[dict[str, Any]]:
    if isinstance(content, list):
        return [*content, {"type": "text", "text": text}]
    return f"{content}{between}{text}" if content else text


# ---- the answer

_OPEN, _CLOSE, _RESULT = "<tool_call>", "</tool_call>", "<tool_response>"
_THINK, _THOUGHT = "<think>", "</think>"


def _beginning(word: str) -> str:
    """A pattern for every beginning of a word, the empty one and the whole included."""
    return "".join(f"(?:{re.escape(character)}" for character in word) + ")?" * len(word)


# Bounded, so that what has to be held back is short; possessive, so that a search takes linear time.
_MOST_SPACE = 64
_SPACE = rf"\s{{0,{_MOST_SPACE}}}+"
_FENCE = rf"```\w{{0,20}}+{_SPACE}"
_OPENING = re.compile(rf"{_SPACE}(?:{_FENCE})?{_OPEN}{_SPACE}(?:{_FENCE})?(?P<json>[{{\[])|{_RESULT}")
"""A block begins, up to the first character of its JSON, with the white space and the code fence before it; or the
model begins to invent results."""
_HELD = re.compile(
    rf"{_SPACE}(?:{_FENCE})?{_OPEN}{_SPACE}(?:{_beginning('```')}|{_FENCE})\Z"
    rf"|{_SPACE}(?:{_FENCE})?{_beginning(_OPEN)}\Z"
    rf"|{_SPACE}{_beginning('```')}\Z"
    rf"|{_beginning(_RESULT)}\Z"
)
"""The end of a text that may turn out to be the beginning of an `_OPENING`, in at most so many characters."""
_MOST_HELD = 320
_TOKEN = re.compile(r'\\.|"|</?tool_call>', re.DOTALL)
"""What matters inside a block: where strings end, and tags."""
_BEGUN = re.compile(r'\{\s*"name"\s*:\s*"([^"\\]+)"(?:\s*,\s*"(?:arguments|parameters)"\s*:\s*(.*))?', re.DOTALL)

_Steps = Generator[str | ToolCall, None, bool]
"""Yields pieces; returns whether there may be more to find in the buffer."""


class Splitter:
    """Cuts an answer, fed in fragments, into words and calls.

    Words are given out as soon as they cannot be the beginning of a block. Blocks that hold no call are words, and so
    is what a model thinks before it speaks. Behind the first call words are dropped, and from a `<tool_response>` on
    everything: what follows rests on results that the model has made up. With `only_one`, everything behind the first
    call is dropped.
    """

    def __init__(self, *, only_one: bool = False) -> None:
        self._only_one = only_one
        self._buffer = ""
        self._block: _Block | None = None
        """The block that the buffer begins with, if it does."""
        self._stage: Literal["beginning", "thinking", "speaking"] = "beginning"
        self._has_called = False
        self._is_over = False

    def feed(self, fragment: str) -> Iterator[str | ToolCall]:
        """The pieces this fragment completes."""
        if self._is_over:
            return
        self._buffer += fragment
        goes_on = True
        while goes_on and not self._is_over:
            if self._block is not None:
                goes_on = yield from self._body(self._block)
            elif self._stage == "speaking":
                goes_on = yield from self._words()
            else:
                goes_on = yield from self._thoughts()

    def close(self, *, cut: bool = False) -> Iterator[str | ToolCall]:
        """What is left at the end. `cut`: the model ran into a limit, so an unfinished block is the beginning of a
        call (as far as its name is known)."""
        if self._stage == "beginning":
            self._stage = "speaking"
        yield from self.feed("")
        while (block := self._block) is not None and not self._is_over:
            yield from self._unclosed(block, cut=cut)
            yield from self.feed("")
        if not self._is_over:
            yield from self._release(len(self._buffer))

    def _thoughts(self) -> _Steps:
        """What a model thinks at the beginning, between `<think>` and `</think>`, is no place for calls."""
        if self._stage == "beginning":
            begun = self._buffer.lstrip()
            is_early = len(self._buffer) - len(begun) <= _MOST_SPACE
            if is_early and len(begun) < len(_THINK) and _THINK.startswith(begun):
                return False
            self._stage = "thinking" if is_early and begun.startswith(_THINK) else "speaking"
            return True
        end = self._buffer.find(_THOUGHT)
        if end < 0:
            yield from self._release(max(0, len(self._buffer) - len(_THOUGHT) + 1))
            return False
        self._stage = "speaking"
        yield from self._release(end + len(_THOUGHT))
        return True

    def _words(self) -> _Steps:
        found = _OPENING.search(self._buffer) if "<tool_" in self._buffer else None
        if found is None:
            held = _HELD.search(self._buffer, max(0, len(self._buffer) - _MOST_HELD))
            yield from self._release(held.start() if held else len(self._buffer))
            return False
        if found["json"]:
            yield from self._release(found.start())
            self._block = _Block(start=found.end() - 1 - found.start())
        else:
            self._is_over = self._has_called
            yield from self._release(found.end())
        return True

    def _body(self, block: _Block) -> _Steps:
        tag = block.find_end(self._buffer)
        if tag is None:
            return False
        calls = _calls(self._buffer[block.start : tag.start()])
        # A block may end where the next one begins.
        yield from self._settle(calls, tag.end() if tag[0] == _CLOSE else tag.start())
        return True

    def _unclosed(self, block: _Block, *, cut: bool) -> Iterator[str | ToolCall]:
        """The answer is over and the block is not. A tag that seemed to be inside a string may have been its end."""
        whole = len(self._buffer)
        for end in (block.tag_in_string or whole, whole):
            if calls := _calls(self._buffer[block.start : end], is_cut=cut):
                yield from self._settle(calls, end)
                return
        begun = _BEGUN.match(self._buffer, block.start) if cut else None
        if begun is not None:
            yield from self._settle([_call(begun[1], begun[2] or "")], whole)
        else:
            yield from self._settle([], block.tag_in_string or whole)

    def _settle(self, calls: list[ToolCall], end: int) -> Iterator[str | ToolCall]:
        """The block reaches up to `end`."""
        self._block = None
        if not calls:
            yield from self._release(end)
            return
        self._has_called = True
        self._is_over = self._only_one
        yield from calls[:1] if self._only_one else calls
        self._buffer = self._buffer[end:]

    def _release(self, end: int) -> Iterator[str]:
        words, self._buffer = self._buffer[:end], self._buffer[end:]
        if words and not self._has_called:
            yield words


class _Block:
    """How far a block has been looked through. `start`: where in the buffer its JSON begins."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.tag_in_string: int | None = None
        """The end of the first closing tag that stands inside a string, or the start of such an opening tag."""
        self._at = start
        self._is_in_string = False

    def find_end(self, buffer: str) -> re.Match[str] | None:
        """The tag that ends the block. What has been looked at is not looked at again."""
        while token := _TOKEN.search(buffer, self._at):
            self._at = token.end()
            if token[0] == '"':
                self._is_in_string = not self._is_in_string
            elif token[0] in (_OPEN, _CLOSE):
                if not self._is_in_string:
                    return token
                if self.tag_in_string is None:
                    self.tag_in_string = token.end() if token[0] == _CLOSE else token.start()
        self._at = max(self._at, len(buffer) - len(_CLOSE))
        return None


class _Written(msgspec.Struct):
    """A call as models write it."""

    name: str
    arguments: msgspec.Raw = msgspec.Raw()
    parameters: msgspec.Raw = msgspec.Raw()


_decode_written = msgspec.json.Decoder(_Written | list[_Written]).decode
_lenient = json.JSONDecoder(strict=False)
"""Takes line breaks inside strings, which models write in programs."""


_NEXT = re.compile(r"[\s,]*(?=[{\[])")


def _calls(body: str, *, is_cut: bool = False) -> list[ToolCall]:
    """The calls in a block, one after the other; none where it holds anything else. What else stands behind the JSON is
    of no interest, and a forgotten last brace is forgiven."""
    calls: list[ToolCall] = []
    start: re.Match[str] | None = _NEXT.match(body)
    while start is not None:
        found, end = _decoded(body, start.end(), is_cut=is_cut)
        calls += found
        start = _NEXT.match(body, end) if found else None
    return calls


def _decoded(body: str, start: int, *, is_cut: bool) -> tuple[list[ToolCall], int]:
    """The call, or the list of calls, whose JSON begins there, and its end."""
    for text in (body,) if is_cut else (body, body + "}"):
        try:
            value, end = _lenient.raw_decode(text, start)
            meant = json.dumps(value, ensure_ascii=False)
        except (ValueError, RecursionError):
            continue
        written = _written(text[start:end]) or _written(meant)
        if all(each.name for each in written):
            return [_call(each.name, _arguments(each)) for each in written], end
        break
    return [], start


def _written(text: str) -> list[_Written]:
    try:
        written = _decode_written(text.encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return []
    return written if isinstance(written, list) else [written]


def _arguments(written: _Written) -> str:
    """As the model wrote them; out of the string where it wrote them as one."""
    text = (bytes(written.arguments) or bytes(written.parameters)).decode().strip()
    if not text or text == "null":
        return "{}"
    try:
        return msgspec.json.decode(text, type=str) if text.startswith('"') else text
    except msgspec.DecodeError:
        return text


def _call(name: str, arguments: str) -> ToolCall:
    return ToolCall(id=ids.new("call_"), name=name, arguments=arguments)
