"""Request bodies of v2, and what they mean to the services.

Hosted clients send explicit nulls on create and run: null means absent there. On an update it clears.
What the hosted API knows and Locum does not serve yet is refused by name where ignoring it would change the answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from locum.api.validation import OTHER, STRING, missing, not_served, wrong_prefix
from locum.domain.messages import Attachment
from locum.domain.runs import TruncationStrategy
from locum.domain.tools import CodeInterpreterResources, CodeInterpreterTool, Tool, ToolResources
from locum.services.params import AssistantParams, NewMessage, NewRun, NewThread, ThreadChanges

T = TypeVar("T")

MAX_TEXT = 256_000
MAX_TOOLS = 128


class Body(BaseModel):
    """Strict: a number is no string. Unknown keys are errors, as in the hosted API."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _id(*prefixes: str) -> AfterValidator:
    def check(value: str) -> str:
        if not value.startswith(prefixes):
            raise wrong_prefix(prefixes[0])
        return value

    return AfterValidator(check)


def _canonical(value: object) -> object:
    """Azure's own samples write `code-interpreter` and `code interpreter`."""
    return "code_interpreter" if value in ("code-interpreter", "code interpreter") else value


def _only_code_interpreter(value: str) -> str:
    if value != "code_interpreter":
        raise not_served({"function": "function tools", "file_search": "file_search tools"}[value])
    return value


def _only_text(value: str) -> str:
    if value != "text":
        raise not_served("image parts")
    return value


def _empty(value: dict[str, Any]) -> None:
    """Some clients always send the key; empty it asks for nothing."""
    if any(value.values()):
        raise not_served("file_search resources")


def _no_budget(_: int) -> int:
    raise not_served("token budgets")


_FileId = Annotated[str, _id("file", "assistant")]
_Model = Annotated[str, Field(min_length=1)]
_Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
_Instructions = Annotated[str, Field(max_length=MAX_TEXT)]
_Temperature = Annotated[float, Field(ge=0.0, le=2.0)]
_TopP = Annotated[float, Field(ge=0.0, le=1.0)]
_Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
_Budget = Annotated[int, Field(ge=256), AfterValidator(_no_budget)]
_ToolType = Annotated[
    Literal["code_interpreter", "function", "file_search"],
    BeforeValidator(_canonical),
    AfterValidator(_only_code_interpreter),
]
_Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
_string_or_other = Discriminator(lambda value: STRING if isinstance(value, str) else OTHER)


class ToolBody(Body):
    """A tool. `function` and `file_search` are known, so that the refusal names the type and not them."""

    type: _ToolType
    function: Any = None
    file_search: Any = None


_Tools = Annotated[list[ToolBody], Field(max_length=MAX_TOOLS, fail_fast=True)]


class CodeInterpreterFiles(Body):
    file_ids: Annotated[list[_FileId], Field(max_length=20)] | None = None


class ToolResourcesBody(Body):
    """`tool_resources`, of assistants, threads and create_and_run."""

    code_interpreter: CodeInterpreterFiles | None = None
    file_search: Annotated[dict[str, Any], AfterValidator(_empty)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _canonical_keys(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {_canonical(key): each for key, each in value.items()}

    def to_domain(self) -> ToolResources:
        if self.code_interpreter is None:
            return ToolResources()
        file_ids = tuple(self.code_interpreter.file_ids or ())
        return ToolResources(code_interpreter=CodeInterpreterResources(file_ids=file_ids))


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


_ResponseFormat = Annotated[
    Annotated[Literal["auto", "none"], Tag(STRING)] | Annotated[ResponseFormatBody, Tag(OTHER)], _string_or_other
]


class ToolChoiceBody(Body):
    type: _ToolType
    function: Any = None


_ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(STRING)] | Annotated[ToolChoiceBody, Tag(OTHER)],
    _string_or_other,
]


