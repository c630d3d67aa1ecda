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
from locum.domain.vector_stores import Attribute, Chunking, ExpiresAfter


class NewVectorStoreFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file for a vector store. Without a word on attributes it has none, or those it had; likewise its chunking."""

    file_id: str
    attributes: dict[str, Attribute] | UnsetType = UNSET
    chunking: Chunking | None = None


class NewVectorStore(msgspec.Struct, frozen=True, kw_only=True):
    """A vector store and the files it begins with."""

    name: str | None = None
    description: str | None = None
    files: tuple[NewVectorStoreFile, ...] = ()
    expires_after: ExpiresAfter | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class VectorStoreChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What of a vector store may change."""

    name: str | UnsetType | None = UNSET
    expires_after: ExpiresAfter | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class AssistantParams(msgspec.Struct, frozen=True, kw_only=True):
    """For create (`model` must be set) and update.

    new_stores: described along with the tool resources, to be made and to join them. shares_files: v1's way, where the
    code interpreter's files are there for file search too.
    """

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
    new_stores: tuple[NewVectorStore, ...] = ()
    shares_files: bool = False


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a caller writes it. file_ids: files for whichever tool can read them."""

    role: Literal["user", "assistant"]
    content: tuple[ContentPart, ...]
    attachments: tuple[Attachment, ...] = ()
    file_ids: tuple[str, ...] = ()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class NewThread(msgspec.Struct, frozen=True, kw_only=True):
    """A thread and the messages it begins with."""

    messages: tuple[NewMessage, ...] = ()
    tool_resources: ToolResources = ToolResources()
    new_stores: tuple[NewVectorStore, ...] = ()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class ThreadChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What of a thread may change."""

    tool_resources: ToolResources | UnsetType = UNSET
    new_stores: tuple[NewVectorStore, ...] = ()
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
    new_stores: tuple[NewVectorStore, ...] = ()
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


_NOT_THE_OBJECTS = ("new_stores", "shares_files")


def said(params: AssistantParams | ThreadChanges | VectorStoreChanges) -> dict[str, Any]:
    """What was said of the object's own fields, by name; what was not is left out."""
    fields = msgspec.structs.asdict(params)
    return {name: value for name, value in fields.items() if value is not UNSET and name not in _NOT_THE_OBJECTS}


def are_searched(new_stores: tuple[NewVectorStore, ...], messages: tuple[NewMessage, ...] = ()) -> bool:
    """Whether with these come files that are to be ingested."""
    attachments = (each for message in messages for each in message.attachments)
    return (
        any(new.files for new in new_stores)
        or any(message.file_ids for message in messages)
        or any(each.is_for_search for each in attachments)
    )
