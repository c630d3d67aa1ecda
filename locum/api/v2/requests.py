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
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from locum.api.validation import OTHER, STORES_PER_OBJECT, STRING, missing, tag, wrong_prefix
from locum.domain import search
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
from locum.domain.runs import TruncationStrategy
from locum.domain.tools import (
    CodeInterpreterResources,
    CodeInterpreterTool,
    FileSearchOptions,
    FileSearchTool,
    FunctionDefinition,
    FunctionTool,
    RankingOptions,
    Tool,
    ToolResources,
)
from locum.domain.vector_stores import MAX_CHUNK_TOKENS, MAX_FILES, MIN_CHUNK_TOKENS, Chunking
from locum.services.params import (
    AssistantParams,
    NewMessage,
    NewRun,
    NewThread,
    NewVectorStore,
    NewVectorStoreFile,
    ThreadChanges,
)

T = TypeVar("T")

MAX_TEXT = 256_000
MAX_TOOLS = 128


class Body(BaseModel):
    """Strict: a number is no string. Unknown keys are errors, as in the hosted API."""

    # Deferred: a validator is built when its first request comes; all of them take 60 ms of a start.
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


def id_with(*prefixes: str) -> AfterValidator:
    def check(value: str) -> str:
        if not value.startswith(prefixes):
            raise wrong_prefix(prefixes[0])
        return value

    return AfterValidator(check)


def canonical(value: object) -> object:
    """Azure's own samples write `code-interpreter` and `code interpreter`."""
    return "code_interpreter" if value in ("code-interpreter", "code interpreter") else value


def _kind(*known: str) -> Discriminator:
    """Which of the known types an object says it is; any other is one that no type fits."""

    def choose(value: object) -> str:
        said = canonical(value.get("type")) if isinstance(value, dict) else None
        return tag(said) if isinstance(said, str) and said in known else OTHER

    return Discriminator(choose)


def _image_address(value: str) -> str:
    """Only what a model server can open: its content is never fetched from here. An address without blanks, or those
    who repeat it in their errors would seem to say what stands behind one."""
    is_one = value.isprintable() and " " not in value
    if not is_one or not value.startswith(("http://", "https://", "data:image/")):
        raise PydanticCustomError(
            "invalid", "Expected a base64-encoded data URL with an image MIME type or a valid URL"
        )
    return value


FileId = Annotated[str, id_with("file", "assistant")]
VectorStoreId = Annotated[str, id_with("vs")]
ModelName = Annotated[str, Field(min_length=1, max_length=512)]
MessageText = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Instructions = Annotated[str, Field(max_length=MAX_TEXT)]
Temperature = Annotated[float, Field(ge=0.0, le=2.0)]
TopP = Annotated[float, Field(ge=0.0, le=1.0)]
_Detail = Literal["auto", "low", "high"]
_Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Budget = Annotated[int, Field(ge=256)]
_FunctionName = Annotated[str, Field(max_length=64, pattern="^[a-zA-Z0-9_-]+$")]
_CodeInterpreter = Annotated[Literal["code_interpreter"], BeforeValidator(canonical)]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
_string_or_other = Discriminator(lambda value: STRING if isinstance(value, str) else OTHER)


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
        said = self.file_search or FileSearchOptionsBody()
        ranking = RankingOptions(**said.ranking_options.model_dump()) if said.ranking_options else None
        options = FileSearchOptions(max_num_results=said.max_num_results, ranking_options=ranking)
        return FileSearchTool(file_search=None if options == FileSearchOptions() else options)


class _Unknown(Body):
    """The member of a union for a type that no other member has: it exists for the words of the refusal."""

    model_config = ConfigDict(extra="ignore", strict=True)


class UnknownToolBody(_Unknown):
    type: Annotated[Literal["code_interpreter", "function", "file_search"], BeforeValidator(canonical)]


