"""Schemas of the API: objects as they are on the wire, and the models that read request bodies.

An object's schema comes from its domain value. Stated here, and only here: where its wire form differs from that.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from types import GenericAlias
from typing import Any, Literal

import msgspec
from pydantic.json_schema import models_json_schema

from locum.api.dialect import Version
from locum.api.openapi.operations import Operation, Schema
from locum.api.v1 import retrieval
from locum.domain import assistants, files, messages, runs, steps, threads, tools, uploads, vector_stores

REF = "#/components/schemas/{name}"


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
    """The action of the app that a run waits for."""

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
    """The passages that a search found, best first."""

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
    """A chunking strategy of fixed chunk size and overlap, in tokens."""

    static: vector_stores.Chunking


class Problem(msgspec.Struct):
    """An error in words, with the parameter it is about."""

    message: str
    type: str
    param: str | None
    code: str | None


class GatewayProblem(msgspec.Struct):
    """An error of Azure's gateway, about keys, paths or methods."""

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
    """The results of a file search; empty until the search has been made."""

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


def components(operations: Iterable[Operation], version: Version) -> dict[str, Schema]:
    """The schemas of all objects of a version, and of the bodies of these operations."""
    shown = (*_OBJECTS[version], *_SHARED, *_UPLOADS, *_VECTOR_STORES)
    _, objects = msgspec.json.schema_components(shown, ref_template=REF)
    for struct in _structs(msgspec.inspect.multi_type_info(shown)):
        _require(objects[struct.__name__], struct)
    models = [body for operation in operations if isinstance(body := operation.model(version), type)]
    _, bodies = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template=REF.replace("name", "model")
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
    for property_ in schema["properties"].values():
        property_.pop("default", None)
    if not struct.__struct_config__.omit_defaults:
        schema["required"] = list(schema["properties"])


def _known_members(node: Any) -> Any:
    """Without the members of unions that exist for the words of a refusal."""
    if isinstance(node, list):
        return [_known_members(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "oneOf" in node:
        kept = [member for member in node["oneOf"] if "/Unknown" not in member.get("$ref", "")]
        node = {**node, "oneOf": kept}
    return {name: _known_members(value) for name, value in node.items()}
