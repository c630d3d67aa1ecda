"""Objects and stream events as v1 shows them: what v2 shows, with `file_ids` for v2's resources and attachments."""

from __future__ import annotations

from typing import Any, assert_never

import msgspec

from locum.api.v1.retrieval import in_v1
from locum.api.v2 import objects as v2
from locum.domain.assistants import Assistant
from locum.domain.events import (
    Done,
    Event,
    MessageDelta,
    MessageEvent,
    RefusalPartDelta,
    RunEvent,
    StepDelta,
    StepEvent,
    StreamError,
    TextDelta,
    TextPartDelta,
    ThreadCreated,
)
from locum.domain.files import File
from locum.domain.messages import ContentPart, ImageURLPart, Message, RefusalPart, Text, TextPart
from locum.domain.runs import Run
from locum.domain.steps import Step, ToolCallsDetails
from locum.domain.threads import Thread
from locum.domain.tools import Tool

_encode = msgspec.json.Encoder().encode


def render_assistant(assistant: Assistant) -> dict[str, Any]:
    shown = _without(v2.render_assistant(assistant), "tool_resources", "reasoning_effort")
    return {
        **shown,
        "tools": _tools(assistant.tools),
        "file_ids": assistant.tool_resources.code_interpreter_file_ids,
    }


def render_assistant_file(assistant: Assistant, file: File) -> dict[str, Any]:
    """When they were linked is not stored: not before both were there."""
    return {
        "id": file.id,
        "object": "assistant.file",
        "created_at": max(assistant.created_at, file.created_at),
        "assistant_id": assistant.id,
    }


def render_thread(thread: Thread) -> dict[str, Any]:
    return _without(v2.render_thread(thread), "tool_resources")


def render_message(message: Message) -> dict[str, Any]:
    shown = _without(v2.render_message(message), "attachments")
    return {**shown, "content": [_part(each) for each in message.content], "file_ids": file_ids_of(message)}


def file_ids_of(message: Message) -> tuple[str, ...]:
    """The files that came with a message, each once, in order."""
    return tuple(dict.fromkeys(each.file_id for each in message.attachments))


def render_message_file(message: Message, file_id: str) -> dict[str, Any]:
    """A message comes with its files, so they are linked since it is there. The file itself may be gone by now."""
    return {
        "id": file_id,
        "object": "thread.message.file",
        "created_at": message.created_at,
        "message_id": message.id,
    }


def render_run(run: Run) -> dict[str, Any]:
    shown = _without(v2.render_run(run), "tool_resources", "parallel_tool_calls", "reasoning_effort")
    return {
        **shown,
        "tools": _tools(run.tools),
        "file_ids": run.tool_resources.code_interpreter_file_ids,
        "tool_choice": in_v1(run.tool_choice) if isinstance(run.tool_choice, dict) else run.tool_choice,
    }


def render_step(step: Step, *, with_content: bool = False) -> dict[str, Any]:
    """What retrieval found is not shown in v1, whoever asks."""
    shown = v2.render_step(step)
    if isinstance(step.step_details, ToolCallsDetails):
        calls = msgspec.to_builtins(shown["step_details"])["tool_calls"]
        shown["step_details"] = {"type": "tool_calls", "tool_calls": [in_v1(each) for each in calls]}
    return shown


def render_event(event: Event) -> tuple[str, bytes]:
    """The event's name, and its data on one line."""
    match event:
        case MessageDelta():
            content = tuple(_as_text(part) if isinstance(part, RefusalPartDelta) else part for part in event.content)
            return v2.render_event(MessageDelta(event.message_id, content))
        case StepDelta():
            calls = [in_v1(each) for each in msgspec.to_builtins(event.tool_calls)]
            details = {"type": "tool_calls", "tool_calls": calls}
            delta = {"id": event.step_id, "object": "thread.run.step.delta", "delta": {"step_details": details}}
            return "thread.run.step.delta", _encode(delta)
        case RunEvent():
            return f"thread.run.{event.what}", _encode(render_run(event.run))
        case StepEvent():
            return f"thread.run.step.{event.what}", _encode(render_step(event.step))
        case MessageEvent():
            return f"thread.message.{event.what}", _encode(render_message(event.message))
        case ThreadCreated():
            return "thread.created", _encode(render_thread(event.thread))
        case StreamError() | Done():
            return v2.render_event(event)
        case _:
            assert_never(event)


def _without(shown: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if name not in names}


def _tools(tools: tuple[Tool, ...]) -> list[dict[str, Any]]:
    return [in_v1(each) for each in msgspec.to_builtins(tools)]


def _part(part: ContentPart) -> ContentPart:
    """v1 knows text and image files: what else a message holds is shown as the text it is."""
    match part:
        case RefusalPart():
            return TextPart(Text(value=part.refusal))
        case ImageURLPart():
            return TextPart(Text(value=part.image_url.url))
        case _:
            return part


def _as_text(part: RefusalPartDelta) -> TextPartDelta:
    return TextPartDelta(index=part.index, text=TextDelta(value=part.refusal))
