"""Deltas that only continue a text: most of a stream. A log keeps of them no more than the text."""

from __future__ import annotations

from msgspec import UNSET

from locum.domain import deltas
from locum.domain.events import (
    CodeInterpreterCallDelta,
    Event,
    FunctionCallDelta,
    LogOutputDelta,
    MessageDelta,
    RefusalPartDelta,
    StepDelta,
    TextPartDelta,
)

Place = tuple[type, str, int]
"""Where the text goes on: the kind of its part or call, the message or step, the index in it."""


def split(event: Event) -> tuple[Place, str] | None:
    """Where a delta goes on, and its text; None for events that tell anything else."""
    if isinstance(event, MessageDelta):
        if len(event.content) == 1:
            part = event.content[0]
            if isinstance(part, TextPartDelta):
                if part.text.annotations is UNSET and part.text.value is not UNSET:
                    return (TextPartDelta, event.message_id, part.index), part.text.value
            elif isinstance(part, RefusalPartDelta):
                return (RefusalPartDelta, event.message_id, part.index), part.refusal
    elif isinstance(event, StepDelta) and len(event.tool_calls) == 1:
        call = event.tool_calls[0]
        if isinstance(call, CodeInterpreterCallDelta):
            code = call.code_interpreter
            if call.id is UNSET and code.outputs is UNSET and code.input is not UNSET:
                return (CodeInterpreterCallDelta, event.step_id, call.index), code.input
            if call.id is UNSET and code.input is UNSET and code.outputs is not UNSET and len(code.outputs) == 1:
                output = code.outputs[0]
                if isinstance(output, LogOutputDelta) and output.index == 0:  # logs are the first output or none
                    return (LogOutputDelta, event.step_id, call.index), output.logs
        elif isinstance(call, FunctionCallDelta):
            function = call.function
            if call.id is UNSET and function.name is UNSET and function.arguments is not UNSET:
                return (FunctionCallDelta, event.step_id, call.index), function.arguments
    return None


def join(place: Place, text: str) -> Event:
    """The delta again."""
    kind, about, index = place
    if kind is TextPartDelta:
        return deltas.more_text(about, index, text)
    if kind is RefusalPartDelta:
        return deltas.more_refusal(about, index, text)
    if kind is CodeInterpreterCallDelta:
        return StepDelta(about, (deltas.more_code(index, text),))
    if kind is LogOutputDelta:
        return StepDelta(about, (deltas.more_logs(index, text),))
    return StepDelta(about, (deltas.more_arguments(index, text),))
