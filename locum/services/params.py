"""What callers may say when they create or change something, free of any wire form.

UNSET means: not said (keep, or inherit). On an update None means: clear.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from locum.domain.assistants import ResponseFormat
from locum.domain.messages import Attachment, ContentPart
from locum.domain.runs import TruncationStrategy
from locum.domain.tools import Tool, ToolResources


class AssistantParams(msgspec.Struct, frozen=True, kw_only=True):
    """For create (`model` must be set) and update."""

    model: str | UnsetType = UNSET
    name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    instructions: str | UnsetType | None = UNSET
    tools: tuple[Tool, ...] | UnsetType = UNSET
    tool_resources: ToolResources | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    temperature: float | UnsetType | None = UNSET
    top_p: float | UnsetType | None = UNSET
    response_format: ResponseFormat | UnsetType = UNSET
    reasoning_effort: str | UnsetType | None = UNSET


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a caller writes it."""

    role: Literal["user", "assistant"]
    content: tuple[ContentPart, ...]
    attachments: tuple[Attachment, ...] = ()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class NewThread(msgspec.Struct, frozen=True, kw_only=True):
    """A thread and the messages it begins with."""

    messages: tuple[NewMessage, ...] = ()
    tool_resources: ToolResources = ToolResources()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class ThreadChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What of a thread may change."""

    tool_resources: ToolResources | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run; what is not set comes from the assistant."""

    assistant_id: str
    model: str | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    additional_instructions: str | None = None
    additional_messages: tuple[NewMessage, ...] = ()
    tools: tuple[Tool, ...] | UnsetType = UNSET
    tool_resources: ToolResources = ToolResources()
    """In the place of the assistant's (create_and_run); the thread's files are seen beside them."""
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    response_format: ResponseFormat | UnsetType = UNSET
    reasoning_effort: str | UnsetType = UNSET
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    truncation_strategy: TruncationStrategy = TruncationStrategy()
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None


def said(params: AssistantParams | ThreadChanges) -> dict[str, Any]:
    """What was said, by name; what was not is left out."""
    return {name: value for name, value in msgspec.structs.asdict(params).items() if value is not UNSET}
