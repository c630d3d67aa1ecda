"""One turn of a run: from what the model said to what is to be done. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from locum.domain.runs import LastError, Usage
from locum.domain.steps import CodeInterpreter, CodeInterpreterCall
from locum.models import chat
from locum.models.chat import ModelError, ToolDefinition
from locum.tools import code_interpreter


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the model said in one call, whole."""

    text: str
    calls: tuple[chat.ToolCall, ...]
    reason: Literal["stop", "length", "tool_calls", "content_filter"]
    usage: Usage


class Answer(msgspec.Struct, frozen=True):
    """The run's last message."""

    text: str


class UseTools(msgspec.Struct, frozen=True):
    """Calls to make before the model is asked again."""

    calls: tuple[CodeInterpreterCall, ...]


class Fail(msgspec.Struct, frozen=True):
    """The run cannot go on."""

    error: LastError


def decide(tools: tuple[ToolDefinition, ...], reply: Reply, *, must_answer: bool = False) -> Answer | UseTools | Fail:
    """What follows from a reply of a model that was offered `tools`; with `must_answer`, was told not to use them."""
    if reply.reason == "content_filter":
        return _fail("invalid_prompt", "The model's answer was stopped by its content filter.")
    if not reply.calls:
        return Answer(reply.text)
    if reply.reason == "length":
        return _fail("server_error", "The model reached its output limit in the middle of a tool call.")
    if must_answer:
        return _fail("server_error", "The model kept calling tools and gave no answer.")
    calls = []
    for call in reply.calls:
        if not _is_code(call, tools):
            return _fail("server_error", f"The model called the tool '{call.name}', which this run does not have.")
        code = CodeInterpreter(input=code_interpreter.code_of(call.arguments))
        calls.append(CodeInterpreterCall(call.id, code))
    return UseTools(tuple(calls))


def failure(error: ModelError) -> LastError:
    """What a run's `last_error` says when the model gave no answer."""
    match error.kind:
        case "rate_limited":
            return LastError(code="rate_limit_exceeded", message=error.message)
        case "refused":
            return LastError(code="invalid_prompt", message=error.message)
        case _:
            return LastError(code="server_error", message=error.message)


def _is_code(call: chat.ToolCall, tools: tuple[ToolDefinition, ...]) -> bool:
    # Models trained on other names for the same tool call it by them.
    names = (code_interpreter.NAME, "python", "execute_python", "run_python")
    return code_interpreter.DEFINITION in tools and call.name in names


def _fail(code: Literal["server_error", "invalid_prompt"], message: str) -> Fail:
    return Fail(LastError(code=code, message=message))
