"""Bodies of runs and of the outputs of their tool calls."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET
from pydantic import Field, model_validator

from locum.api.v2.requests.base import Body, Instructions, Metadata, ModelName, as_sent, id_with, or_unset
from locum.api.v2.requests.messages import Messages
from locum.api.v2.requests.sampling import Effort, ResponseFormat, Temperature, TopP, format_of
from locum.api.v2.requests.threads import ThreadBody
from locum.api.v2.requests.tool_resources import ToolResourcesBody, new_stores_of, resources_of
from locum.api.v2.requests.tools import ToolChoice, Tools, tools_of
from locum.api.validation import missing
from locum.domain.runs import TruncationStrategy
from locum.services.params import NewRun, NewThread

Budget = Annotated[int, Field(ge=256)]


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


class _RunSettings(Body):
    assistant_id: Annotated[str, id_with("asst")]
    model: ModelName | None = None
    instructions: Instructions | None = None
    tools: Tools | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    max_prompt_tokens: Budget | None = None
    max_completion_tokens: Budget | None = None
    truncation_strategy: TruncationBody | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Effort | None = None

    def to_params(self) -> NewRun:
        return NewRun(
            assistant_id=self.assistant_id,
            model=or_unset(self.model),
            instructions=or_unset(self.instructions),
            tools=UNSET if self.tools is None else tools_of(self.tools),
            metadata=self.metadata or {},
            temperature=or_unset(self.temperature),
            top_p=or_unset(self.top_p),
            response_format=format_of(self.response_format),
            reasoning_effort=or_unset(self.reasoning_effort),
            tool_choice=as_sent(self.tool_choice) or "auto",
            parallel_tool_calls=self.parallel_tool_calls is not False,
            truncation_strategy=(self.truncation_strategy or TruncationBody(type="auto")).to_domain(),
            max_prompt_tokens=self.max_prompt_tokens,
            max_completion_tokens=self.max_completion_tokens,
        )


class RunBody(_RunSettings):
    """`POST /threads/{thread_id}/runs`"""

    additional_instructions: Instructions | None = None
    additional_messages: Messages | None = None

    def to_params(self) -> NewRun:
        return msgspec.structs.replace(
            super().to_params(),
            additional_instructions=self.additional_instructions,
            additional_messages=tuple(message.to_params() for message in self.additional_messages or ()),
        )


class ThreadAndRunBody(_RunSettings):
    """`POST /threads/runs`"""

    thread: ThreadBody | None = None
    tool_resources: ToolResourcesBody | None = None

    def to_params(self) -> NewRun:
        return msgspec.structs.replace(
            super().to_params(),
            tool_resources=resources_of(self.tool_resources),
            new_stores=new_stores_of(self.tool_resources),
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
        return tuple((output.tool_call_id, output.output or "") for output in self.tool_outputs)
