"""Operations of the API: the name, answer, body and query parameters of every route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import msgspec
from pydantic import BaseModel

from locum.api.dialect import Version
from locum.api.runs import MAX_QUEUE_SECONDS, MAX_WAIT_SECONDS
from locum.api.shapes import SHAPES, Shapes
from locum.api.v1.requests import AssistantFileBody
from locum.api.v2.requests.base import MetadataBody
from locum.api.v2.requests.files import FileFields
from locum.api.v2.requests.runs import ToolOutputsBody
from locum.api.v2.requests.threads import ForkBody
from locum.api.v2.requests.uploads import CompleteBody, UploadBody
from locum.api.v2.requests.vector_stores import (
    AttributesBody,
    FileBatchBody,
    SearchBody,
    VectorStoreBody,
    VectorStoreChangesBody,
    VectorStoreFileBody,
)
from locum.domain import files, vector_stores

Schema = dict[str, Any]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """The purpose of a route. `answer`: the schema it answers with; in brackets a page of it.

    body: the model of its JSON body, or a form's schema. query: names in `QUERY`. streams: events, when asked for.
    is_idempotent: a request with the same `Idempotency-Key` is the same request.
    """

    id: str
    answer: str
    body: Callable[[Shapes], type[BaseModel]] | type[BaseModel] | Schema | None = None
    query: tuple[str, ...] = ()
    is_body_required: bool = True
    streams: bool = False
    is_idempotent: bool = False

    def model(self, version: Version) -> type[BaseModel] | Schema | None:
        """The body's model, or its schema, in a version of the API."""
        if self.body is None or isinstance(self.body, dict | type):
            return self.body
        return self.body(SHAPES[version])


