"""Settings of assistants and runs that the model is given: sampling, effort, the form of its answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UnsetType
from pydantic import Field, Tag, model_validator

from locum.api.v2.requests.base import Body, as_sent, string_or_other
from locum.api.validation import OTHER, STRING, missing

Temperature = Annotated[float, Field(ge=0.0, le=2.0)]
TopP = Annotated[float, Field(ge=0.0, le=1.0)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ResponseFormatBody(Body):
    """Handed to the model as it came."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _schema_is_named(self) -> ResponseFormatBody:
        if self.type == "json_schema" and self.json_schema is None:
            raise missing("json_schema")
        if self.json_schema is not None and "name" not in self.json_schema:
            raise missing("json_schema.name")
        return self


ResponseFormat = Annotated[
    Annotated[Literal["auto", "none"], Tag(STRING)] | Annotated[ResponseFormatBody, Tag(OTHER)], string_or_other
]


def format_of(value: str | Body | None) -> str | dict[str, Any] | UnsetType:
    """Read `none`, which only the first v2 clients send, as `auto`."""
    return "auto" if value == "none" else as_sent(value)
