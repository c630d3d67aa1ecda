"""The OpenAPI document of the API as it is spoken, made from what serves it.

Paths come from the route table, request bodies from the models that read them, objects from the domain values they
show. Said here, and only here: what an operation is called, takes and answers, and where an object on the wire differs
from its domain value. Tests hold real answers against it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from types import GenericAlias
from typing import Any, Literal, get_args

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from locum import __version__
from locum.api.dialect import Call, Version
from locum.api.files import FileFields
from locum.api.runs import MAX_QUEUE_SECONDS, MAX_WAIT_SECONDS
from locum.api.shapes import SHAPES, Shapes
from locum.api.threads import ForkBody
from locum.api.uploads import CompleteBody, UploadBody
from locum.api.v1 import retrieval
from locum.api.v1.requests import AssistantFileBody
from locum.api.v2.requests import MetadataBody, ToolOutputsBody
from locum.api.v2.vector_stores import (
    AttributesBody,
    FileBatchBody,
    SearchBody,
    VectorStoreBody,
    VectorStoreChangesBody,
    VectorStoreFileBody,
)
from locum.domain import assistants, files, messages, runs, steps, threads, tools, uploads, vector_stores

_REF = "#/components/schemas/{name}"
Schema = dict[str, Any]


def document(offered: Iterable[tuple[str, str]], call: Call) -> dict[str, Any]:
    """The document for whoever speaks as `call` does: (method, path) of all routes that are offered there."""
    operations = {(method, path): OPERATIONS[method, path] for method, path in offered}
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in operations.items():
        shown = re.sub(r":\w+}", "}", path)  # Starlette's converters are no part of an address
        paths.setdefault(shown, {})[method.lower()] = _operation(operation, shown, call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Locum",
            "version": __version__,
            "summary": f"The Assistants API, v{call.version}.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": _mount(call)}],
        "security": [{"bearer": []}, {"api-key": []}, {}],
        "paths": paths,
        "components": {
            "schemas": _components(operations.values(), call.version),
            "responses": _RESPONSES,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }


def _mount(call: Call) -> str:
    if call.surface == "openai":
        return "/v1"
    return "/openai/v1" if call.azure_v1 else "/openai"


# ---- objects


def _shown(of: type[msgspec.Struct], name: str = "", /, *, object_: str = "", without: str = "", **other: Any) -> Any:
    """The wire form of a domain value: its fields but for those in `without`, with `other` in place of them or beside.

    Everything is there, null where unset. `object_` is what the field of that name says.
    """
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(of)}
    kept = {field: type_ for field, type_ in fields.items() if field not in without.split()} | other
    config = of.__struct_config__
    return msgspec.defstruct(
        name or of.__name__,
        list(kept.items()),
        namespace={"__doc__": of.__doc__},
        tag_field="object" if object_ else config.tag_field,
        tag=object_ or config.tag,
    )


def _many(type_: Any) -> Any:
    return GenericAlias(tuple, (type_, ...))


class SubmitToolOutputs(msgspec.Struct):
    """The functions whose outputs the run waits for."""

    tool_calls: tuple[runs.RequiredCall, ...]


class RequiredAction(msgspec.Struct, tag_field="type", tag="submit_tool_outputs"):
    """What a run waits for."""

    submit_tool_outputs: SubmitToolOutputs


class Model(msgspec.Struct, tag_field="object", tag="model"):
    """A name that assistants and runs may have as their model."""

    id: str
    created: int
    owned_by: str


class AssistantFile(msgspec.Struct, tag_field="object", tag="assistant.file"):
    """A file of an assistant's."""

    id: str
    created_at: int
    assistant_id: str


class MessageFile(msgspec.Struct, tag_field="object", tag="thread.message.file"):
    """A file that came with a message."""

    id: str
    created_at: int
    message_id: str


class Chunk(msgspec.Struct, tag_field="type", tag="text"):
    """Text of a file."""

    text: str


