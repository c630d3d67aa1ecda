"""Bodies of messages, their content and attachments."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Tag, ValidationInfo
from pydantic_core import PydanticCustomError

from locum.api.v2.requests.base import Body, FileId, MessageText, Metadata, Unknown, canonical, kind_of, string_or_other
from locum.api.v2.requests.tools import CodeInterpreterToolBody
from locum.api.validation import IMAGE_URLS, OTHER, STRING, tag
from locum.domain.image_urls import PUBLIC, ImageURLs
from locum.domain.messages import (
    Attachment,
    ContentPart,
    ImageFile,
    ImageFilePart,
    ImageURL,
    ImageURLPart,
    Text,
    TextPart,
)
from locum.domain.tools import FileSearchTool
from locum.services.params import NewMessage

_Detail = Literal["auto", "low", "high"]


def _image_address(value: str, info: ValidationInfo) -> str:
    """Accept only an address that the owner lets the model server open: its content is never fetched here.

    Blanks are refused: where an error repeats the address, text behind one would look like a part of the error.
    """
    is_one = value.isprintable() and " " not in value
    image_urls: ImageURLs = (info.context or {}).get(IMAGE_URLS, PUBLIC)
    if refusal := image_urls.refusal(value if is_one else ""):
        raise PydanticCustomError("invalid", "{refusal}", {"refusal": refusal})
    return value


class SearchedAttachmentBody(Body):
    type: Literal["file_search"]

    def to_domain(self) -> FileSearchTool:
        return FileSearchTool()


class UnknownAttachmentToolBody(Unknown):
    type: Annotated[Literal["code_interpreter", "file_search"], BeforeValidator(canonical)]


AttachmentToolBody = Annotated[
    Annotated[CodeInterpreterToolBody, Tag(tag("code_interpreter"))]
    | Annotated[SearchedAttachmentBody, Tag(tag("file_search"))]
    | Annotated[UnknownAttachmentToolBody, Tag(OTHER)],
    kind_of("code_interpreter", "file_search"),
]


class AttachmentBody(Body):
    file_id: FileId
    tools: Annotated[list[AttachmentToolBody], Field(fail_fast=True)] | None = None

    def to_domain(self) -> Attachment:
        known = (tool for tool in self.tools or () if not isinstance(tool, UnknownAttachmentToolBody))
        return Attachment(file_id=self.file_id, tools=tuple(dict.fromkeys(tool.to_domain() for tool in known)))


class TextPartBody(Body):
    type: Literal["text"]
    text: MessageText

    def to_domain(self) -> ContentPart:
        return TextPart(Text(value=self.text))


class ImageURLBody(Body):
    url: Annotated[str, Field(min_length=1), AfterValidator(_image_address)]
    detail: _Detail | None = None


class ImageURLPartBody(Body):
    type: Literal["image_url"]
    image_url: ImageURLBody

    def to_domain(self) -> ContentPart:
        return ImageURLPart(ImageURL(url=self.image_url.url, detail=self.image_url.detail))


class ImageFileBody(Body):
    file_id: FileId
    detail: _Detail | None = None


class ImageFilePartBody(Body):
    type: Literal["image_file"]
    image_file: ImageFileBody

    def to_domain(self) -> ContentPart:
        return ImageFilePart(ImageFile(file_id=self.image_file.file_id, detail=self.image_file.detail))


class UnknownPartBody(Unknown):
    type: Literal["text", "image_url", "image_file"]


PartBody = Annotated[
    Annotated[TextPartBody, Tag(tag("text"))]
    | Annotated[ImageURLPartBody, Tag(tag("image_url"))]
    | Annotated[ImageFilePartBody, Tag(tag("image_file"))]
    | Annotated[UnknownPartBody, Tag(OTHER)],
    kind_of("text", "image_url", "image_file"),
]
_Parts = Annotated[list[PartBody], Field(min_length=1, fail_fast=True)]


class MessageBody(Body):
    """`POST /threads/{thread_id}/messages`, and messages inside other bodies."""

    role: Literal["user", "assistant"]
    content: Annotated[Annotated[MessageText, Tag(STRING)] | Annotated[_Parts, Tag(OTHER)], string_or_other]
    attachments: Annotated[list[AttachmentBody], Field(fail_fast=True)] | None = None
    file_ids: Annotated[list[FileId], Field(fail_fast=True)] | None = None
    """A v1 key that 2024-05-01-preview clients send: attachments for whichever tool can read them."""
    metadata: Metadata | None = None

    def to_params(self) -> NewMessage:
        content: tuple[ContentPart, ...] = (
            (TextPart(Text(value=self.content)),)
            if isinstance(self.content, str)
            else tuple(part.to_domain() for part in self.content if not isinstance(part, UnknownPartBody))
        )
        return NewMessage(
            role=self.role,
            content=content,
            attachments=tuple(attachment.to_domain() for attachment in self.attachments or ()),
            file_ids=tuple(self.file_ids or ()),
            metadata=self.metadata or {},
        )


Messages = Annotated[list[MessageBody], Field(fail_fast=True)]
