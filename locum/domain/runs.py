"""Runs: an assistant at work on a thread; the one table of what may follow what, and the moves themselves.

Every change of a run's status goes through a function of this module. Who calls them: the claim (`store/runs.py`), the
recorder and `end_run` of the engine, and the services' cancel.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from locum.domain.assistants import ResponseFormat
from locum.domain.files import Surface
from locum.domain.tools import Tool, ToolResources
from locum.errors import InvalidRequest

Status = Literal[
    "queued",
    "in_progress",
    "requires_action",
    "cancelling",
    "cancelled",
    "failed",
    "completed",
    "incomplete",
    "expired",
]

ACTIVE: tuple[Status, ...] = ("queued", "in_progress", "requires_action", "cancelling")
"""A thread with a run in one of these takes no message and no further run."""

FOLLOWS: dict[Status, frozenset[Status]] = {
    "queued": frozenset({"in_progress", "cancelling", "expired", "failed"}),
    "in_progress": frozenset({"requires_action", "completed", "incomplete", "failed", "cancelling", "expired"}),
    "requires_action": frozenset({"queued", "cancelling", "expired"}),
    "cancelling": frozenset({"cancelled", "completed", "failed", "expired"}),
    "cancelled": frozenset(),
    "failed": frozenset(),
    "completed": frozenset(),
    "incomplete": frozenset(),
    "expired": frozenset(),
}
"""The hosted API's life cycle. `cancelling` may still end otherwise: cancelling is an attempt."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens, over all model calls of a run or of one step."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
        )


class LastError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run failed, in words for its owner."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class TruncationStrategy(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the thread the model sees. `last_messages` >= 1 goes with the type of that name, else None."""

    type: Literal["auto", "last_messages"] = "auto"
    last_messages: int | None = None


class RequiredFunction(msgspec.Struct, frozen=True, kw_only=True):
    """What to call. `arguments` is the model's JSON text, untouched (it may be invalid)."""

    name: str
    arguments: str


class RequiredCall(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="function"):
    """A function call whose output the run waits for."""

    id: str
    function: RequiredFunction


class IncompleteDetails(msgspec.Struct, frozen=True):
    """Which of the run's budgets was used up."""

    reason: Literal["max_prompt_tokens", "max_completion_tokens"]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The hosted API's `run` object. What came from the assistant is a snapshot: its runs do not change with it.

    Not on the wire: `surface` (which form the ids of generated files take).
    """

    id: str
    created_at: int
    thread_id: str
    assistant_id: str
    status: Status
    model: str
    instructions: str
    tools: tuple[Tool, ...]
    expires_at: int | None
    tool_resources: ToolResources = ToolResources()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    temperature: float | None = None
    top_p: float | None = None
    response_format: ResponseFormat = "auto"
    reasoning_effort: str | None = None
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    truncation_strategy: TruncationStrategy = TruncationStrategy()
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None
    required_calls: tuple[RequiredCall, ...] = ()
    """Shown as `required_action`; empty but in `requires_action`."""
    incomplete_details: IncompleteDetails | None = None
    started_at: int | None = None
    completed_at: int | None = None
    cancelled_at: int | None = None
    failed_at: int | None = None
    last_error: LastError | None = None
    usage: Usage | None = None
    surface: Surface = "openai"


class InvalidTransition(Exception):
    """A bug: the code asked for a move the table does not have."""


def start(run: Run, *, now: int) -> Run:
    """A worker has it. A run that was claimed before (its owner died) is already in progress and stays so."""
    return run if run.status == "in_progress" else _move(run, "in_progress", started_at=now)


def complete(run: Run, *, now: int, usage: Usage) -> Run:
    """The final message is written."""
    return _move(run, "completed", completed_at=now, usage=usage, expires_at=None)


def fail(run: Run, *, now: int, error: LastError, usage: Usage) -> Run:
    """Something outside the caller's control went wrong."""
    return _move(run, "failed", failed_at=now, last_error=error, usage=usage, expires_at=None)


def require_action(run: Run, calls: tuple[RequiredCall, ...]) -> Run:
    """Nothing can be done before the caller has made these functions; `expires_at` goes on counting."""
    return _move(run, "requires_action", required_calls=calls)


def resume(run: Run) -> Run:
    """The caller has submitted all outputs."""
    if run.status != "requires_action":
        raise InvalidRequest(f'Runs in status "{run.status}" do not accept tool outputs.')
    return _move(run, "queued", required_calls=())


def run_short(
    run: Run, reason: Literal["max_prompt_tokens", "max_completion_tokens"], *, now: int, usage: Usage
) -> Run:
    """A budget of the run is used up; what there is of an answer stays."""
    details = IncompleteDetails(reason)
    return _move(run, "incomplete", completed_at=now, incomplete_details=details, usage=usage, expires_at=None)


def request_cancel(run: Run) -> Run:
    """The first half of a cancel; the answer still shows `expires_at`."""
    if "cancelling" not in FOLLOWS[run.status]:
        raise InvalidRequest(f"Cannot cancel run with status '{run.status}'.")
    return _move(run, "cancelling", required_calls=())


def cancelled(run: Run, *, now: int, usage: Usage) -> Run:
    """The second half: nothing is at work on it any more."""
    return _move(run, "cancelled", cancelled_at=now, usage=usage, expires_at=None)


def expire(run: Run, *, usage: Usage) -> Run:
    """It did not end in time. Runs have no `expired_at`; their open step has."""
    return _move(run, "expired", required_calls=(), usage=usage)


def _move(run: Run, status: Status, **changes: Any) -> Run:
    if status not in FOLLOWS[run.status]:
        raise InvalidTransition(f"{run.id}: {run.status} -> {status}")
    return msgspec.structs.replace(run, status=status, **changes)
