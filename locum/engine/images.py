"""Images of a conversation, as the model's server expects them: data URLs."""

from __future__ import annotations

import asyncio
import base64

import structlog
from msgspec.structs import replace

from locum.blobs.base import Blobs
from locum.domain.files import File, blob_key
from locum.domain.image_urls import ImageURLs
from locum.domain.messages import ContentPart, ImageFilePart, ImageURLPart, Message, Text, TextPart
from locum.errors import NotFound, Unavailable

MAX_IMAGES = 50
"""The newest ones of a conversation; older ones are named, not shown."""
MAX_BYTES = 20 * 1024 * 1024
"""Of one image: what model servers take."""
MAX_TOTAL_BYTES = 40 * 1024 * 1024
"""Of all images of a prompt: the newest are shown as far as that goes."""

NOT_SHOWN = "[An image that cannot be shown.]"
"""Stands for it in the prompt."""

_log = structlog.get_logger(__name__)


async def data_urls(blobs: Blobs, files: list[File]) -> dict[str, str]:
    """File id -> data URL of those that can be shown, the first ones first."""
    urls: dict[str, str] = {}
    left = MAX_TOTAL_BYTES
    for file in files:
        if file.bytes <= left and (url := await _url(blobs, file)) is not None:
            urls[file.id] = url
            left -= file.bytes
    return urls


async def _url(blobs: Blobs, file: File) -> str | None:
    if file.bytes > MAX_BYTES:
        return None
    try:
        content = b"".join([chunk async for chunk in await blobs.get(blob_key(file.id))])
    except (NotFound, Unavailable):
        _log.warning("an image could not be read", file_id=file.id)
        return None
    kind = image_type(content)
    if kind is None:
        return None
    encoded = await asyncio.to_thread(base64.b64encode, content)
    return f"data:{kind};base64,{encoded.decode()}"


def in_conversation(conversation: tuple[Message, ...]) -> tuple[str, ...]:
    """Ids of the newest images that users have sent, each once."""
    ids = [
        part.image_file.file_id
        for message in conversation
        if message.role == "user"
        for part in message.content
        if isinstance(part, ImageFilePart)
    ]
    return tuple(dict.fromkeys(reversed(ids)))[:MAX_IMAGES]


def without_refused(conversation: tuple[Message, ...], image_urls: ImageURLs) -> tuple[Message, ...]:
    """Replace the addresses of images that the owner's rule refuses: messages may be older than the rule."""
    return tuple(
        replace(message, content=tuple(_allowed(part, image_urls) for part in message.content))
        if any(isinstance(part, ImageURLPart) for part in message.content)
        else message
        for message in conversation
    )


def _allowed(part: ContentPart, image_urls: ImageURLs) -> ContentPart:
    if isinstance(part, ImageURLPart) and image_urls.refusal(part.image_url.url):
        return TextPart(Text(value=NOT_SHOWN))
    return part


def image_type(content: bytes) -> str | None:
    """The media type by the first bytes, whatever the file is called; None for what models do not see."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return None
