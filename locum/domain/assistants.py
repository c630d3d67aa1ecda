"""Assistants: a model with instructions, tools and files."""

from __future__ import annotations

from typing import Any

import msgspec

from locum.domain.tools import Tool, ToolResources

ResponseFormat = str | dict[str, Any]
"""`"auto"`, or the object the caller gave; handed to the model as it is."""


class Assistant(msgspec.Struct, frozen=True, kw_only=True):
    """The hosted API's `assistant` object. `created_at` is in unix seconds.

    temperature and top_p are None where nobody asked for one: shown as 1, and not sent to the model.
    """

    id: str
    created_at: int
    model: str
    name: str | None = None
    description: str | None = None
    instructions: str | None = None
    tools: tuple[Tool, ...] = ()
    tool_resources: ToolResources = ToolResources()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    temperature: float | None = None
    top_p: float | None = None
    response_format: ResponseFormat = "auto"
    reasoning_effort: str | None = None