class SearchResult(msgspec.Struct):
    """A passage that was found. score: 0 to 1."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, str | bool | float]
    content: tuple[Chunk, ...]


class SearchResults(msgspec.Struct, tag_field="object", tag="vector_store.search_results.page"):
    """What was found, best first."""

    search_query: tuple[str, ...]
    data: tuple[SearchResult, ...]
    has_more: bool
    next_page: str | None


class FileContent(msgspec.Struct, tag_field="object", tag="vector_store.file_content.page"):
    """The text that was taken out of a file."""

    data: tuple[Chunk, ...]
    has_more: bool
    next_page: str | None


class StaticChunkingStrategy(msgspec.Struct, tag_field="type", tag="static"):
    """How a file is cut, in tokens."""

    static: vector_stores.Chunking


class Problem(msgspec.Struct):
    """What is wrong, in words, and where."""

    message: str
    type: str
    param: str | None
    code: str | None


class GatewayProblem(msgspec.Struct):
    """What Azure's gateway says of keys, paths and methods."""

    message: str
    code: str


class Error(msgspec.Struct):
    """Every error."""

    error: Problem


class GatewayError(msgspec.Struct):
    """An error on the classic Azure paths that has nothing to do with assistants."""

    error: GatewayProblem


class FoundText(msgspec.Struct, tag_field="type", tag="text"):
    """The text of a passage."""

    text: str


class FileSearchResult(msgspec.Struct, omit_defaults=True):
    """A passage that was found; its text where `include[]` asks for it."""

    file_id: str
    file_name: str
    score: float
    content: tuple[FoundText, ...] | msgspec.UnsetType = msgspec.UNSET


class FileSearch(msgspec.Struct, omit_defaults=True):
    """What was found; empty until the search has been made."""

    ranking_options: tools.RankingOptions | msgspec.UnsetType = msgspec.UNSET
    results: tuple[FileSearchResult, ...] | msgspec.UnsetType = msgspec.UNSET


class Empty(msgspec.Struct):
    """An object without anything in it."""


class RetrievalTool(msgspec.Struct, tag_field="type", tag=retrieval.V1):
    """Passages of the assistant's files."""


class RetrievalCall(msgspec.Struct, tag_field="type", tag=retrieval.V1):
    """A call of retrieval; what it found is not shown."""

    id: str
    retrieval: Empty


_Sampling: dict[str, Any] = {"temperature": float, "top_p": float}
_MessageIncomplete = _shown(messages.IncompleteDetails, "MessageIncompleteDetails")
_RunIncomplete = _shown(runs.IncompleteDetails, "RunIncompleteDetails")
_Cell = _shown(steps.CodeInterpreter, without="written removed", outputs=_many(steps.CodeOutput))
_CodeCall = _shown(steps.CodeInterpreterCall, code_interpreter=_Cell)
_SearchCall = _shown(steps.FileSearchCall, file_search=FileSearch)
_RetrievalTools: dict[str, Any] = {"tools": _many(tools.CodeInterpreterTool | RetrievalTool | tools.FunctionTool)}


def _step(search_call: Any) -> Any:
    calls = _shown(steps.ToolCallsDetails, tool_calls=_many(_CodeCall | search_call | steps.FunctionCall))
    return _shown(
        steps.Step,
        "RunStep",
        object_="thread.run.step",
        type=Literal["message_creation", "tool_calls"],
        step_details=steps.MessageCreationDetails | calls,
        metadata=type(None),
    )


_File = _shown(
    files.File, object_="file", without="sha256 origin", status=Literal["processed"], status_details=type(None)
)
_SHARED = (
    _File,
    Model,
    Error,
    GatewayError,
)
_OBJECTS: dict[Version, tuple[Any, ...]] = {
    1: (
        _shown(
            assistants.Assistant,
            object_="assistant",
            without="tool_resources reasoning_effort",
            file_ids=_many(str),
            **_Sampling,
            **_RetrievalTools,
        ),
        _shown(threads.Thread, object_="thread", without="tool_resources"),
        _shown(
            messages.Message,
            object_="thread.message",
            without="attachments",
            content=_many(messages.TextPart | messages.ImageFilePart),
            incomplete_details=_MessageIncomplete | None,
            file_ids=_many(str),
        ),
        _shown(
            runs.Run,
            object_="thread.run",
            without="surface required_calls tool_resources parallel_tool_calls reasoning_effort",
            incomplete_details=_RunIncomplete | None,
            required_action=RequiredAction | None,
            file_ids=_many(str),
            **_Sampling,
            **_RetrievalTools,
        ),
        _step(RetrievalCall),
        AssistantFile,
        MessageFile,
    ),
    2: (
        _shown(assistants.Assistant, object_="assistant", **_Sampling),
        _shown(threads.Thread, object_="thread"),
        _shown(messages.Message, object_="thread.message", incomplete_details=_MessageIncomplete | None),
        _shown(
            runs.Run,
            object_="thread.run",
            without="surface required_calls",
            incomplete_details=_RunIncomplete | None,
            required_action=RequiredAction | None,
            **_Sampling,
        ),
        _step(_SearchCall),
    ),
}
_UPLOADS = (
    _shown(uploads.Upload, object_="upload", without="stored_bytes expires_after_seconds", file=_File | None),
    _shown(uploads.UploadPart, object_="upload.part", without="bytes"),
)


