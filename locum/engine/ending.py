"""How a run ends before its answer: failed, cancelled or expired, with whatever is open in it."""

from __future__ import annotations

from typing import Literal

import msgspec
from sqlalchemy import Connection

from locum.domain import messages as message_domain
from locum.domain import runs as run_domain
from locum.domain import steps as step_domain
from locum.domain.events import Event, MessageEvent, RunEvent, StepEvent
from locum.domain.runs import LastError, Run, Usage
from locum.store import messages as message_store
from locum.store import runs as run_store
from locum.store import steps as step_store

Ending = Literal["failed", "cancelled", "expired"]


def end_run(
    conn: Connection,
    resource: str,
    run: Run,
    ending: Ending,
    *,
    now: int,
    error: LastError | None = None,
    said: str | None = None,
    usage: Usage | None = None,
) -> tuple[Event, ...]:
    """Close a run and what is open in it; the events in the order a stream shows them.

    said: what of an open message had been said. usage: of the last model call, where it came to an answer.
    """
    events: list[Event] = []
    steps = step_store.of_run(conn, resource, run.id)
    for position, step in enumerate(steps):
        if not step.is_open:
            continue
        # A caller may have deleted the message meanwhile: the step is closed all the same.
        message = message_store.find(conn, resource, run.thread_id, step.message_id) if step.message_id else None
        if message is not None:
            message = message_domain.incomplete(message, f"run_{ending}", now=now, text=said)  # type: ignore[arg-type]
            message_store.save(conn, resource, message)
            events.append(MessageEvent("incomplete", message))
        if usage is not None:
            step, usage = msgspec.structs.replace(step, usage=usage), None
        steps[position] = step_domain.close(step, ending, now=now, error=error)
        step_store.save(conn, resource, steps[position])
        events.append(StepEvent(ending, steps[position]))
    total = step_domain.total_usage(steps)
    match ending:
        case "failed":
            assert error is not None
            run = run_domain.fail(run, now=now, error=error, usage=total)
        case "cancelled":
            run = run_domain.cancelled(run, now=now, usage=total)
        case "expired":
            run = run_domain.expire(run, usage=total)
    run_store.save(conn, resource, run)
    return (*events, RunEvent(ending, run))
