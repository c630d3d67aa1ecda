"""Bodies of vector stores, their files, file batches and searches. They are the same in every version."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET
from pydantic import Discriminator, Field, PlainValidator, Tag, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from locum.api.v2.requests.base import MAX_TEXT, Body, FileId, Metadata
from locum.api.v2.requests.chunking import ChunkingBody
from locum.api.validation import OTHER, STRING, missing, tag, wrong_type
from locum.domain import search
from locum.domain.search import MAX_CONDITIONS, MAX_RESULTS, Filter, Query
from locum.domain.vector_stores import MAX_FILES_AT_ONCE, MAX_FILES_OF_BATCH, Attribute, Chunking, ExpiresAfter
from locum.services.params import NewVectorStore, NewVectorStoreFile, VectorStoreChanges

MAX_QUERIES = 32
DEFAULT_RESULTS = 10
_MAX_VALUE = 512
_INFINITY = float("inf")


def _attribute(value: object) -> Attribute:
    if isinstance(value, str):
        if len(value) > _MAX_VALUE:
            raise PydanticKnownError("string_too_long", {"max_length": _MAX_VALUE})
        return value
    if isinstance(value, int | float):
        if abs(value) == _INFINITY:
            raise PydanticCustomError("out_of_range", "the number is out of range")
        return value
    raise wrong_type("a string, a number, or a boolean")


_Value = Annotated[Attribute, PlainValidator(_attribute, json_schema_input_type=str | float | bool)]
_Key = Annotated[str, Field(max_length=64)]
Attributes = Annotated[dict[_Key, _Value], Field(max_length=16)]


class VectorStoreExpirationBody(Body):
    """`expires_after`"""

    anchor: Literal["last_active_at"]
    days: Annotated[int, Field(ge=1, le=365)]

    def to_domain(self) -> ExpiresAfter:
        return ExpiresAfter(days=self.days)


_Name = Annotated[str, Field(max_length=512)]


class VectorStoreBody(Body):
    """`POST /vector_stores`"""

    name: _Name | None = None
    description: Annotated[str, Field(max_length=4096)] | None = None
    file_ids: Annotated[list[FileId], Field(max_length=MAX_FILES_AT_ONCE, fail_fast=True)] | None = None
    expires_after: VectorStoreExpirationBody | None = None
    chunking_strategy: ChunkingBody | None = None
    metadata: Metadata | None = None

    def to_params(self) -> NewVectorStore:
        chunking = _chunking(self.chunking_strategy)
        return NewVectorStore(
            name=self.name,
            description=self.description,
            files=tuple(NewVectorStoreFile(file_id=each, chunking=chunking) for each in self.file_ids or ()),
            expires_after=self.expires_after.to_domain() if self.expires_after else None,
            metadata=self.metadata or {},
        )


class VectorStoreChangesBody(Body):
    """`POST /vector_stores/{vector_store_id}`; null clears."""

    name: _Name | None = None
    expires_after: VectorStoreExpirationBody | None = None
    metadata: Metadata | None = None

    def to_params(self) -> VectorStoreChanges:
        said = self.model_fields_set
        expires_after = self.expires_after.to_domain() if self.expires_after else None
        return VectorStoreChanges(
            name=self.name if "name" in said else UNSET,
            expires_after=expires_after if "expires_after" in said else UNSET,
            metadata=self.metadata or {} if "metadata" in said else UNSET,
        )


class VectorStoreFileBody(Body):
    """`POST /vector_stores/{vector_store_id}/files`, and a file inside a batch."""

    file_id: FileId
    attributes: Attributes | None = None
    chunking_strategy: ChunkingBody | None = None

    def to_params(self) -> NewVectorStoreFile:
        return NewVectorStoreFile(
            file_id=self.file_id,
            attributes=UNSET if self.attributes is None else self.attributes,
            chunking=_chunking(self.chunking_strategy),
        )


class AttributesBody(Body):
    """`POST /vector_stores/{vector_store_id}/files/{file_id}`; null clears."""

    attributes: Attributes | None


class FileBatchBody(Body):
    """`POST /vector_stores/{vector_store_id}/file_batches`. What is said beside `file_ids` holds for each of them; with
    `files` each says its own."""

    file_ids: Annotated[list[FileId], Field(min_length=1, max_length=MAX_FILES_OF_BATCH, fail_fast=True)] | None = None
    files: (
        Annotated[list[VectorStoreFileBody], Field(min_length=1, max_length=MAX_FILES_OF_BATCH, fail_fast=True)] | None
    ) = None
    attributes: Attributes | None = None
    chunking_strategy: ChunkingBody | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> FileBatchBody:
        if self.file_ids is None and self.files is None:
            raise missing("file_ids")
        if self.file_ids is not None and self.files is not None:
            raise PydanticCustomError("both", "'file_ids' and 'files' cannot be given together", {"at": "files"})
        return self

    def to_params(self) -> tuple[NewVectorStoreFile, ...]:
        if self.files is not None:
            return tuple(each.to_params() for each in self.files)
        attributes, chunking = self.attributes, _chunking(self.chunking_strategy)
        return tuple(
            NewVectorStoreFile(file_id=each, attributes=UNSET if attributes is None else attributes, chunking=chunking)
            for each in self.file_ids or ()
        )


class ComparisonBody(Body):
    """A condition on one attribute."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: _Key
    value: Annotated[
        Annotated[_Value, Tag(STRING)] | Annotated[list[_Value], Tag(OTHER)],
        Discriminator(lambda value: OTHER if isinstance(value, list) else STRING),
    ]

    @field_validator("value")
    @classmethod
    def _fits_the_comparison(cls, value: Attribute | list[Attribute], info: ValidationInfo) -> object:
        kind = info.data.get("type")
        if isinstance(value, list) and kind in ("gt", "gte", "lt", "lte"):
            raise wrong_type("a string or a number")
        if not isinstance(value, list) and kind in ("in", "nin"):
            raise wrong_type("an array")
        return value

    def to_domain(self) -> Filter:
        value = tuple(self.value) if isinstance(self.value, list) else self.value
        return search.Comparison(type=self.type, key=self.key, value=value)


