"""Tokens of prompts, before a model's server has counted them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from locum.models.chat import ChatMessage, ToolDefinition


class Meter:
    """Counts for one route."""

    def at_most(self, messages: Iterable[ChatMessage], tools: Iterable[ToolDefinition] = ()) -> int:
        """Never less than `count`, and cheap."""
        return len(msgspec.json.encode((list(messages), list(tools))))

    def count(self, messages: Iterable[ChatMessage], tools: Iterable[ToolDefinition] = ()) -> int:
        """Tokens of a prompt."""
        return sum(4 + len(str(each.content or "").encode()) // 4 for each in messages) + sum(20 for _ in tools)

    def count_text(self, text: str) -> int:
        return -(-len(text.encode()) // 4)

    def learn(self, messages: Iterable[ChatMessage], tools: Iterable[ToolDefinition], prompt_tokens: int) -> None:
        """What the upstream counted for that prompt."""
