"""Tools of assistants and runs, and the choice of one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from locum.api.v2.requests.base import Body, Unknown, canonical, kind_of
from locum.api.validation import OTHER, STRING, tag
from locum.domain import search
from locum.domain.tools import (
    CodeInterpreterTool,
    FileSearchOptions,
    FileSearchTool,
    FunctionDefinition,
    FunctionTool,
    RankingOptions,
    Tool,
)

MAX_TOOLS = 128

_FunctionName = Annotated[str, Field(max_length=64, pattern="^[a-zA-Z0-9_-]+$")]
_CodeInterpreter = Annotated[Literal["code_interpreter"], BeforeValidator(canonical)]


class FunctionBody(Body):
    """A function the caller's program makes; `parameters` is a JSON schema, absent for a function without any."""

    name: _FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionToolBody(Body):
    type: Literal["function"]
    function: FunctionBody

    def to_domain(self) -> Tool:
        return FunctionTool(FunctionDefinition(**self.function.model_dump(exclude_unset=True)))


class CodeInterpreterToolBody(Body):
    type: _CodeInterpreter

    def to_domain(self) -> CodeInterpreterTool:
        return CodeInterpreterTool()


class RankingOptionsBody(Body):
    """One ranker serves both names."""

    ranker: Literal["auto", "default_2024_08_21"] = "auto"
    score_threshold: Annotated[float, Field(ge=0.0, le=1.0)]


class FileSearchOptionsBody(Body):
    max_num_results: Annotated[int, Field(ge=1, le=search.MAX_RESULTS)] | None = None
    ranking_options: RankingOptionsBody | None = None


class FileSearchToolBody(Body):
    type: Literal["file_search"]
    file_search: FileSearchOptionsBody | None = None

    def to_domain(self) -> FileSearchTool:
        options = self.file_search or FileSearchOptionsBody()
        ranking = RankingOptions(**options.ranking_options.model_dump()) if options.ranking_options else None
        chosen = FileSearchOptions(max_num_results=options.max_num_results, ranking_options=ranking)
        return FileSearchTool(file_search=None if chosen == FileSearchOptions() else chosen)


class UnknownToolBody(Unknown):
    type: Annotated[Literal["code_interpreter", "function", "file_search"], BeforeValidator(canonical)]


ToolBody = Annotated[
    Annotated[CodeInterpreterToolBody, Tag(tag("code_interpreter"))]
    | Annotated[FunctionToolBody, Tag(tag("function"))]
    | Annotated[FileSearchToolBody, Tag(tag("file_search"))]
    | Annotated[UnknownToolBody, Tag(OTHER)],
    kind_of("code_interpreter", "function", "file_search"),
]
Tools = Annotated[list[ToolBody], Field(max_length=MAX_TOOLS, fail_fast=True)]


def tools_of(tools: list[ToolBody]) -> tuple[Tool, ...]:
    """Drop repeated hosted tools: the first one counts."""
    kept: list[Tool] = []
    for body in tools:
        if isinstance(body, UnknownToolBody):
            continue
        tool = body.to_domain()
        if isinstance(tool, FunctionTool) or type(tool) not in map(type, kept):
            kept.append(tool)
    return tuple(kept)


class FunctionChoice(Body):
    name: str


class FunctionChoiceBody(Body):
    type: Literal["function"]
    function: FunctionChoice


class HostedChoiceBody(Body):
    type: Annotated[Literal["code_interpreter", "file_search"], BeforeValidator(canonical)]


class UnknownChoiceBody(Unknown):
    type: Annotated[Literal["code_interpreter", "function", "file_search"], BeforeValidator(canonical)]


def _choice_kind(value: object) -> str:
    type_ = canonical(value.get("type")) if isinstance(value, dict) else None
    return tag(type_) if type_ in ("function", "code_interpreter", "file_search") else OTHER


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(STRING)]
    | Annotated[FunctionChoiceBody, Tag(tag("function"))]
    | Annotated[HostedChoiceBody, Tag(tag("code_interpreter"))]
    | Annotated[HostedChoiceBody, Tag(tag("file_search"))]
    | Annotated[UnknownChoiceBody, Tag(OTHER)],
    Discriminator(lambda value: STRING if isinstance(value, str) else _choice_kind(value)),
]