ToolBody = Annotated[
    Annotated[CodeInterpreterToolBody, Tag(tag("code_interpreter"))]
    | Annotated[FunctionToolBody, Tag(tag("function"))]
    | Annotated[FileSearchToolBody, Tag(tag("file_search"))]
    | Annotated[UnknownToolBody, Tag(OTHER)],
    _kind("code_interpreter", "function", "file_search"),
]
_Tools = Annotated[list[ToolBody], Field(max_length=MAX_TOOLS, fail_fast=True)]


class CodeInterpreterFiles(Body):
    file_ids: Annotated[list[FileId], Field(max_length=20)] | None = None


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


class UnknownChunkingBody(_Unknown):
    type: Literal["auto", "static"]

    def to_domain(self) -> Chunking:
        raise AssertionError("refused before")


ChunkingBody = Annotated[
    Annotated[AutoChunkingBody, Tag(tag("auto"))]
    | Annotated[StaticChunkingBody, Tag(tag("static"))]
    | Annotated[UnknownChunkingBody, Tag(OTHER)],
    _kind("auto", "static"),
]


class VectorStoreOfObject(Body):
    """A store that is described along with the assistant or thread it is for."""

    file_ids: Annotated[list[FileId], Field(max_length=MAX_FILES, fail_fast=True)] | None = None
    chunking_strategy: ChunkingBody | None = None
    metadata: Metadata | None = None

    def to_params(self) -> NewVectorStore:
        chunking = self.chunking_strategy.to_domain() if self.chunking_strategy else None
        files = tuple(NewVectorStoreFile(file_id=each, chunking=chunking) for each in self.file_ids or ())
        return NewVectorStore(files=files, metadata=self.metadata or {})


def _as_many_as_allowed(value: list[T], info: ValidationInfo) -> list[T]:
    most = (info.context or {}).get(STORES_PER_OBJECT, 1)
    if len(value) > most:
        raise PydanticKnownError("too_long", {"field_type": "List", "max_length": most, "actual_length": len(value)})
    return value


class FileSearchStores(Body):
    """Some clients always send the keys; empty they ask for nothing."""

    vector_store_ids: Annotated[list[VectorStoreId], AfterValidator(_as_many_as_allowed)] | None = None
    vector_stores: Annotated[list[VectorStoreOfObject], AfterValidator(_as_many_as_allowed)] | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> FileSearchStores:
        if self.vector_store_ids and self.vector_stores:
            raise PydanticCustomError("both", "'vector_store_ids' and 'vector_stores' cannot be given together")
        return self


class ToolResourcesBody(Body):
    """`tool_resources`, of assistants, threads and create_and_run."""

    code_interpreter: CodeInterpreterFiles | None = None
    file_search: FileSearchStores | None = None

    @model_validator(mode="before")
    @classmethod
    def _canonical_keys(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {canonical(key): each for key, each in value.items()}

    def to_domain(self) -> ToolResources:
        resources = ToolResources()
        if self.code_interpreter is not None:
            file_ids = tuple(self.code_interpreter.file_ids or ())
            resources = ToolResources(code_interpreter=CodeInterpreterResources(file_ids=file_ids))
        if self.file_search is not None and self.file_search.vector_store_ids:
            resources = resources.with_vector_stores(tuple(dict.fromkeys(self.file_search.vector_store_ids)))
        return resources

    def new_stores(self) -> tuple[NewVectorStore, ...]:
        """The stores it describes."""
        described = (self.file_search and self.file_search.vector_stores) or ()
        return tuple(each.to_params() for each in described)


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
    Annotated[Literal["auto", "none"], Tag(STRING)] | Annotated[ResponseFormatBody, Tag(OTHER)], _string_or_other
]


class FunctionChoice(Body):
    name: str


class FunctionChoiceBody(Body):
    type: Literal["function"]
    function: FunctionChoice


class HostedChoiceBody(Body):
    type: Annotated[Literal["code_interpreter", "file_search"], BeforeValidator(canonical)]


class UnknownChoiceBody(_Unknown):
    type: Annotated[Literal["code_interpreter", "function", "file_search"], BeforeValidator(canonical)]


_ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(STRING)]
    | Annotated[FunctionChoiceBody, Tag(tag("function"))]
    | Annotated[HostedChoiceBody, Tag(tag("code_interpreter"))]
    | Annotated[HostedChoiceBody, Tag(tag("file_search"))]
    | Annotated[UnknownChoiceBody, Tag(OTHER)],
    Discriminator(lambda value: STRING if isinstance(value, str) else _choice_kind(value)),
]


def _choice_kind(value: object) -> str:
    said = canonical(value.get("type")) if isinstance(value, dict) else None
    return tag(said) if said in ("function", "code_interpreter", "file_search") else OTHER


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

    model: ModelName | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    description: Annotated[str, Field(max_length=512)] | None = None
    instructions: Instructions | None = None
    tools: _Tools | None = None
    tool_resources: ToolResourcesBody | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: _Effort | None = None

    def to_params(self) -> AssistantParams:
        cleared = {name: getattr(_CLEARED, name) for name in self.model_fields_set if getattr(self, name) is None}
        return msgspec.structs.replace(_assistant_params(self), **cleared)


class AssistantBody(AssistantChanges):
    """`POST /assistants`"""

    model: ModelName

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


class SearchedAttachmentBody(Body):
    type: Literal["file_search"]

    def to_domain(self) -> FileSearchTool:
        return FileSearchTool()


class UnknownAttachmentToolBody(_Unknown):
    type: Annotated[Literal["code_interpreter", "file_search"], BeforeValidator(canonical)]


AttachmentToolBody = Annotated[
    Annotated[CodeInterpreterToolBody, Tag(tag("code_interpreter"))]
    | Annotated[SearchedAttachmentBody, Tag(tag("file_search"))]
    | Annotated[UnknownAttachmentToolBody, Tag(OTHER)],
    _kind("code_interpreter", "file_search"),
]


class AttachmentBody(Body):
    file_id: FileId
    tools: Annotated[list[AttachmentToolBody], Field(fail_fast=True)] | None = None

    def to_domain(self) -> Attachment:
        known = (each for each in self.tools or () if not isinstance(each, UnknownAttachmentToolBody))
        return Attachment(file_id=self.file_id, tools=tuple(dict.fromkeys(each.to_domain() for each in known)))


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


class UnknownPartBody(_Unknown):
    type: Literal["text", "image_url", "image_file"]


PartBody = Annotated[
    Annotated[TextPartBody, Tag(tag("text"))]
    | Annotated[ImageURLPartBody, Tag(tag("image_url"))]
    | Annotated[ImageFilePartBody, Tag(tag("image_file"))]
    | Annotated[UnknownPartBody, Tag(OTHER)],
    _kind("text", "image_url", "image_file"),
]
_Parts = Annotated[list[PartBody], Field(min_length=1, fail_fast=True)]


class MessageBody(Body):
    """`POST /threads/{thread_id}/messages`, and messages inside other bodies."""

    role: Literal["user", "assistant"]
    content: Annotated[Annotated[MessageText, Tag(STRING)] | Annotated[_Parts, Tag(OTHER)], _string_or_other]
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
            attachments=tuple(each.to_domain() for each in self.attachments or ()),
            file_ids=tuple(self.file_ids or ()),
            metadata=self.metadata or {},
        )


_Messages = Annotated[list[MessageBody], Field(fail_fast=True)]


class ThreadBody(Body):
    """`POST /threads`"""

    messages: _Messages | None = None
    tool_resources: ToolResourcesBody | None = None
    metadata: Metadata | None = None

    def to_params(self) -> NewThread:
        return NewThread(
            messages=tuple(each.to_params() for each in self.messages or ()),
            tool_resources=_resources(self.tool_resources),
            new_stores=_new_stores(self.tool_resources),
            metadata=self.metadata or {},
        )


