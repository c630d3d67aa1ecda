"""Request bodies of v2 and their translation to parameters of the services: one module per noun.

Hosted clients send explicit nulls on create and run: null means absent there. On an update it clears. Keys that the
hosted API has and Locum does not serve are refused by name where ignoring them would change the answer.

The names below are those that v1 builds on.
"""

from locum.api.v2.requests.assistants import AssistantBody, AssistantChanges
from locum.api.v2.requests.base import Body, FileId, Instructions, MessageText, Metadata, ModelName, canonical, id_with
from locum.api.v2.requests.messages import MessageBody
from locum.api.v2.requests.runs import Budget, RunBody, ThreadAndRunBody, TruncationBody
from locum.api.v2.requests.sampling import ResponseFormat, Temperature, TopP
from locum.api.v2.requests.threads import ThreadBody, ThreadChangesBody
from locum.api.v2.requests.tools import (
    MAX_TOOLS,
    CodeInterpreterToolBody,
    FileSearchToolBody,
    FunctionChoiceBody,
    FunctionToolBody,
    HostedChoiceBody,
    UnknownChoiceBody,
    UnknownToolBody,
)

__all__ = [
    "MAX_TOOLS",
    "AssistantBody",
    "AssistantChanges",
    "Body",
    "Budget",
    "CodeInterpreterToolBody",
    "FileId",
    "FileSearchToolBody",
    "FunctionChoiceBody",
    "FunctionToolBody",
    "HostedChoiceBody",
    "Instructions",
    "MessageBody",
    "MessageText",
    "Metadata",
    "ModelName",
    "ResponseFormat",
    "RunBody",
    "Temperature",
    "ThreadAndRunBody",
    "ThreadBody",
    "ThreadChangesBody",
    "TopP",
    "TruncationBody",
    "UnknownChoiceBody",
    "UnknownToolBody",
    "canonical",
    "id_with",
]
