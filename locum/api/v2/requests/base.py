"""Rules that bodies of several nouns share."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from msgspec import UNSET, UnsetType
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field

from locum.api.validation import OTHER, STRING, tag, wrong_prefix

T = TypeVar("T")

MAX_TEXT = 256_000


class Body(BaseModel):
    """Strict: a number is no string. Unknown keys are errors, as in the hosted API."""

    # Deferred: a validator is built when its first request comes; all of them take 60 ms of a start.
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class Unknown(Body):
    """The member of a union for a type that no other member has: it exists for the words of the refusal."""

    model_config = ConfigDict(extra="ignore", strict=True)


def id_with(*prefixes: str) -> AfterValidator:
    def check(value: str) -> str:
        if not value.startswith(prefixes):
            raise wrong_prefix(prefixes[0])
        return value

    return AfterValidator(check)


def canonical(value: object) -> object:
    """Azure's own samples write `code-interpreter` and `code interpreter`."""
    return "code_interpreter" if value in ("code-interpreter", "code interpreter") else value


def kind_of(*known: str) -> Discriminator:
    """Discriminate objects by the `type` they name; an object of another type goes to the member for the refusal."""

    def choose(value: object) -> str:
        type_ = canonical(value.get("type")) if isinstance(value, dict) else None
        return tag(type_) if isinstance(type_, str) and type_ in known else OTHER

    return Discriminator(choose)


string_or_other = Discriminator(lambda value: STRING if isinstance(value, str) else OTHER)

FileId = Annotated[str, id_with("file", "assistant")]
VectorStoreId = Annotated[str, id_with("vs")]
ModelName = Annotated[str, Field(min_length=1, max_length=512)]
MessageText = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Instructions = Annotated[str, Field(max_length=MAX_TEXT)]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class MetadataBody(Body):
    """`POST` on a message or a run: nothing else of them changes."""

    metadata: Metadata | None = None

    def to_params(self) -> dict[str, str] | UnsetType:
        return self.metadata or {} if "metadata" in self.model_fields_set else UNSET


def or_unset(value: T | None) -> T | UnsetType:
    """Null means absent, except on an update."""
    return UNSET if value is None else value


def as_sent(value: str | Body | None) -> str | dict[str, Any] | UnsetType:
    """Return a string, or the object with the keys it came with."""
    if value is None:
        return UNSET
    return value if isinstance(value, str) else value.model_dump(exclude_unset=True)
