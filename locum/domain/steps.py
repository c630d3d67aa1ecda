"""Run steps: the journal of a run. What is written here is never done again."""

from __future__ import annotations

from typing import Literal

import msgspec

from locum.domain.runs import LastError, Usage
from locum.domain.tools import RankingOptions


class LogOutput(msgspec.Struct, frozen=True, tag_field="type", tag="logs"):
    """What a cell printed, its last value and its traceback."""

    logs: str


class Image(msgspec.Struct, frozen=True):
    """An image in the Files API."""

    file_id: str


class ImageOutput(msgspec.Struct, frozen=True, tag_field="type", tag="image"):
    """A figure a cell drew."""

    image: Image


CodeOutput = LogOutput | ImageOutput


class CodeInterpreter(msgspec.Struct, frozen=True, kw_only=True):
    """One cell. `outputs` is None until it has run: that is what a worker that takes over looks at."""

    input: str
    outputs: tuple[CodeOutput, ...] | None = None
    written: tuple[str, ...] = ()
    """Paths below /mnt/data of the files the cell wrote; not on the wire."""
    removed: tuple[str, ...] = ()
    """Paths of the files that the cell removed; not on the wire."""


class CodeInterpreterCall(msgspec.Struct, frozen=True, tag_field="type", tag="code_interpreter"):
    """A call of the code interpreter."""

    id: str
    code_interpreter: CodeInterpreter

    @property
    def is_done(self) -> bool:
        return self.code_interpreter.outputs is not None


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that was found, as the run keeps it: what it stands on stays, whatever becomes of the file.

    score: 0 to 1. text: the passage. quote: of it, what answers best. start, end: where in the file's text the passage
    stands, in code points. page: from 1, of a file that has pages. On the wire are the file, its name and the score,
    and the text for who asks.
    """

    file_id: str
    file_name: str
    score: float
    text: str
    quote: str
    start: int
    end: int
    page: int | None = None


class FileSearch(msgspec.Struct, frozen=True, kw_only=True):
    """One search. `results`, best first, is None until it has been made: a worker that takes over makes it (again)."""

    queries: tuple[str, ...]
    ranking_options: RankingOptions = RankingOptions()
    results: tuple[SearchResult, ...] | None = None
    number: int = 0
    """Which search of its run it is, from 0: its results' markers begin with that; not on the wire."""
    notes: tuple[str, ...] = ()
    """What the model is told besides; not on the wire."""


class FileSearchCall(msgspec.Struct, frozen=True, tag_field="type", tag="file_search"):
    """A call of file search."""

    id: str
    file_search: FileSearch

    @property
    def is_done(self) -> bool:
        return self.file_search.results is not None


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """`arguments` is the model's JSON text, untouched; `output` is None until the caller has submitted it."""

    name: str
    arguments: str
    output: str | None = None


class FunctionCall(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """A call of a function of the caller's program."""

    id: str
    function: Function

    @property
    def is_done(self) -> bool:
        return self.function.output is not None


ToolCall = CodeInterpreterCall | FileSearchCall | FunctionCall


class MessageCreation(msgspec.Struct, frozen=True):
    """Points to the message a step made."""

    message_id: str


class MessageCreationDetails(msgspec.Struct, frozen=True, tag_field="type", tag="message_creation"):
    """Details of a step that makes a message."""

    message_creation: MessageCreation


class ToolCallsDetails(msgspec.Struct, frozen=True, tag_field="type", tag="tool_calls"):
    """Details of a step that calls tools; empty until the model has said which."""

    tool_calls: tuple[ToolCall, ...] = ()


StepDetails = MessageCreationDetails | ToolCallsDetails


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The hosted API's `run step` object."""

    id: str
    created_at: int
    assistant_id: str
    thread_id: str
    run_id: str
    step_details: StepDetails
    status: Literal["in_progress", "cancelled", "failed", "completed", "expired"] = "in_progress"
    last_error: LastError | None = None
    completed_at: int | None = None
    cancelled_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    expires_at: int | None = None
    usage: Usage | None = None

    @property
    def is_open(self) -> bool:
        return self.status == "in_progress"

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return self.step_details.tool_calls if isinstance(self.step_details, ToolCallsDetails) else ()

    @property
    def message_id(self) -> str | None:
        details = self.step_details
        return details.message_creation.message_id if isinstance(details, MessageCreationDetails) else None


def pending_functions(step: Step) -> tuple[FunctionCall, ...]:
    """The function calls of a step whose outputs are not there yet."""
    return tuple(call for call in step.tool_calls if isinstance(call, FunctionCall) and not call.is_done)


def with_outputs(step: Step, outputs: dict[str, str]) -> Step:
    """The step once its caller has made the functions: call id -> output."""
    calls = tuple(
        FunctionCall(call.id, msgspec.structs.replace(call.function, output=outputs[call.id]))
        if isinstance(call, FunctionCall) and call.id in outputs
        else call
        for call in step.tool_calls
    )
    return msgspec.structs.replace(step, step_details=ToolCallsDetails(tool_calls=calls))


def with_tool_calls(step: Step, calls: tuple[ToolCall, ...], *, usage: Usage | None) -> Step:
    """The step once the model has said what it wants done, or one of the calls has been done."""
    return msgspec.structs.replace(step, step_details=ToolCallsDetails(tool_calls=calls), usage=usage)


def with_call(step: Step, call: ToolCall) -> Step:
    """The step once more is known of one of its calls."""
    calls = tuple(call if each.id == call.id else each for each in step.tool_calls)
    return with_tool_calls(step, calls, usage=step.usage) if calls else step


def complete(step: Step, *, now: int, usage: Usage) -> Step:
    """Everything of the step is done."""
    return msgspec.structs.replace(step, status="completed", completed_at=now, usage=usage)


def close(step: Step, status: Literal["failed", "cancelled", "expired"], *, now: int, error: LastError | None) -> Step:
    """The step ends because its run does, before all of it is done."""
    stamp = {"failed": "failed_at", "cancelled": "cancelled_at", "expired": "expired_at"}[status]
    if error is not None and error.code == "invalid_prompt":  # a code that runs have and steps do not
        error = msgspec.structs.replace(error, code="server_error")
    return msgspec.structs.replace(step, status=status, last_error=error, usage=step.usage or Usage(), **{stamp: now})


def total_usage(steps: list[Step]) -> Usage:
    """A run's usage is the sum of its steps'."""
    return sum((step.usage for step in steps if step.usage), Usage())