class CompoundBody(Body):
    """Several conditions, of which all hold or one does."""

    type: Literal["and", "or"]
    filters: Annotated[list[FilterBody], Field(fail_fast=True)]

    def to_domain(self) -> Filter:
        every = (each.to_domain() for each in self.filters if not isinstance(each, UnknownFilterBody))
        return search.Compound(type=self.type, filters=tuple(every))


class UnknownFilterBody(Body, extra="ignore"):
    """The member of the union for a type that no other has: it exists for the words of the refusal."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "and", "or"]

    def to_domain(self) -> Filter:
        raise AssertionError("refused before")


def _filter_kind(value: object) -> str:
    said = value.get("type") if isinstance(value, dict) else None
    if said in ("and", "or"):
        return tag("compound")
    return tag("comparison") if said in ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin") else OTHER


FilterBody = Annotated[
    Annotated[ComparisonBody, Tag(tag("comparison"))]
    | Annotated[CompoundBody, Tag(tag("compound"))]
    | Annotated[UnknownFilterBody, Tag(OTHER)],
    Discriminator(_filter_kind),
]


class SearchRankingBody(Body):
    """`ranking_options`"""

    ranker: Literal["none", "auto", "default-2024-11-15"] | None = None
    score_threshold: Annotated[float, Field(ge=0.0, le=1.0)] | None = None


_Query = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class SearchBody(Body):
    """`POST /vector_stores/{vector_store_id}/search`"""

    query: Annotated[
        Annotated[_Query, Tag(STRING)]
        | Annotated[list[_Query], Field(min_length=1, max_length=MAX_QUERIES, fail_fast=True), Tag(OTHER)],
        Discriminator(lambda value: OTHER if isinstance(value, list) else STRING),
    ]
    rewrite_query: bool | None = None
    max_num_results: Annotated[int, Field(ge=1, le=MAX_RESULTS)] | None = None
    filters: FilterBody | None = None
    ranking_options: SearchRankingBody | None = None

    @field_validator("filters")
    @classmethod
    def _few_conditions(cls, value: FilterBody | None) -> FilterBody | None:
        if value is not None and (count := _conditions(value)) > MAX_CONDITIONS:
            raise PydanticCustomError(
                "too_many",
                "too many conditions. Expected at most {most}, but got {count} instead",
                {"most": MAX_CONDITIONS, "count": count},
            )
        return value

    def to_query(self) -> Query:
        ranking = self.ranking_options or SearchRankingBody()
        return Query(
            texts=(self.query,) if isinstance(self.query, str) else tuple(dict.fromkeys(self.query)),
            limit=self.max_num_results or DEFAULT_RESULTS,
            score_threshold=ranking.score_threshold or 0.0,
            filter=self.filters.to_domain() if self.filters else None,
            rerank=ranking.ranker != "none",
            rewrite=bool(self.rewrite_query),
            quotes=False,  # the answer has no place for them
        )


def _conditions(body: FilterBody) -> int:
    """How many there are in a filter, those that hold others included."""
    return 1 + sum(map(_conditions, body.filters)) if isinstance(body, CompoundBody) else 1


def _chunking(body: ChunkingBody | None) -> Chunking | None:
    return None if body is None else body.to_domain()


CompoundBody.model_rebuild()
SearchBody.model_rebuild()
