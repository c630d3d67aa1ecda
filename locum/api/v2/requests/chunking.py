"""`chunking_strategy`, of vector stores and their files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from locum.api.v2.requests.base import Body, Unknown, kind_of
from locum.api.validation import OTHER, tag
from locum.domain.vector_stores import MAX_CHUNK_TOKENS, MIN_CHUNK_TOKENS, Chunking


class StaticChunking(Body):
    max_chunk_size_tokens: Annotated[int, Field(ge=MIN_CHUNK_TOKENS, le=MAX_CHUNK_TOKENS)]
    chunk_overlap_tokens: Annotated[int, Field(ge=0, le=MAX_CHUNK_TOKENS // 2)]

    @field_validator("chunk_overlap_tokens")
    @classmethod
    def _at_most_half(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("max_chunk_size_tokens", MAX_CHUNK_TOKENS) // 2
        if value > most:
            raise PydanticKnownError("less_than_equal", {"le": most})
        return value


class StaticChunkingBody(Body):
    type: Literal["static"]
    static: StaticChunking

    def to_domain(self) -> Chunking:
        return Chunking(**self.static.model_dump())


class AutoChunkingBody(Body):
    type: Literal["auto"]

    def to_domain(self) -> Chunking:
        return Chunking()


class UnknownChunkingBody(Unknown):
    type: Literal["auto", "static"]

    def to_domain(self) -> Chunking:
        raise AssertionError("refused before")


ChunkingBody = Annotated[
    Annotated[AutoChunkingBody, Tag(tag("auto"))]
    | Annotated[StaticChunkingBody, Tag(tag("static"))]
    | Annotated[UnknownChunkingBody, Tag(OTHER)],
    kind_of("auto", "static"),
]