_FileCounts = _shown(vector_stores.FileCounts, total=int)
_VECTOR_STORES = (
    _shown(
        vector_stores.VectorStore,
        object_="vector_store",
        without="embedder",
        name=str,
        usage_bytes=int,
        bytes=int,
        file_counts=_FileCounts,
        status=vector_stores.StoreStatus,
        expires_after=_shown(vector_stores.ExpiresAfter, "VectorStoreExpiresAfter") | None,
        expires_at=int | None,
    ),
    _shown(
        vector_stores.VectorStoreFile,
        object_="vector_store.file",
        without="chunking document",
        chunking_strategy=StaticChunkingStrategy,
        attributes=dict[str, str | bool | float],
    ),
    _shown(
        vector_stores.FileBatch,
        object_="vector_store.file_batch",
        without="is_cancelled",
        status=vector_stores.BatchStatus,
        file_counts=_FileCounts,
    ),
    SearchResults,
    FileContent,
)


def _components(operations: Iterable[Operation], version: Version) -> dict[str, Schema]:
    shown = (*_OBJECTS[version], *_SHARED, *_UPLOADS, *_VECTOR_STORES)
    _, objects = msgspec.json.schema_components(shown, ref_template=_REF)
    for struct in _structs(msgspec.inspect.multi_type_info(shown)):
        _require(objects[struct.__name__], struct)
    models = [body for each in operations if isinstance(body := _model(each, version), type)]
    _, bodies = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template=_REF.replace("name", "model")
    )
    known = {name: schema for name, schema in bodies["$defs"].items() if not name.startswith("Unknown")}
    named = {name: _known_members(schema) for name, schema in known.items()}
    assert not objects.keys() & named.keys(), "two schemas have one name"
    return {**objects, **named}


def _structs(info: Any) -> set[type[msgspec.Struct]]:
    """All structs that are reachable from there."""
    if isinstance(info, list | tuple):
        return set().union(*map(_structs, info)) if info else set()
    if isinstance(info, msgspec.inspect.StructType):
        return {info.cls}.union(_structs([field.type for field in info.fields]))
    inner = (getattr(info, name, ()) for name in ("types", "item_type", "item_types", "value_type"))
    return _structs(list(inner)) if isinstance(info, msgspec.inspect.Type) else set()


