"""The chat-completions vocabulary between the engine and a model: what is asked, what comes back, what can go wrong.

Every model, the upstream client and the demo model alike, is one async generator: `ChatModel.stream`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Literal, Protocol

import msgspec

from locum.errors import LocumError

ToolCalling = Literal["native", "prompt"]
"""How a model calls tools: by itself, or by writing what a prompt asks for."""
MaxTokensParameter = Literal["auto", "max_completion_tokens", "max_tokens"]
"""What its server calls the limit of an answer."""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the model made it. `arguments` is the model's JSON text, untouched (it may be invalid)."""

    id: str
    name: str
    arguments: str


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the prompt. `content` is text, or content parts exactly as the chat-completions wire has them."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """For role `tool`: the call this answers."""


class ToolDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A function the model may call; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One model call. None means: leave the parameter out."""

    model: str
    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_completion_tokens: int | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None


class TextDelta(msgspec.Struct, frozen=True):
    """A further piece of the answer's text, never empty."""

    text: str


class RefusalDelta(msgspec.Struct, frozen=True):
    """A further piece of the words in which the model declines, never empty."""

    text: str


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A further piece of tool call `index`. The first one of an index carries `id` and `name`; later ones only
    `arguments`."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one model call."""

    prompt_tokens: int
    completion_tokens: int


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The last item of every complete answer. `usage` is None where the upstream does not report it."""

    reason: Literal["stop", "length", "tool_calls", "content_filter"]
    usage: Usage | None = None


Chunk = TextDelta | RefusalDelta | ToolCallDelta | Finish


ErrorKind = Literal["rate_limited", "refused", "misconfigured", "context_overflow", "unavailable", "cut"]

_REASONS: dict[ErrorKind, str] = {
    "rate_limited": "The model server takes no more requests at the moment.",
    "refused": "The model server refused the request.",
    "misconfigured": "This server is not set up for the model.",
    "context_overflow": "The prompt does not fit into the model's context window.",
    "unavailable": "The model server gave no usable answer.",
    "cut": "The model's answer broke off.",
}


class ModelError(LocumError):
    """The model gave no usable answer. `message` is for the owner and the log: it names the server's address and quotes
    its words, which callers must not read. `reason` is for callers.

    kind: `rate_limited` (429 after the retries), `refused` (4xx that is about the prompt's content),
    `misconfigured` (401/403/404: key, address or model name; the message names the setting),
    `context_overflow` (the prompt does not fit), `unavailable` (no connection, 5xx, time-out, garbage),
    `cut` (the answer began and did not end).

    window: for `context_overflow`, the context window in tokens where the upstream named it.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind,
        window: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.window = window

    @property
    def reason(self) -> str:
        """A sentence without any of the server's words, address or settings."""
        return _REASONS[self.kind]


class ChatModel(Protocol):
    """Something that answers chat requests. Closing the generator (or cancelling its task) closes the upstream
    connection."""

    def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Yield deltas, then exactly one `Finish`; raise `ModelError` otherwise."""
        ...
