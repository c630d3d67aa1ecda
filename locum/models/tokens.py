"""Tokens of a prompt, before its model's server has counted them.

Text is counted exactly as the o200k_base vocabulary cuts it, offline. Other models cut otherwise: each route learns a
factor from what its server reports. What a server adds around messages, tools and images follows the hosted service's
published rules.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable
from typing import Any

import msgspec

from locum.models.chat import ChatMessage, ToolDefinition
from locum.models.pictures import size_of
from locum.models.vocabulary import encode

_PER_MESSAGE = 4
_PER_CALL = 8
_PER_TOOL = 12
_REPLY = 3

LOW_DETAIL = 85
_TILE = 170
UNSEEN_IMAGE = 765
"""An image whose size is not known (it is somewhere else): what one of 1024 x 1024 pixels takes."""
MOST_OF_AN_IMAGE = LOW_DETAIL + 8 * _TILE

_LEAST_TO_LEARN_FROM = 200
_PLAUSIBLE = (0.7, 4.0)
"""Fewer tokens than that no vocabulary in use makes of a text; a server that reports them has cut the prompt, or counts
what it had not remembered from the last one."""
_HEADER_BYTES = 256 * 1024
_MOST_COUNTED = 500_000


class Meter:
    """Counts the prompts of one route."""

    def __init__(self) -> None:
        self.factor = 1.0
        """Tokens of this route's model for one of o200k_base."""
        self._has_learned = False

    def at_most(self, messages: Iterable[ChatMessage], tools: Iterable[ToolDefinition] = ()) -> int:
        """Never less than `count`, and cheap: no token is shorter than a byte."""
        return math.ceil(self.factor * _total(messages, tools, text=_bytes, image=lambda _: MOST_OF_AN_IMAGE))

    def count(self, messages: Iterable[ChatMessage], tools: Iterable[ToolDefinition] = ()) -> int:
        """The tokens of a prompt, as this route's server is expected to count them."""
        return math.ceil(self.factor * _total(messages, tools, text=count_text, image=image_tokens))

    def count_text(self, text: str) -> int:
        """The tokens of a text by itself."""
        return math.ceil(self.factor * count_text(text))

    def learn(self, messages: Iterable[ChatMessage], tools: Iterable[ToolDefinition], prompt_tokens: int) -> None:
        """What the server has counted for that prompt. Up at once, so that prompts fit; down by and by. Prompts with
        pictures teach nothing: every model counts those in a way of its own."""
        messages = tuple(messages)
        if any(isinstance(message.content, list) and _has_picture(message.content) for message in messages):
            return
        exact = _total(messages, tools, text=count_text, image=image_tokens)
        if exact < _LEAST_TO_LEARN_FROM:
            return
        seen = prompt_tokens / exact
        low, high = _PLAUSIBLE
        if not low <= seen <= high:
            return
        self.factor = seen if seen > self.factor or not self._has_learned else 0.8 * self.factor + 0.2 * seen
        self._has_learned = True


def count_text(text: str) -> int:
    """Tokens of o200k_base. What looks like a special token is text like any other.

    Of a text that is longer than anything a window has room for, the beginning is counted and the rest taken to be like
    it: the time and the memory this takes are bounded.
    """
    beginning = text[:_MOST_COUNTED].encode(errors="replace").decode()
    count = len(encode(beginning))
    return count if len(text) <= _MOST_COUNTED else math.ceil(count * len(text) / _MOST_COUNTED)


def _bytes(text: str) -> int:
    return len(text.encode(errors="replace"))


def _total(messages: Iterable[ChatMessage], tools: Iterable[ToolDefinition], *, text: Any, image: Any) -> int:
    total = _REPLY
    for message in messages:
        total += _PER_MESSAGE + _content(message.content, text=text, image=image)
        for call in message.tool_calls:
            total += _PER_CALL + text(call.name) + text(call.arguments)
    for tool in tools:
        total += _PER_TOOL + text(json.dumps(msgspec.structs.asdict(tool), ensure_ascii=False))
    return total


def _content(content: str | list[dict[str, Any]] | None, *, text: Any, image: Any) -> int:
    if not isinstance(content, list):
        return int(text(content)) if content else 0
    return sum(image(part["image_url"]) if part["type"] == "image_url" else text(part["text"]) for part in content)


def _has_picture(content: list[dict[str, Any]]) -> bool:
    return any(part["type"] == "image_url" for part in content)


def image_tokens(image: dict[str, Any]) -> int:
    """Tokens of an `image_url` object: low detail is a fixed number; otherwise the image is scaled into 2048 x 2048,
    then its shorter side to 768, and cut into tiles of 512 x 512."""
    if image.get("detail") == "low":
        return LOW_DETAIL
    size = _size(image["url"])
    if size is None:
        return UNSEEN_IMAGE
    width, height = size
    scale = min(1.0, 2048 / max(width, height))
    scale = min(scale, 768 / min(width, height))
    tiles = math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
    return LOW_DETAIL + _TILE * max(1, min(tiles, 8))


def _size(url: str) -> tuple[int, int] | None:
    head, _, data = url[: _HEADER_BYTES * 4 // 3].partition(";base64,")
    if not head.startswith("data:"):
        return None
    try:
        return size_of(base64.b64decode(data[: len(data) // 4 * 4]))
    except (binascii.Error, ValueError):
        return None