def _require(schema: Schema, struct: type[msgspec.Struct]) -> None:
    """An answer has every field of a struct, but where defaults are left out; there is nothing to default to."""
    schema["description"] = inspect.cleandoc(struct.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    for each in schema["properties"].values():
        each.pop("default", None)
    if not struct.__struct_config__.omit_defaults:
        schema["required"] = list(schema["properties"])


def _known_members(node: Any) -> Any:
    """Without the members of unions that exist for the words of a refusal."""
    if isinstance(node, list):
        return [_known_members(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "oneOf" in node:
        kept = [each for each in node["oneOf"] if "/Unknown" not in each.get("$ref", "")]
        node = {**node, "oneOf": kept}
    return {name: _known_members(each) for name, each in node.items()}


# ---- operations


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a route is for. `answer`: the schema it answers with; in brackets a page of it.

    body: the model of its JSON body, or a form's schema. query: names in `_QUERY`. streams: events, when asked for.
    takes_idempotency_key: it heeds the header `Idempotency-Key`.
    """

    id: str
    answer: str
    body: Callable[[Shapes], type[BaseModel]] | type[BaseModel] | Schema | None = None
    query: tuple[str, ...] = ()
    is_body_required: bool = True
    streams: bool = False
    takes_idempotency_key: bool = False


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
        id="createThread",
        answer="Thread",
        body=lambda s: s.thread_body,
        is_body_required=False,
        takes_idempotency_key=True,
    ),
    ("GET", "/threads"): Operation(id="listThreads", answer="[Thread]", query=(*_PAGE, "metadata")),
    ("POST", "/threads/runs"): Operation(
        id="createThreadAndRun",
        answer="Run",
        body=lambda s: s.thread_and_run_body,
        streams=True,
        takes_idempotency_key=True,
    ),
    ("GET", _T): Operation(id="getThread", answer="Thread"),
    ("POST", _T): Operation(
        id="modifyThread", answer="Thread", body=lambda s: s.thread_changes, is_body_required=False
    ),
    ("POST", f"{_T}/fork"): Operation(
        id="forkThread", answer="Thread", body=ForkBody, is_body_required=False, takes_idempotency_key=True
    ),
    ("DELETE", _T): Operation(id="deleteThread", answer="thread.deleted"),
    ("POST", f"{_T}/messages"): Operation(
        id="createMessage",
        answer="Message",
        body=lambda s: s.message_body,
        query=("wait_for_thread",),
        takes_idempotency_key=True,
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
        takes_idempotency_key=True,
    ),
    ("GET", f"{_T}/runs"): Operation(id="listRuns", answer="[Run]", query=_PAGE),
    ("GET", _R): Operation(id="getRun", answer="Run", query=("wait",)),
    ("POST", _R): Operation(id="modifyRun", answer="Run", body=MetadataBody, is_body_required=False),
    ("POST", f"{_R}/cancel"): Operation(id="cancelRun", answer="Run"),
    ("GET", f"{_R}/events"): Operation(id="followRun", answer="events", query=("last_event_id", "include[]")),
    ("POST", f"{_R}/submit_tool_outputs"): Operation(
        id="submitToolOutputsToRun", answer="Run", body=ToolOutputsBody, streams=True, takes_idempotency_key=True
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
        id="createVectorStore",
        answer="VectorStore",
        body=VectorStoreBody,
        is_body_required=False,
        takes_idempotency_key=True,
    ),
    ("GET", "/vector_stores"): Operation(id="listVectorStores", answer="[VectorStore]", query=_PAGE),
    ("GET", _V): Operation(id="getVectorStore", answer="VectorStore"),
    ("POST", _V): Operation(
        id="modifyVectorStore", answer="VectorStore", body=VectorStoreChangesBody, is_body_required=False
    ),
    ("DELETE", _V): Operation(id="deleteVectorStore", answer="vector_store.deleted"),
    ("POST", f"{_V}/search"): Operation(id="searchVectorStore", answer="SearchResults", body=SearchBody),
    ("POST", f"{_V}/files"): Operation(
        id="createVectorStoreFile", answer="VectorStoreFile", body=VectorStoreFileBody, takes_idempotency_key=True
    ),
    ("GET", f"{_V}/files"): Operation(id="listVectorStoreFiles", answer="[VectorStoreFile]", query=(*_PAGE, "filter")),
    ("GET", f"{_V}/files/{{file_id}}"): Operation(id="getVectorStoreFile", answer="VectorStoreFile"),
    ("POST", f"{_V}/files/{{file_id}}"): Operation(
        id="updateVectorStoreFileAttributes", answer="VectorStoreFile", body=AttributesBody
    ),
    ("DELETE", f"{_V}/files/{{file_id}}"): Operation(id="deleteVectorStoreFile", answer="vector_store.file.deleted"),
    ("GET", f"{_V}/files/{{file_id}}/content"): Operation(id="retrieveVectorStoreFileContent", answer="FileContent"),
    ("POST", f"{_V}/file_batches"): Operation(
        id="createVectorStoreFileBatch", answer="FileBatch", body=FileBatchBody, takes_idempotency_key=True
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

_QUERY: dict[str, Schema] = {
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
_EVENTS: Schema = {
    "type": "object",
    "description": "Of each server-sent event: its name (`thread.created`, `thread.run.*`, `thread.run.step.*`, "
    "`thread.message.*`, `error`, at the end `done`), and as data the object, its delta, or `[DONE]`.",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["event", "data"],
}


def _content(schema: Schema, media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": schema}}


_ERROR = _content({"anyOf": [{"$ref": _REF.format(name=name)} for name in ("Error", "GatewayError")]})
_RESPONSES: dict[str, Schema] = {
    "Wrong": {"description": "The request is wrong, or there is no such object.", "content": _ERROR},
    "Unavailable": {"description": "Not now: try again after `Retry-After` seconds.", "content": _ERROR},
    "Full": {"description": "There is no room to keep what was sent.", "content": _ERROR},
}


def _operation(operation: Operation, path: str, call: Call) -> dict[str, Any]:
    responses = {f"{code}": {"$ref": f"#/components/responses/{name}"} for code, name in _FAILURES.items()}
    if operation.answer == "bytes":
        responses["416"] = {"$ref": "#/components/responses/Wrong"}
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [path.split("/")[1]],
        "parameters": [
            *_path_parameters(path),
            *_query(operation),
            *_idempotency_key(operation),
            *_dialect(path, call),
        ],
        "responses": {**_successes(operation), **responses},
    }
    if (body := _model(operation, call.version)) is not None:
        is_form = isinstance(body, dict)
        schema = body if isinstance(body, dict) else {"$ref": _REF.format(name=body.__name__)}
        media_type = "multipart/form-data" if is_form else "application/json"
        described["requestBody"] = {"required": operation.is_body_required, "content": _content(schema, media_type)}
    return described


_FAILURES = {**dict.fromkeys((400, 401, 403, 404, 405, 413), "Wrong"), 503: "Unavailable", 507: "Full"}


def _model(operation: Operation, version: Version) -> type[BaseModel] | Schema | None:
    body = operation.body
    if body is None or isinstance(body, dict | type):
        return body
    return body(SHAPES[version])


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name.split()[0], "in": "query", "allowEmptyValue": True, "schema": _QUERY[name]} | _style(name)
        for name in operation.query
    ]


def _style(name: str) -> dict[str, Any]:
    return {"style": "deepObject", "explode": True} if name == "metadata" else {}


def _idempotency_key(operation: Operation) -> list[dict[str, Any]]:
    if not operation.takes_idempotency_key:
        return []
    key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}
    return [{"name": "Idempotency-Key", "in": "header", "schema": key}]


def _dialect(path: str, call: Call) -> list[dict[str, Any]]:
    """How a client says which version it speaks."""
    if call.surface == "openai" and path.startswith(("/assistants", "/threads")):
        said = {"type": "string", "enum": [f"assistants=v{call.version}"]}
        return [{"name": "OpenAI-Beta", "in": "header", "required": True, "schema": said}]
    if call.surface == "azure" and not call.azure_v1:
        said = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}-preview$"}
        return [{"name": "api-version", "in": "query", "required": True, "schema": said}]
    return []


def _successes(operation: Operation) -> dict[str, Any]:
    answer = operation.answer
    if answer == "bytes":
        binary = _content({"type": "string", "format": "binary"}, "*/*")
        return {
            "200": {"description": "The file.", "content": binary},
            "206": {"description": "The bytes a `Range` asks for.", "content": binary},
            "304": {"description": "The client has it, as `If-None-Match` says."},
        }
    if answer == "events":
        return {
            "200": {
                "description": "The run so far, and what happens.",
                "content": _content(_EVENTS, "text/event-stream"),
            }
        }
    if answer == "this document":
        return {"200": {"description": "OpenAPI 3.1.", "content": _content({"type": "object"})}}
    content = _content(_answer(answer))
    if operation.streams:
        content |= _content(_EVENTS, "text/event-stream")
    return {"200": {"description": "Done.", "content": content}}


def _answer(answer: str) -> Schema:
    if answer == "[Model]":
        return _object("list", data=_array("Model"))
    if answer.startswith("["):
        edge = {"type": ["string", "null"]}
        return _object("list", data=_array(answer[1:-1]), first_id=edge, last_id=edge, has_more={"type": "boolean"})
    if answer[0].isupper():
        return {"$ref": _REF.format(name=answer)}
    return _object(answer, id={"type": "string"}, deleted={"const": True})


def _array(name: str) -> Schema:
    return {"type": "array", "items": {"$ref": _REF.format(name=name)}}


def _object(object_: str, **properties: Schema) -> Schema:
    every = {"object": {"const": object_}, **properties}
    return {"type": "object", "properties": every, "required": list(every)}
