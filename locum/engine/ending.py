"""How a run ends before its answer: failed, cancelled, expired or incomplete, with whatever is open in it."""

from __future__ import annotations

from typing import Literal

import msgspec
from sqlalchemy import Connection

from locum.domain import messages as message_domain
from locum.domain import runs as run_domain
from locum.domain import steps as step_domain
from locum.domain.events import Event, MessageEvent, RunEvent, StepEvent
from locum.domain.messages import ContentPart, Message
from locum.domain.runs import LastError, Run, Usage
from locum.domain.steps import Step, ToolCall
from locum.store import messages as message_store
from locum.store import runs as run_store
from locum.store import steps as step_store

Ending = Literal["failed", "cancelled", "expired", "incomplete"]
Budget = Literal["max_prompt_tokens", "max_completion_tokens"]


def end_run(
    conn: Connection,
    resource: str,
    run: Run,
    ending: Ending,
    *,
    now: int,
    error: LastError | None = None,
    budget: Budget | None = None,
    said: tuple[ContentPart, ...] = (),
    printed: ToolCall | None = None,
    usage: Usage | None = None,
) -> tuple[Event, ...]:
    """Close a run and what is open in it; the events in the order a stream shows them.

    error: why it failed. budget: which one is used up. said: what of an open message had been said. printed: the call
    that was being made, with what it had printed. usage: of the last model call, where it came to an answer.
    """
    events: list[Event] = []
    steps = step_store.of_run(conn, resource, run.id)
    for position, step in enumerate(steps):
        if not step.is_open:
            continue
        # A caller may have deleted the message meanwhile: the step is closed all the same.
        message = _message(conn, resource, run, step)
        if message is not None:
            message = message_domain.incomplete(message, _WHY[ending], now=now, said=said)
            message_store.save(conn, resource, message)
            events.append(MessageEvent("incomplete", message))
        if printed is not None and not _has_made(step, printed):
            step = step_domain.with_call(step, printed)
        if usage is not None:
            step, usage = msgspec.structs.replace(step, usage=usage), None
        steps[position], what = _close(step, ending, now=now, error=error)
        step_store.save(conn, resource, steps[position])
        events.append(StepEvent(what, steps[position]))
    total = step_domain.total_usage(steps) + (usage or Usage())  # of an answer that opened nothing
    match ending:
        case "failed":
            assert error is not None
            run = run_domain.fail(run, now=now, error=error, usage=total)
        case "cancelled":
            run = run_domain.cancelled(run, now=now, usage=total)
        case "expired":
            run = run_domain.expire(run, usage=total)
        case "incomplete":
            assert budget is not None
            run = run_domain.run_short(run, budget, now=now, usage=total)
    run_store.save(conn, resource, run)
    return (*events, RunEvent(ending, run))


def _has_made(step: Step, call: ToolCall) -> bool:
    """Whether the call's outcome was written before the end came."""
    return any(each.id == call.id and each.is_done for each in step.tool_calls)


def _message(conn: Connection, resource: str, run: Run, step: Step) -> Message | None:
    if step.message_id is None:
        return None
    return message_store.find(conn, resource, run.thread_id, step.message_id, for_update=True)


_WHY: dict[Ending, Literal["max_tokens", "run_cancelled", "run_expired", "run_failed"]] = {
    "failed": "run_failed",
    "cancelled": "run_cancelled",
    "expired": "run_expired",
    "incomplete": "max_tokens",
}


def _close(step: Step, ending: Ending, *, now: int, error: LastError | None) -> tuple[Step, str]:
    """Steps have no `incomplete`: one that has made its message is complete, calls that were not made are cancelled."""
    if ending != "incomplete":
        return step_domain.close(step, ending, now=now, error=error), ending
    if step.message_id:
        return step_domain.complete(step, now=now, usage=step.usage or Usage()), "completed"
    return step_domain.close(step, "cancelled", now=now, error=None), "cancelled"
