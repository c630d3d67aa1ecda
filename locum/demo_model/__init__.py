"""The built-in demo model: a deterministic, rule-based script that lets the whole product be tried without any model.

It reads what the prompt really contains and acts on it: it writes Python for the code interpreter, searches files,
calls the caller's functions, answers from what came back, and corrects itself after an error. It is no language model
and says so in everything it answers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Literal

import msgspec

from locum import ids
from locum.demo_model.conversation import Call, read
from locum.demo_model.skills import CallFunctions, RunCode, Say, SearchFiles, reply
from locum.models.chat import ChatRequest, Chunk, Finish, TextDelta, ToolCallDelta, Usage

_FRAGMENT = 24


class DemoModel:
    """A `ChatModel`. `pause_seconds` between two deltas makes it speak at the pace of a real one."""

    def __init__(
        self, *, pause_seconds: float = 0.0, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._pause_seconds = pause_seconds
        self._sleep = sleep

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Yield deltas, then exactly one `Finish`."""
        conversation = read(request)
        reason: Literal["stop", "tool_calls", "length"] = "tool_calls"
        match reply(conversation):
            case Say(said):
                deltas, reason = _spoken(said), "stop"
            case RunCode(code):
                deltas = _called((Call(conversation.code_name, {"code": code}),))
            case SearchFiles(queries):
                deltas = _called((Call(conversation.search_name, {"queries": list(queries)}),))
            case CallFunctions(calls):
                deltas = _called(calls)
        limit = request.max_completion_tokens
        spent = 0
        for delta in deltas:
            cost = _tokens(delta.text if isinstance(delta, TextDelta) else delta.arguments)
            if limit is not None and spent + cost > limit:
                reason = "length"
                break
            spent += cost
            yield delta
            await self._sleep(self._pause_seconds)
        prompt = _tokens(msgspec.json.encode((request.messages, request.tools)))
        yield Finish(reason=reason, usage=Usage(prompt_tokens=prompt, completion_tokens=spent))


def _spoken(text: str) -> Iterator[TextDelta | ToolCallDelta]:
    """Word by word, each with the white space before it."""
    for piece in re.findall(r"\s*\S+|\s+$", text):
        yield TextDelta(piece)


def _called(calls: tuple[Call, ...]) -> Iterator[TextDelta | ToolCallDelta]:
    """One call after the other, each as its name and then its arguments in fragments."""
    for index, call in enumerate(calls):
        arguments = msgspec.json.encode(call.arguments).decode()
        yield ToolCallDelta(index=index, id=ids.new("call_"), name=call.name)
        for start in range(0, len(arguments), _FRAGMENT):
            yield ToolCallDelta(index=index, arguments=arguments[start : start + _FRAGMENT])


def _tokens(text: str | bytes) -> int:
    """An estimate: four UTF-8 bytes are about one token, in English as in Korean."""
    size = len(text.encode() if isinstance(text, str) else text)
    return -(-size // 4)
