"""The published OpenAPI files as an oracle, where `LOCUM_SPEC_DIR` names a folder that has them.

They contradict the service they describe in a few places; those are corrected by name, each with its reason.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

Json = dict[str, Any]

FILES = {
    "v1": "openai-assistants-v1.2024-04-15*.yaml",
    "v2": "openai-assistants-v2.2026-08-21*.yaml",
    "azure": "azure-2024-05-01-preview.yaml",
}


@dataclass(frozen=True)
class Deviation:
    """A place where a file is not what the service did: `what`, for readers, and the schema node that is replaced."""

    what: str
    spec: str
    at: str
    replacement: Any
    reason: str


_TEXT_OR_NULL = {"type": "string", "nullable": True}
_TIME_OR_NULL = {"type": "integer", "nullable": True}
_STATUSES = ["queued", "in_progress", "requires_action", "cancelling", "cancelled"]
_STATUSES += ["failed", "completed", "incomplete", "expired"]
DEVIATIONS = (
    Deviation(
        "the object name of a step",
        "azure",
        "runStepObject.properties.object",
        {"const": "thread.run.step"},
        "the service and every SDK say thread.run.step; assistant.run.step exists in this file only",
    ),
    Deviation(
        "run.status incomplete",
        "v1",
        "RunObject.properties.status.enum",
        _STATUSES,
        "the enum lacks incomplete, which the same file describes in incomplete_details",
    ),
    Deviation(
        "run.status incomplete",
        "azure",
        "runObject.properties.status.enum",
        _STATUSES,
        "the enum lacks incomplete, which the same file describes in incomplete_details",
    ),
    *(
        Deviation(
            "first_id and last_id of an empty page",
            spec,
            f"{name}.properties.{key}",
            _TEXT_OR_NULL,
            "a page of nothing has no first and no last id; the service answered null",
        )
        for spec, names in {
            "v1": "Assistants AssistantFiles Messages MessageFiles Runs RunSteps",
            "v2": "Assistants Files Messages Runs RunSteps VectorStores VectorStoreFiles",
            "azure": "Assistants Messages Runs RunSteps VectorStores VectorStoreFiles",
        }.items()
        for name in (f"{'list' if spec == 'azure' else 'List'}{each}Response" for each in names.split())
        for key in ("first_id", "last_id")
    ),
    *(
        Deviation(
            "status_details and expires_at of a file",
            spec,
            f"OpenAIFile.properties.{key}",
            schema,
            "an optional value that is unset is null, as everywhere; the SDK's type says so too",
        )
        for spec, key, schema in (
            ("v1", "status_details", _TEXT_OR_NULL),
            ("v2", "status_details", _TEXT_OR_NULL),
            ("v2", "expires_at", _TIME_OR_NULL),
        )
    ),
    Deviation(
        "run.expires_at",
        "azure",
        "runObject.properties.expires_at",
        _TIME_OR_NULL,
        "null on a completed run, in OpenAI's file, in its examples and in dumps of the service",
    ),
    Deviation(
        "a function's description and parameters",
        "azure",
        "assistantToolsFunction.properties.function.required",
        ["name"],
        "both may be left out of the request, and what was not given is not made up",
    ),
    Deviation(
        "image_url",
        "azure",
        "messageObject.properties.content.items.oneOf",
        [
            {"$ref": "#/components/schemas/messageContentImageFileObject"},
            {"$ref": "#/components/schemas/messageContentTextObject"},
            {
                "type": "object",
                "required": ["type", "image_url"],
                "properties": {"type": {"const": "image_url"}, "image_url": {"required": ["url"]}},
            },
        ],
        "it came with a later preview; Locum accepts it in every preview of v2",
    ),
    Deviation(
        "tool_choice required",
        "azure",
        "assistantsApiToolChoiceOption.oneOf",
        [
            {"enum": ["none", "auto", "required"]},
            {"$ref": "#/components/schemas/assistantsNamedToolChoice"},
        ],
        "it came with a later preview; Locum accepts it in every preview of v2",
    ),
    Deviation(
        "last_error invalid_prompt",
        "azure",
        "runObject.properties.last_error.properties.code.enum",
        ["server_error", "rate_limit_exceeded", "invalid_prompt"],
        "OpenAI's file and the SDK have it; a refused prompt is neither of the other two",
    ),
    Deviation(
        "json_schema",
        "azure",
        "assistantsApiResponseFormat.properties.type.enum",
        ["text", "json_object", "json_schema"],
        "it came with a later preview; Locum accepts it in every preview of v2",
    ),
    *(
        Deviation(
            "expires_after of a vector store",
            spec,
            f"{name}.properties.expires_after",
            {"anyOf": [{"$ref": f"#/components/schemas/{policy}"}, {"type": "null"}]},
            "an optional value that is unset is null, as everywhere; the SDK's type says so too",
        )
        for spec, name, policy in (
            ("v2", "VectorStoreObject", "VectorStoreExpirationAfter"),
            ("azure", "vectorStoreObject", "vectorStoreExpirationAfter"),
        )
    ),
    *(
        Deviation(
            "the object name of a file batch",
            spec,
            f"{name}.properties.object.enum",
            ["vector_store.file_batch"],
            "the same file's examples and descriptions say vector_store.file_batch, and so did the service",
        )
        for spec, name in (("v2", "VectorStoreFileBatchObject"), ("azure", "vectorStoreFileBatchObject"))
    ),
    Deviation(
        "last_error of a vector store's file",
        "azure",
        "vectorStoreFileObject.properties.last_error.properties.code.enum",
        ["server_error", "unsupported_file", "invalid_file"],
        "the codes of every later version, and of the SDKs' types",
    ),
    *(
        Deviation(
            "128 tools of a run",
            spec,
            f"{name}.properties.tools.maxItems",
            128,
            "a run shows the tools of its assistant, which may have 128",
        )
        for spec, name in (("v1", "RunObject"), ("v2", "RunObject"), ("azure", "runObject"))
    ),
    *(
        Deviation(
            "items of a list of files",
            "v1",
            f"{name}.required",
            ["object", "data", "first_id", "last_id", "has_more"],
            "`items` is required and described nowhere, not even as a property",
        )
        for name in ("ListAssistantFilesResponse", "ListMessageFilesResponse")
    ),
)


def is_available() -> bool:
    return bool(os.environ.get("LOCUM_SPEC_DIR"))


def check(spec: str, method: str, path: str, body: Any) -> Iterator[str]:
    """What the file of this name says is wrong with a success of the call; nothing where it has no such call."""
    if not is_available():
        return
    schema = _response_schema(spec, method, path) or (_response_schema("v2", method, path) if spec == "azure" else None)
    if schema is not None:
        yield from _errors(*schema, body)


def check_component(spec: str, name: str, body: Any) -> Iterator[str]:
    """The same for a component, as events carry them."""
    if not is_available():
        return
    components = _document(spec)["components"]["schemas"]
    known = next((each for each in components if each.lower() == name.lower()), None)
    if known is not None:
        yield from _errors(spec, f"#/components/schemas/{known}", body)


def _errors(spec: str, ref: str, body: Any) -> Iterator[str]:
    for error in _validator(spec, ref).iter_errors(body):
        deep = jsonschema.exceptions.best_match([error]) or error
        where = ".".join(map(str, deep.absolute_path)) or "the whole"
        yield f"OpenAPI {spec} {ref.rpartition('/')[2]}, {where}: {deep.message[:300]}"


@cache
def _validator(spec: str, ref: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": ref, "components": _document(spec)["components"]})


@cache
def _document(spec: str) -> Json:
    (path,) = Path(os.environ["LOCUM_SPEC_DIR"]).glob(FILES[spec])
    document: Json = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    for deviation in DEVIATIONS:
        if deviation.spec == spec:
            _replace(document["components"]["schemas"], deviation)
    document["components"]["schemas"] = _as_json_schema(document["components"]["schemas"])
    return document


def _replace(schemas: Json, deviation: Deviation) -> None:
    *parents, last = deviation.at.split(".")
    node = schemas
    for each in parents:
        node = node[each]
    assert last in node, f"nothing to correct any more: {deviation.at}"
    node[last] = deviation.replacement


def _as_json_schema(node: Any) -> Any:
    """OpenAPI's own words (`nullable`, discriminators) in those of JSON Schema."""
    if isinstance(node, list):
        return [_as_json_schema(each) for each in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: {name: _as_json_schema(each) for name, each in value.items()}
        if key == "properties" and isinstance(value, dict)
        else _as_json_schema(value)
        for key, value in node.items()
        if key not in ("discriminator", "example", "examples", "default", "description")
        and not (key == "nullable" and isinstance(value, bool))
    }
    return {"anyOf": [kept, {"type": "null"}]} if node.get("nullable") is True else kept


@cache
def _response_schema(spec: str, method: str, path: str) -> tuple[str, str] | None:
    paths = sorted(_document(spec)["paths"].items(), key=lambda item: "{" in item[0])  # /threads/runs is no thread
    for template, item in paths:
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path) and method.lower() in item:
            content = item[method.lower()]["responses"].get("200", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            return (spec, schema["$ref"]) if "$ref" in schema else None
    return None