_PAGE = ("limit", "order", "after", "before")
_FORM_OF_FILE: Schema = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": FileFields.model_json_schema()["properties"]["purpose"],
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {
            "type": "integer",
            "minimum": files.MIN_EXPIRES_AFTER_SECONDS,
            "maximum": files.MAX_EXPIRES_AFTER_SECONDS,
        },
    },
    "required": ["file", "purpose"],
    "additionalProperties": False,
}
_FORM_OF_PART: Schema = {
    "type": "object",
    "properties": {"data": {"type": "string", "format": "binary"}},
    "required": ["data"],
    "additionalProperties": False,
}
_A, _T = "/assistants/{assistant_id}", "/threads/{thread_id}"
_V = "/vector_stores/{vector_store_id}"
_B = f"{_V}/file_batches/{{batch_id}}"
_M, _R = f"{_T}/messages/{{message_id}}", f"{_T}/runs/{{run_id}}"

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/assistants"): Operation(id="createAssistant", answer="Assistant", body=lambda s: s.assistant_body),
    ("GET", "/assistants"): Operation(id="listAssistants", answer="[Assistant]", query=_PAGE),
    ("GET", _A): Operation(id="getAssistant", answer="Assistant"),
    ("POST", _A): Operation(
        id="modifyAssistant", answer="Assistant", body=lambda s: s.assistant_changes, is_body_required=False
    ),
    ("DELETE", _A): Operation(id="deleteAssistant", answer="assistant.deleted"),
    ("POST", f"{_A}/files"): Operation(id="createAssistantFile", answer="AssistantFile", body=AssistantFileBody),
    ("GET", f"{_A}/files"): Operation(id="listAssistantFiles", answer="[AssistantFile]", query=_PAGE),
    ("GET", f"{_A}/files/{{file_id}}"): Operation(id="getAssistantFile", answer="AssistantFile"),
    ("DELETE", f"{_A}/files/{{file_id}}"): Operation(id="deleteAssistantFile", answer="assistant.file.deleted"),
    ("POST", "/threads"): Operation(
        id="createThread", answer="Thread", body=lambda s: s.thread_body, is_body_required=False, is_idempotent=True
    ),
    ("GET", "/threads"): Operation(id="listThreads", answer="[Thread]", query=(*_PAGE, "metadata")),
    ("POST", "/threads/runs"): Operation(
        id="createThreadAndRun", answer="Run", body=lambda s: s.thread_and_run_body, streams=True, is_idempotent=True
    ),
    ("GET", _T): Operation(id="getThread", answer="Thread"),
    ("POST", _T): Operation(
        id="modifyThread", answer="Thread", body=lambda s: s.thread_changes, is_body_required=False
    ),
    ("POST", f"{_T}/fork"): Operation(
        id="forkThread", answer="Thread", body=ForkBody, is_body_required=False, is_idempotent=True
    ),
    ("DELETE", _T): Operation(id="deleteThread", answer="thread.deleted"),
    ("POST", f"{_T}/messages"): Operation(
        id="createMessage",
        answer="Message",
        body=lambda s: s.message_body,
        query=("wait_for_thread",),
        is_idempotent=True,
    ),
    ("GET", f"{_T}/messages"): Operation(id="listMessages", answer="[Message]", query=(*_PAGE, "run_id")),
    ("GET", _M): Operation(id="getMessage", answer="Message"),
    ("POST", _M): Operation(id="modifyMessage", answer="Message", body=MetadataBody, is_body_required=False),
    ("DELETE", _M): Operation(id="deleteMessage", answer="thread.message.deleted"),
    ("GET", f"{_M}/files"): Operation(id="listMessageFiles", answer="[MessageFile]", query=_PAGE),
    ("GET", f"{_M}/files/{{file_id}}"): Operation(id="getMessageFile", answer="MessageFile"),
    ("POST", f"{_T}/runs"): Operation(
        id="createRun",
        answer="Run",
        body=lambda s: s.run_body,
        query=("include[]", "wait_for_thread"),
        streams=True,
        is_idempotent=True,
    ),
    ("GET", f"{_T}/runs"): Operation(id="listRuns", answer="[Run]", query=_PAGE),
    ("GET", _R): Operation(id="getRun", answer="Run", query=("wait",)),
    ("POST", _R): Operation(id="modifyRun", answer="Run", body=MetadataBody, is_body_required=False),
    ("POST", f"{_R}/cancel"): Operation(id="cancelRun", answer="Run"),
    ("GET", f"{_R}/events"): Operation(id="followRun", answer="events", query=("last_event_id", "include[]")),
    ("POST", f"{_R}/submit_tool_outputs"): Operation(
        id="submitToolOutputsToRun", answer="Run", body=ToolOutputsBody, streams=True, is_idempotent=True
    ),
    ("GET", f"{_R}/steps"): Operation(id="listRunSteps", answer="[RunStep]", query=(*_PAGE, "include[]")),
    ("GET", f"{_R}/steps/{{step_id}}"): Operation(id="getRunStep", answer="RunStep", query=("include[]",)),
    ("POST", "/files"): Operation(id="createFile", answer="File", body=_FORM_OF_FILE),
    ("GET", "/files"): Operation(
        id="listFiles", answer="[File]", query=("limit of files", "order", "after", "before", "purpose")
    ),
    ("GET", "/files/{file_id}"): Operation(id="retrieveFile", answer="File"),
    ("DELETE", "/files/{file_id}"): Operation(id="deleteFile", answer="file"),
    ("GET", "/files/{file_id}/content"): Operation(id="downloadFile", answer="bytes"),
    ("POST", "/uploads"): Operation(id="createUpload", answer="Upload", body=UploadBody),
    ("POST", "/uploads/{upload_id}/parts"): Operation(id="addUploadPart", answer="UploadPart", body=_FORM_OF_PART),
    ("POST", "/uploads/{upload_id}/complete"): Operation(id="completeUpload", answer="Upload", body=CompleteBody),
    ("POST", "/uploads/{upload_id}/cancel"): Operation(id="cancelUpload", answer="Upload"),
    ("POST", "/vector_stores"): Operation(
        id="createVectorStore", answer="VectorStore", body=VectorStoreBody, is_body_required=False, is_idempotent=True
    ),
    ("GET", "/vector_stores"): Operation(id="listVectorStores", answer="[VectorStore]", query=_PAGE),
    ("GET", _V): Operation(id="getVectorStore", answer="VectorStore"),
    ("POST", _V): Operation(
        id="modifyVectorStore", answer="VectorStore", body=VectorStoreChangesBody, is_body_required=False
    ),
    ("DELETE", _V): Operation(id="deleteVectorStore", answer="vector_store.deleted"),
    ("POST", f"{_V}/search"): Operation(id="searchVectorStore", answer="SearchResults", body=SearchBody),
    ("POST", f"{_V}/files"): Operation(
        id="createVectorStoreFile", answer="VectorStoreFile", body=VectorStoreFileBody, is_idempotent=True
    ),
    ("GET", f"{_V}/files"): Operation(id="listVectorStoreFiles", answer="[VectorStoreFile]", query=(*_PAGE, "filter")),
    ("GET", f"{_V}/files/{{file_id}}"): Operation(id="getVectorStoreFile", answer="VectorStoreFile"),
    ("POST", f"{_V}/files/{{file_id}}"): Operation(
        id="updateVectorStoreFileAttributes", answer="VectorStoreFile", body=AttributesBody
    ),
    ("DELETE", f"{_V}/files/{{file_id}}"): Operation(id="deleteVectorStoreFile", answer="vector_store.file.deleted"),
    ("GET", f"{_V}/files/{{file_id}}/content"): Operation(id="retrieveVectorStoreFileContent", answer="FileContent"),
    ("POST", f"{_V}/file_batches"): Operation(
        id="createVectorStoreFileBatch", answer="FileBatch", body=FileBatchBody, is_idempotent=True
    ),
    ("GET", _B): Operation(id="getVectorStoreFileBatch", answer="FileBatch"),
    ("POST", f"{_B}/cancel"): Operation(id="cancelVectorStoreFileBatch", answer="FileBatch"),
    ("GET", f"{_B}/files"): Operation(
        id="listFilesInVectorStoreBatch", answer="[VectorStoreFile]", query=(*_PAGE, "filter")
    ),
    ("GET", "/models"): Operation(id="listModels", answer="[Model]"),
    ("GET", "/models/{model:path}"): Operation(id="retrieveModel", answer="Model"),
    ("GET", "/openapi.json"): Operation(id="describe", answer="this document"),
}

QUERY: dict[str, Schema] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    "limit of files": {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 10_000},
    "order": {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
    "after": {"type": "string", "description": "The id of the object the page begins behind."},
    "before": {"type": "string", "description": "The id of the object the page ends before."},
    "metadata": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "Only threads with these pairs: `metadata[key]=value`.",
    },
    "wait": {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS, "description": "Seconds to hold the answer."},
    "wait_for_thread": {
        "type": "number",
        "minimum": 0,
        "maximum": MAX_QUEUE_SECONDS,
        "description": "Seconds to wait for the end of an active run.",
    },
    "run_id": {"type": "string", "description": "Only what this run has written."},
    "last_event_id": {
        "type": "string",
        "description": "Only what came after this event; or as the header of that name.",
    },
    "purpose": {"type": "string", "description": "Only files of this purpose."},
    "filter": {"type": "string", "enum": list(get_args(vector_stores.FileStatus))},
    "include[]": {
        "type": "array",
        "items": {"type": "string", "enum": ["step_details.tool_calls[*].file_search.results[*].content"]},
    },
}
