"""One turn of a run: from what the model said to what is to be done. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from locum.domain.messages import ContentPart
from locum.domain.runs import LastError, Usage
from locum.domain.steps import (
    CodeInterpreter,
    CodeInterpreterCall,
    FileSearch,
    FileSearchCall,
    Function,
    FunctionCall,
    ToolCall,
)
from locum.models import chat
from locum.models.chat import ModelError
from locum.tools import code_interpreter, file_search
from locum.tools.functions import Offer

SORRY = "Sorry, something went wrong."
_QUOTA = "You exceeded your current quota, please check your plan and billing details."
"""The hosted API's own sentences."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the model said in one call, whole: parts of a message, and calls."""

    said: tuple[ContentPart, ...]
    calls: tuple[chat.ToolCall, ...]
    reason: Literal["stop", "length", "tool_calls", "content_filter"]
    usage: Usage


class Answer(msgspec.Struct, frozen=True):
    """What the model said is the run's last message."""


class UseTools(msgspec.Struct, frozen=True):
    """Calls to make before the model is asked again."""

    calls: tuple[ToolCall, ...]


class RunShort(msgspec.Struct, frozen=True):
    """The run's budget of completion tokens is used up."""


class Fail(msgspec.Struct, frozen=True):
    """The run cannot go on."""

    error: LastError


def decide(offer: Offer, reply: Reply, *, must_answer: bool, budgeted: bool) -> Answer | UseTools | RunShort | Fail:
    """What follows from a reply.

    must_answer: the model was told to answer and not to call tools. budgeted: the run says how many tokens it may
    write; without that, a model that stops at a limit of its own has answered.
    """
    if reply.reason == "content_filter":
        return _fail("invalid_prompt", "The model's answer was stopped by its content filter.")
    if reply.reason == "length" and budgeted:
        return RunShort()
    if not reply.calls:
        return Answer()
    if reply.reason == "length":
        return _fail("server_error", "The model reached its output limit in the middle of a tool call.")
    if must_answer:
        return _fail("server_error", "The model kept calling tools and gave no answer.")
    calls: list[ToolCall] = []
    for call in reply.calls:
        match offer.kind(call.name):
            case "code_interpreter":
                code = code_interpreter.code_of(call.arguments)
                calls.append(CodeInterpreterCall(call.id, CodeInterpreter(input=code)))
            case "file_search":
                calls.append(FileSearchCall(call.id, FileSearch(queries=file_search.queries_of(call.arguments))))
            case "function":
                calls.append(FunctionCall(call.id, Function(name=call.name, arguments=call.arguments)))
            case None:
                return _fail("server_error", f"The model called the tool '{call.name}', which this run does not have.")
    return UseTools(tuple(calls))


def failure(error: ModelError, *, explain: bool) -> LastError:
    """Return a run's `last_error` for a model that gave no answer.

    explain: the caller is the owner, and may read the model server's address and words.
    """
    message = error.message if explain else f"{_QUOTA if error.kind == 'rate_limited' else SORRY} {error.reason}"
    match error.kind:
        case "rate_limited":
            return LastError(code="rate_limit_exceeded", message=message)
        case "refused":
            return LastError(code="invalid_prompt", message=message)
        case _:
            return LastError(code="server_error", message=message)


def _fail(code: Literal["server_error", "invalid_prompt"], message: str) -> Fail:
    return Fail(LastError(code=code, message=message))