class TruncationBody(Body):
    type: Literal["auto", "last_messages"]
    last_messages: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None

    @model_validator(mode="after")
    def _last_messages_has_a_number(self) -> TruncationBody:
        if self.type == "last_messages" and self.last_messages is None:
            raise missing("last_messages")
        return self

    def to_domain(self) -> TruncationStrategy:
        last_messages = self.last_messages if self.type == "last_messages" else None
        return TruncationStrategy(type=self.type, last_messages=last_messages)


class AssistantChanges(Body):
    """`POST /assistants/{assistant_id}`"""

    model: _Model | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    description: Annotated[str, Field(max_length=512)] | None = None
    instructions: _Instructions | None = None
    tools: _Tools | None = None
    tool_resources: ToolResourcesBody | None = None
    metadata: _Metadata | None = None
    temperature: _Temperature | None = None
    top_p: _TopP | None = None
    response_format: _ResponseFormat | None = None
    reasoning_effort: _Effort | None = None

    def to_params(self) -> AssistantParams:
        cleared = {name: getattr(_CLEARED, name) for name in self.model_fields_set if getattr(self, name) is None}
        return msgspec.structs.replace(_assistant_params(self), **cleared)


class AssistantBody(AssistantChanges):
    """`POST /assistants`"""

    model: _Model

    def to_params(self) -> AssistantParams:
        return _assistant_params(self)


_CLEARED = AssistantParams(
    name=None,
    description=None,
    instructions=None,
    tools=(),
    tool_resources=ToolResources(),
    metadata={},
    temperature=None,
    top_p=None,
    response_format="auto",
    reasoning_effort=None,
)
"""What null means on an update. An assistant always has a model: null leaves it."""


class AttachmentBody(Body):
    file_id: _FileId
    tools: _Tools | None = None

    def to_domain(self) -> Attachment:
        return Attachment(file_id=self.file_id, tools=_tools(self.tools or []))


class PartBody(Body):
    """A content part. The image keys are known, so that the refusal names the type and not them."""

    type: Annotated[Literal["text", "image_url", "image_file"], AfterValidator(_only_text)]
    text: _Text
    image_url: Any = None
    image_file: Any = None


_Parts = Annotated[list[PartBody], Field(min_length=1, fail_fast=True)]


class MessageBody(Body):
    """`POST /threads/{thread_id}/messages`, and messages inside other bodies."""

    role: Literal["user", "assistant"]
    content: Annotated[Annotated[_Text, Tag(STRING)] | Annotated[_Parts, Tag(OTHER)], _string_or_other]
    attachments: Annotated[list[AttachmentBody], Field(fail_fast=True)] | None = None
    file_ids: Annotated[list[_FileId], Field(fail_fast=True)] | None = None
    """A v1 key that 2024-05-01-preview clients send: attachments for the code interpreter."""
    metadata: _Metadata | None = None

    def to_params(self) -> NewMessage:
        texts = (self.content,) if isinstance(self.content, str) else tuple(part.text for part in self.content)
        attachments = tuple(each.to_domain() for each in self.attachments or ())
        by_id = tuple(Attachment(file_id=each, tools=(CodeInterpreterTool(),)) for each in self.file_ids or ())
        return NewMessage(role=self.role, texts=texts, attachments=attachments + by_id, metadata=self.metadata or {})


_Messages = Annotated[list[MessageBody], Field(fail_fast=True)]


class ThreadBody(Body):
    """`POST /threads`"""

    messages: _Messages | None = None
    tool_resources: ToolResourcesBody | None = None
    metadata: _Metadata | None = None

    def to_params(self) -> NewThread:
        return NewThread(
            messages=tuple(each.to_params() for each in self.messages or ()),
            tool_resources=_resources(self.tool_resources),
            metadata=self.metadata or {},
        )


