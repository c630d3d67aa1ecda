"""Request bodies of v1. Each is what v2 says, less v2's own keys, with `file_ids` and `retrieval` in v1's places.

What a body means is said once, in v2: a v1 body only finds the v2 body that says the same.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, Discriminator, Field, Tag

from locum.api.v1 import retrieval
from locum.api.v2 import requests as v2
from locum.api.validation import OTHER, STRING, tag
from locum.domain.tools import Tool, ToolResources
from locum.services.params import AssistantParams, NewMessage, NewRun, NewThread, ThreadChanges

B = TypeVar("B", bound=BaseModel)

_MEMBERS = {each: tag(each) for each in ("code_interpreter", "function")} | {retrieval.V1: tag(retrieval.V2)}


class _Body(v2.Body):
    """A body that v2 has too."""

    def _in_v2(self, body: type[B]) -> B:
        """The same, said in v2; keys that v2 lacks are left out."""
        said = self.model_fields_set & body.model_fields.keys()
        return body.model_construct(**{name: getattr(self, name) for name in said})


def _kind(value: object) -> str:
    """Which of v1's types an object says it is; any other is one that no type fits."""
    said = v2.canonical(value.get("type")) if isinstance(value, dict) else None
    return _MEMBERS.get(said, OTHER) if isinstance(said, str) else OTHER


class RetrievalToolBody(v2.Body):
    type: Literal["retrieval"]

    def to_domain(self) -> Tool:
        return v2.FileSearchToolBody(type=retrieval.V2).to_domain()


class UnknownToolBody(v2.UnknownToolBody):
    type: Annotated[  # type: ignore[assignment]
        Literal["code_interpreter", "function", "retrieval"], BeforeValidator(v2.canonical)
    ]


ToolBody = Annotated[
    Annotated[v2.CodeInterpreterToolBody, Tag(tag("code_interpreter"))]
    | Annotated[v2.FunctionToolBody, Tag(tag("function"))]
    | Annotated[RetrievalToolBody, Tag(tag(retrieval.V2))]
    | Annotated[UnknownToolBody, Tag(OTHER)],
    Discriminator(_kind),
]
_Tools = Annotated[list[ToolBody], Field(max_length=v2.MAX_TOOLS, fail_fast=True)]


class RetrievalChoiceBody(v2.Body):
    """Holds v2's word once it is read."""

    type: Annotated[Literal["retrieval"], AfterValidator(lambda _: retrieval.V2)]


class UnknownChoiceBody(v2.UnknownChoiceBody):
    type: Annotated[  # type: ignore[assignment]
        Literal["function", "code_interpreter", "retrieval"], BeforeValidator(v2.canonical)
    ]


_ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(STRING)]
    | Annotated[v2.FunctionChoiceBody, Tag(tag("function"))]
    | Annotated[v2.HostedChoiceBody, Tag(tag("code_interpreter"))]
    | Annotated[RetrievalChoiceBody, Tag(tag(retrieval.V2))]
    | Annotated[UnknownChoiceBody, Tag(OTHER)],
    Discriminator(lambda value: STRING if isinstance(value, str) else _kind(value)),
]


class AssistantChanges(_Body):
    """`POST /assistants/{assistant_id}`"""

    model: v2.ModelName | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    description: Annotated[str, Field(max_length=512)] | None = None
    instructions: v2.Instructions | None = None
    tools: _Tools | None = None
    file_ids: Annotated[list[v2.FileId], Field(max_length=20, fail_fast=True)] | None = None
    metadata: v2.Metadata | None = None
    temperature: v2.Temperature | None = None
    top_p: v2.TopP | None = None
    response_format: v2.ResponseFormat | None = None

    def to_params(self) -> AssistantParams:
        """Files are kept for the code interpreter, whether the assistant has that tool already or not, and are shared
        with file search once it has that."""
        shares_files = not self.model_fields_set.isdisjoint(("file_ids", "tools"))
        params = msgspec.structs.replace(self._in_v2(v2.AssistantChanges).to_params(), shares_files=shares_files)
        if "file_ids" not in self.model_fields_set:
            return params
        resources = ToolResources()
        if self.file_ids:
            resources = resources.with_code_interpreter_files(tuple(self.file_ids))
        return msgspec.structs.replace(params, tool_resources=resources)


class AssistantBody(AssistantChanges):
    """`POST /assistants`. What null clears on an update is what a new assistant has anyway."""

    model: v2.ModelName


class AssistantFileBody(v2.Body):
    """`POST /assistants/{assistant_id}/files`"""

    file_id: v2.FileId


class MessageBody(_Body):
    """`POST /threads/{thread_id}/messages`, and messages inside other bodies. `file_ids` may be empty: that was the
    documented default, and clients sent it."""

    role: Literal["user", "assistant"]
    content: v2.MessageText
    file_ids: Annotated[list[v2.FileId], Field(max_length=10, fail_fast=True)] | None = None
    metadata: v2.Metadata | None = None

    def to_params(self) -> NewMessage:
        return self._in_v2(v2.MessageBody).to_params()


_Messages = Annotated[list[MessageBody], Field(fail_fast=True)]


class ThreadBody(_Body):
    """`POST /threads`"""

    messages: _Messages | None = None
    metadata: v2.Metadata | None = None

    def to_params(self) -> NewThread:
        return self._in_v2(v2.ThreadBody).to_params()


class ThreadChangesBody(_Body):
    """`POST /threads/{thread_id}`"""

    metadata: v2.Metadata | None = None

    def to_params(self) -> ThreadChanges:
        return self._in_v2(v2.ThreadChangesBody).to_params()


class _RunSettings(_Body):
    assistant_id: Annotated[str, v2.id_with("asst")]
    model: v2.ModelName | None = None
    instructions: v2.Instructions | None = None
    tools: _Tools | None = None
    metadata: v2.Metadata | None = None
    temperature: v2.Temperature | None = None
    top_p: v2.TopP | None = None
    stream: bool | None = None
    max_prompt_tokens: v2.Budget | None = None
    max_completion_tokens: v2.Budget | None = None
    truncation_strategy: v2.TruncationBody | None = None
    tool_choice: _ToolChoice | None = None
    response_format: v2.ResponseFormat | None = None


class RunBody(_RunSettings):
    """`POST /threads/{thread_id}/runs`"""

    additional_instructions: v2.Instructions | None = None
    additional_messages: _Messages | None = None

    def to_params(self) -> NewRun:
        return self._in_v2(v2.RunBody).to_params()


class ThreadAndRunBody(_RunSettings):
    """`POST /threads/runs`"""

    thread: ThreadBody | None = None

    def to_params(self) -> NewRun:
        return self._in_v2(v2.ThreadAndRunBody).to_params()

    def to_thread(self) -> NewThread:
        return (self.thread or ThreadBody()).to_params()