class ThreadChangesBody(Body):
    """`POST /threads/{thread_id}`"""

    tool_resources: ToolResourcesBody | None = None
    metadata: Metadata | None = None

    def to_params(self) -> ThreadChanges:
        said = self.model_fields_set
        return ThreadChanges(
            tool_resources=_resources(self.tool_resources) if "tool_resources" in said else UNSET,
            new_stores=_new_stores(self.tool_resources),
            metadata=self.metadata or {} if "metadata" in said else UNSET,
        )


class MetadataBody(Body):
    """`POST` on a message or a run: nothing else of them changes."""

    metadata: Metadata | None = None

    def to_params(self) -> dict[str, str] | UnsetType:
        return self.metadata or {} if "metadata" in self.model_fields_set else UNSET


class _RunSettings(Body):
    assistant_id: Annotated[str, id_with("asst")]
    model: ModelName | None = None
    instructions: Instructions | None = None
    tools: _Tools | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    max_prompt_tokens: Budget | None = None
    max_completion_tokens: Budget | None = None
    truncation_strategy: TruncationBody | None = None
    tool_choice: _ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
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
            response_format=_format(self.response_format),
            reasoning_effort=_said(self.reasoning_effort),
            tool_choice=_as_given(self.tool_choice) or "auto",
            parallel_tool_calls=self.parallel_tool_calls is not False,
            truncation_strategy=(self.truncation_strategy or TruncationBody(type="auto")).to_domain(),
            max_prompt_tokens=self.max_prompt_tokens,
            max_completion_tokens=self.max_completion_tokens,
        )


class RunBody(_RunSettings):
    """`POST /threads/{thread_id}/runs`"""

    additional_instructions: Instructions | None = None
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
        return msgspec.structs.replace(
            super().to_params(),
            tool_resources=_resources(self.tool_resources),
            new_stores=_new_stores(self.tool_resources),
        )

    def to_thread(self) -> NewThread:
        return (self.thread or ThreadBody()).to_params()


class ToolOutputBody(Body):
    """`output` may be left out: a function that returns nothing."""

    tool_call_id: str
    output: str | None = None


class ToolOutputsBody(Body):
    """`POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs`"""

    tool_outputs: Annotated[list[ToolOutputBody], Field(fail_fast=True)]
    stream: bool | None = None

    def to_params(self) -> tuple[tuple[str, str], ...]:
        return tuple((each.tool_call_id, each.output or "") for each in self.tool_outputs)


def _assistant_params(body: AssistantChanges) -> AssistantParams:
    return AssistantParams(
        model=_said(body.model),
        name=_said(body.name),
        description=_said(body.description),
        instructions=_said(body.instructions),
        tools=UNSET if body.tools is None else _tools(body.tools),
        tool_resources=UNSET if body.tool_resources is None else body.tool_resources.to_domain(),
        new_stores=_new_stores(body.tool_resources),
        metadata=_said(body.metadata),
        temperature=_said(body.temperature),
        top_p=_said(body.top_p),
        response_format=_format(body.response_format),
        reasoning_effort=_said(body.reasoning_effort),
    )


def _said(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value


def _format(value: str | Body | None) -> str | dict[str, Any] | UnsetType:
    """`none` is what the first v2 clients called `auto`; later ones do not know it."""
    return "auto" if value == "none" else _as_given(value)


def _as_given(value: str | Body | None) -> str | dict[str, Any] | UnsetType:
    """A string, or the object with the keys it came with."""
    if value is None:
        return UNSET
    return value if isinstance(value, str) else value.model_dump(exclude_unset=True)


def _tools(tools: list[ToolBody]) -> tuple[Tool, ...]:
    """A hosted tool that is named twice is there once: the first counts."""
    kept: list[Tool] = []
    for body in tools:
        if isinstance(body, UnknownToolBody):
            continue
        tool = body.to_domain()
        if isinstance(tool, FunctionTool) or type(tool) not in map(type, kept):
            kept.append(tool)
    return tuple(kept)


def _resources(body: ToolResourcesBody | None) -> ToolResources:
    return ToolResources() if body is None else body.to_domain()


def _new_stores(body: ToolResourcesBody | None) -> tuple[NewVectorStore, ...]:
    return () if body is None else body.new_stores()