class ThreadChangesBody(Body):
    """`POST /threads/{thread_id}`"""

    tool_resources: ToolResourcesBody | None = None
    metadata: _Metadata | None = None

    def to_params(self) -> ThreadChanges:
        said = self.model_fields_set
        return ThreadChanges(
            tool_resources=_resources(self.tool_resources) if "tool_resources" in said else UNSET,
            metadata=self.metadata or {} if "metadata" in said else UNSET,
        )


class MetadataBody(Body):
    """`POST` on a message or a run: nothing else of them changes."""

    metadata: _Metadata | None = None

    def to_params(self) -> dict[str, str] | UnsetType:
        return self.metadata or {} if "metadata" in self.model_fields_set else UNSET


class _RunSettings(Body):
    assistant_id: Annotated[str, _id("asst")]
    model: _Model | None = None
    instructions: _Instructions | None = None
    tools: _Tools | None = None
    metadata: _Metadata | None = None
    temperature: _Temperature | None = None
    top_p: _TopP | None = None
    stream: bool | None = None
    max_prompt_tokens: _Budget | None = None
    max_completion_tokens: _Budget | None = None
    truncation_strategy: TruncationBody | None = None
    tool_choice: _ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: _ResponseFormat | None = None
    reasoning_effort: _Effort | None = None

    def to_params(self) -> NewRun:
        return NewRun(
            assistant_id=self.assistant_id,
            model=_said(self.model),
            instructions=_said(self.instructions),
            tools=UNSET if self.tools is None else _tools(self.tools),
            metadata=self.metadata or {},
            temperature=_said(self.temperature),
            top_p=_said(self.top_p),
            response_format=_as_given(self.response_format),
            reasoning_effort=_said(self.reasoning_effort),
            tool_choice=_as_given(self.tool_choice) or "auto",
            parallel_tool_calls=self.parallel_tool_calls is not False,
            truncation_strategy=(self.truncation_strategy or TruncationBody(type="auto")).to_domain(),
        )


class RunBody(_RunSettings):
    """`POST /threads/{thread_id}/runs`"""

    additional_instructions: _Instructions | None = None
    additional_messages: _Messages | None = None

    def to_params(self) -> NewRun:
        return msgspec.structs.replace(
            super().to_params(),
            additional_instructions=self.additional_instructions,
            additional_messages=tuple(each.to_params() for each in self.additional_messages or ()),
        )


class ThreadAndRunBody(_RunSettings):
    """`POST /threads/runs`"""

    thread: ThreadBody | None = None
    tool_resources: ToolResourcesBody | None = None

    def to_params(self) -> NewRun:
        return msgspec.structs.replace(super().to_params(), tool_resources=_resources(self.tool_resources))

    def to_thread(self) -> NewThread:
        return (self.thread or ThreadBody()).to_params()


def _assistant_params(body: AssistantChanges) -> AssistantParams:
    return AssistantParams(
        model=_said(body.model),
        name=_said(body.name),
        description=_said(body.description),
        instructions=_said(body.instructions),
        tools=UNSET if body.tools is None else _tools(body.tools),
        tool_resources=UNSET if body.tool_resources is None else body.tool_resources.to_domain(),
        metadata=_said(body.metadata),
        temperature=_said(body.temperature),
        top_p=_said(body.top_p),
        response_format=_as_given(body.response_format),
        reasoning_effort=_said(body.reasoning_effort),
    )


def _said(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value


def _as_given(value: str | Body | None) -> str | dict[str, Any] | UnsetType:
    """A string, or the object with the keys it came with."""
    if value is None:
        return UNSET
    return value if isinstance(value, str) else value.model_dump(exclude_unset=True)


def _tools(tools: list[ToolBody]) -> tuple[Tool, ...]:
    """A hosted tool that is named twice is there once."""
    return (CodeInterpreterTool(),) if tools else ()


def _resources(body: ToolResourcesBody | None) -> ToolResources:
    return ToolResources() if body is None else body.to_domain()
