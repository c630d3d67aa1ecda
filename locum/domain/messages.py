"""Messages: what people and assistants said, with the files they point to."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

import msgspec

from locum.domain.files import File
from locum.domain.tools import CodeInterpreterTool, FileSearchTool, HostedTool

SANDBOX_PREFIX = "sandbox:/mnt/data/"
"""How a model links a file it made; clients look for this text."""


class FilePath(msgspec.Struct, frozen=True):
    """The file an annotation stands for."""

    file_id: str


class FilePathAnnotation(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="file_path"):
    """`text` is `value[start_index:end_index]` in code points, end exclusive."""

    text: str
    start_index: int
    end_index: int
    file_path: FilePath


class FileCitation(msgspec.Struct, frozen=True, kw_only=True):
    """The file a statement rests on, and what of it, word for word."""

    file_id: str
    quote: str = ""


class FileCitationAnnotation(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="file_citation"):
    """`text` is the marker that stands behind the statement; indexes as in a file path."""

    text: str
    start_index: int
    end_index: int
    file_citation: FileCitation


Annotation = FileCitationAnnotation | FilePathAnnotation


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """Text and what in it stands for a file."""

    value: str
    annotations: tuple[Annotation, ...] = ()


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A text content part."""

    text: Text


Detail = Literal["auto", "low", "high"]


class ImageFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image in the Files API. `detail` is how closely a model shall look; not shown where nobody said."""

    file_id: str
    detail: Detail | None = None


class ImageFilePart(msgspec.Struct, frozen=True, tag_field="type", tag="image_file"):
    """An image content part."""

    image_file: ImageFile


class ImageURL(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image elsewhere; its address is handed to the model, never opened here."""

    url: str
    detail: Detail | None = None


class ImageURLPart(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """A content part with the address of an image."""

    image_url: ImageURL


class RefusalPart(msgspec.Struct, frozen=True, tag_field="type", tag="refusal"):
    """The model declined, in these words."""

    refusal: str


ContentPart = TextPart | ImageFilePart | ImageURLPart | RefusalPart


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A file that came with a message, and the tools it is for."""

    file_id: str
    tools: tuple[HostedTool, ...] = ()

    @property
    def is_for_code(self) -> bool:
        """Whether it joins what the code interpreter finds in the thread."""
        return any(isinstance(tool, CodeInterpreterTool) for tool in self.tools)

    @property
    def is_for_search(self) -> bool:
        """Whether it joins the thread's vector store."""
        return any(isinstance(tool, FileSearchTool) for tool in self.tools)


class IncompleteDetails(msgspec.Struct, frozen=True):
    """Why a message was not finished."""

    reason: Literal["content_filter", "max_tokens", "run_cancelled", "run_expired", "run_failed"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The hosted API's `message` object."""

    id: str
    created_at: int
    thread_id: str
    role: Literal["user", "assistant"]
    content: tuple[ContentPart, ...]
    status: Literal["in_progress", "incomplete", "completed"] = "completed"
    assistant_id: str | None = None
    run_id: str | None = None
    attachments: tuple[Attachment, ...] = ()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    completed_at: int | None = None
    incomplete_at: int | None = None
    incomplete_details: IncompleteDetails | None = None

    @property
    def text(self) -> str:
        """All text parts, joined by a blank line."""
        return "\n\n".join(part.text.value for part in self.content if isinstance(part, TextPart))


def complete(message: Message, said: tuple[ContentPart, ...], *, now: int) -> Message:
    """The message with all that was said; the files its text links are attached to it."""
    linked = dict.fromkeys(
        annotation.file_path.file_id
        for part in said
        if isinstance(part, TextPart)
        for annotation in part.text.annotations
        if isinstance(annotation, FilePathAnnotation)
    )
    return msgspec.structs.replace(
        message,
        content=(*message.content, *said),
        attachments=tuple(Attachment(file_id=each, tools=(CodeInterpreterTool(),)) for each in linked),
        status="completed",
        completed_at=now,
    )


def annotated(said: tuple[ContentPart, ...], files: dict[str, File]) -> tuple[ContentPart, ...]:
    """The same parts with annotations for the files their text links, behind those they have; a text without words
    where there is nothing."""
    parts = said or (TextPart(Text(value="")),)
    return tuple(
        TextPart(
            msgspec.structs.replace(part.text, annotations=(*part.text.annotations, *annotate(part.text.value, files)))
        )
        if isinstance(part, TextPart)
        else part
        for part in parts
    )


def incomplete(
    message: Message,
    reason: Literal["max_tokens", "run_cancelled", "run_expired", "run_failed"],
    *,
    now: int,
    said: tuple[ContentPart, ...] = (),
) -> Message:
    """The message as it stands when its run ends before it: `said` is what had been said by then."""
    return msgspec.structs.replace(
        message,
        content=(*message.content, *said),
        status="incomplete",
        incomplete_at=now,
        incomplete_details=IncompleteDetails(reason),
    )


def annotate(value: str, files: dict[str, File]) -> tuple[FilePathAnnotation, ...]:
    """Annotations for every `sandbox:/mnt/data/…` link to one of `files`, in the order of the text.

    files: path below /mnt/data -> file. A link may be written with percent escapes. Longer names win over names they
    begin with, and no two annotations overlap.
    """
    found: dict[int, FilePathAnnotation] = {}
    taken: list[tuple[int, int]] = []
    for path in sorted(files, key=len, reverse=True):
        for text in dict.fromkeys((SANDBOX_PREFIX + path, SANDBOX_PREFIX + quote(path))):
            start = value.find(text)
            while start >= 0:
                end = start + len(text)
                if all(end <= low or start >= high for low, high in taken):
                    taken.append((start, end))
                    found[start] = FilePathAnnotation(
                        text=text, start_index=start, end_index=end, file_path=FilePath(files[path].id)
                    )
                start = value.find(text, end)
    return tuple(found[start] for start in sorted(found))
