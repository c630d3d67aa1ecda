"""A run told again from its rows: the events a stream would have shown, each text whole in one delta. Pure.

A client that accumulates them as the SDKs do ends with the stored objects. What rows do not keep is not told: the
questions of a run that have been answered, and what of an open message has been said so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from locum.domain import deltas
from locum.domain.events import (
    CodeInterpreterCallDelta,
    Event,
    ImageFilePartDelta,
    MessageDelta,
    MessageEvent,
    RefusalPartDelta,
    RunEvent,
    StepDelta,
    StepEvent,
    TextPartDelta,
    ToolCallDelta,
)
from locum.domain.messages import Message
from locum.domain.runs import Run
from locum.domain.steps import Step, ToolCallsDetails

Key = tuple[object, ...]
"""What an event tells: two events of one key tell the same."""


def replay(run: Run, steps: Iterable[Step], messages: Mapping[str, Message]) -> tuple[Event, ...]:
    """The run so far. messages: those that the run wrote, by id; one that a caller has deleted is left out."""
    return (*_beginning(run), *(event for step in steps for event in _step(step, messages)), *_state(run))


def is_at_rest(run: Run) -> bool:
    """Nothing happens to the run until its caller does something, if at all: its stream is done."""
    return run.status not in ("queued", "in_progress", "cancelling")


def key_of(event: Event) -> Key:
    """The same for what a live stream and a replay tell alike."""
    match event:
        case RunEvent():
            return ("run", event.what, *(call.id for call in event.run.required_calls))
        case StepEvent():
            return (event.step.id, event.what)
        case MessageEvent():
            return (event.message.id, event.what)
        case MessageDelta():
            return (event.message_id, "delta", *(_part_key(part) for part in event.content))
        case StepDelta():
            return (event.step_id, "delta", *(_call_key(call) for call in event.tool_calls))
        case _:
            return (type(event).__name__,)


def object_of(event: Event) -> str | None:
    """The step or message an event is about."""
    match event:
        case StepEvent():
            return event.step.id
        case MessageEvent():
            return event.message.id
        case MessageDelta():
            return event.message_id
        case StepDelta():
            return event.step_id
        case _:
            return None


def opens(event: Event) -> bool:
    """Everything of its object comes behind it."""
    return isinstance(event, StepEvent | MessageEvent) and event.what == "created"


def closes(event: Event) -> bool:
    """Nothing more of its object follows."""
    return isinstance(event, StepEvent | MessageEvent) and event.what not in ("created", "in_progress")


def is_beginning(event: Event) -> bool:
    """It comes before anything that a run does."""
    return isinstance(event, RunEvent) and event.what in ("created", "queued")


def deltas_of(event: Event) -> tuple[Event, ...]:
    """The deltas that add up to the object of an event that closes it."""
    match event:
        case StepEvent():
            return tuple(deltas.of_step(event.step))
        case MessageEvent():
            return tuple(deltas.of_message(event.message))
        case _:
            return ()


def missing(replayed: Iterable[Event], told: Iterable[Event], *, goes_on: bool) -> tuple[Event, ...]:
    """What of a replay a reader must be told before the events `told`, which were not told from the beginning.

    goes_on: more events follow those `told`: what the rows know already and these do not tell yet is among them.
    """
    replayed, told = tuple(replayed), tuple(told)
    keys = {key_of(event) for event in told}
    mentioned = {object_of(event) for event in told} - {None}
    begun = {object_of(event) for event in told if opens(event)}
    closed = {object_of(event) for event in replayed if closes(event)}
    filled = {object_of(event) for event in replayed if isinstance(event, MessageDelta | StepDelta)}

    def is_missing(event: Event) -> bool:
        if key_of(event) in keys:
            return False
        if isinstance(event, RunEvent):
            return not goes_on or is_beginning(event)
        about = object_of(event)
        if about in begun:
            return False
        if not goes_on:
            return True
        if about in mentioned:
            return not closes(event)
        return about in closed or about in filled  # an open one without content is opened anew, or removed

    return tuple(filter(is_missing, replayed))


def _beginning(run: Run) -> Iterator[Event]:
    queued = replace(
        run,
        status="queued",
        required_calls=(),
        started_at=None,
        completed_at=None,
        cancelled_at=None,
        failed_at=None,
        last_error=None,
        incomplete_details=None,
        usage=None,
    )
    yield RunEvent("created", queued)
    yield RunEvent("queued", queued)
    if run.started_at is not None:
        yield RunEvent("in_progress", replace(queued, status="in_progress", started_at=run.started_at))


def _state(run: Run) -> Iterator[Event]:
    if run.status not in ("queued", "in_progress"):
        if run.status == "cancelled":
            yield RunEvent("cancelling", replace(run, status="cancelling", cancelled_at=None, usage=None))
        yield RunEvent(run.status, run)


def _step(step: Step, messages: Mapping[str, Message]) -> Iterator[Event]:
    opened = replace(
        step,
        status="in_progress",
        step_details=ToolCallsDetails() if step.message_id is None else step.step_details,
        last_error=None,
        completed_at=None,
        cancelled_at=None,
        failed_at=None,
        expired_at=None,
        usage=None,
    )
    yield StepEvent("created", opened)
    yield StepEvent("in_progress", opened)
    yield from deltas.of_step(step)
    if step.message_id is not None and (message := messages.get(step.message_id)):
        yield from _message(message)
    if not step.is_open:
        yield StepEvent(step.status, step)


def _message(message: Message) -> Iterator[Event]:
    opened = replace(
        message,
        status="in_progress",
        content=(),
        attachments=(),
        completed_at=None,
        incomplete_at=None,
        incomplete_details=None,
    )
    yield MessageEvent("created", opened)
    yield MessageEvent("in_progress", opened)
    if message.status != "in_progress":
        yield from deltas.of_message(message)
        yield MessageEvent(message.status, message)


def _part_key(part: TextPartDelta | ImageFilePartDelta | RefusalPartDelta) -> Key:
    annotations = (part.text.annotations or ()) if isinstance(part, TextPartDelta) else ()
    return (part.index, *(each.index for each in annotations))


def _call_key(call: ToolCallDelta) -> Key:
    outputs = (call.code_interpreter.outputs or ()) if isinstance(call, CodeInterpreterCallDelta) else ()
    return (call.index, bool(call.id), *(each.index for each in outputs))
