"""Bodies of threads."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET
from pydantic import StringConstraints

from locum.api.v2.requests.base import Body, Metadata, MetadataBody
from locum.api.v2.requests.messages import Messages
from locum.api.v2.requests.tool_resources import ToolResourcesBody, new_stores_of, resources_of
from locum.services.params import NewThread, ThreadChanges


class ThreadBody(Body):
    """`POST /threads`"""

    messages: Messages | None = None
    tool_resources: ToolResourcesBody | None = None
    metadata: Metadata | None = None

    def to_params(self) -> NewThread:
        return NewThread(
            messages=tuple(message.to_params() for message in self.messages or ()),
            tool_resources=resources_of(self.tool_resources),
            new_stores=new_stores_of(self.tool_resources),
            metadata=self.metadata or {},
        )


class ThreadChangesBody(Body):
    """`POST /threads/{thread_id}`"""

    tool_resources: ToolResourcesBody | None = None
    metadata: Metadata | None = None

    def to_params(self) -> ThreadChanges:
        sent = self.model_fields_set
        return ThreadChanges(
            tool_resources=resources_of(self.tool_resources) if "tool_resources" in sent else UNSET,
            new_stores=new_stores_of(self.tool_resources),
            metadata=self.metadata or {} if "metadata" in sent else UNSET,
        )


class ForkBody(MetadataBody):
    """Without `message_id` all messages are copied, without `metadata` it is the old thread's."""

    message_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
