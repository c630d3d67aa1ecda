"""Bodies of assistants."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET
from pydantic import Field

from locum.api.v2.requests.base import Body, Instructions, Metadata, ModelName, or_unset
from locum.api.v2.requests.sampling import Effort, ResponseFormat, Temperature, TopP, format_of
from locum.api.v2.requests.tool_resources import ToolResourcesBody, new_stores_of
from locum.api.v2.requests.tools import Tools, tools_of
from locum.domain.tools import ToolResources
from locum.services.params import AssistantParams


class AssistantChanges(Body):
    """`POST /assistants/{assistant_id}`"""

    model: ModelName | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    description: Annotated[str, Field(max_length=512)] | None = None
    instructions: Instructions | None = None
    tools: Tools | None = None
    tool_resources: ToolResourcesBody | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Effort | None = None

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
"""The values that null stands for on an update. An assistant always has a model: null leaves it."""


def _assistant_params(body: AssistantChanges) -> AssistantParams:
    return AssistantParams(
        model=or_unset(body.model),
        name=or_unset(body.name),
        description=or_unset(body.description),
        instructions=or_unset(body.instructions),
        tools=UNSET if body.tools is None else tools_of(body.tools),
        tool_resources=UNSET if body.tool_resources is None else body.tool_resources.to_domain(),
        new_stores=new_stores_of(body.tool_resources),
        metadata=or_unset(body.metadata),
        temperature=or_unset(body.temperature),
        top_p=or_unset(body.top_p),
        response_format=format_of(body.response_format),
        reasoning_effort=or_unset(body.reasoning_effort),
    )
