"""Threads: a conversation that runs add to."""

from __future__ import annotations

import msgspec

from locum.domain.tools import ToolResources


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """The hosted API's `thread` object."""

    id: str
    created_at: int
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    tool_resources: ToolResources = ToolResources()
