"""What every answer must look like: the fields, types and inner rules of each object.

Three oracles, none of which is the server: the SDK's own types, validated strictly (the SDK itself constructs them
without looking); the fields each object must have, null where unset; and rules between fields, such as that a
completed run has no expires_at. `tests/conformance/spec.py` adds the published OpenAPI files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pydantic
from openai.types import (
    FileDeleted,
    FileObject,
    Model,
    Upload,
    VectorStore,
    VectorStoreDeleted,
    VectorStoreSearchResponse,
)
from openai.types.beta import Assistant, AssistantDeleted, Thread, ThreadDeleted
from openai.types.beta.threads import Message, MessageDeleted, MessageDeltaEvent, Run
from openai.types.beta.threads.runs import RunStep, RunStepDeltaEvent
from openai.types.uploads import UploadPart
from openai.types.vector_stores import (
    FileContentResponse,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileDeleted,
)

Json = dict[str, Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True)
class Shape:
    """One kind of object. `required` are present, null where unset; nothing but `optional` may be there besides. Pages
    of results have no id."""

    name: str
    required: frozenset[str]
    optional: frozenset[str] = frozenset()
    type: Any = None
    id: str = ""
    rules: Callable[[Json], Iterator[str]] | None = field(default=None, compare=False)

    def v1(self, *, lacks: str = "", has: str = "") -> Shape:
        """The same object in the first version of the API, which the newest SDK no longer has types for."""
        required = (self.required - _words(lacks)) | _words(has)
        return Shape(self.name, required, self.optional | _words(lacks), None, self.id, self.rules)


RANDOM = "[A-Za-z0-9]{24}"


# ---- rules between fields

_ENDED_AT = {"completed": "completed_at", "failed": "failed_at", "cancelled": "cancelled_at", "expired": "expired_at"}


def _times(thing: Json, *names: str) -> Iterator[str]:
    """Of the moments an object may end at, exactly its own is set."""
    own = _ENDED_AT.get(thing["status"])
    for name in names:
        if (thing[name] is not None) != (name == own):
            yield f"{name} is {thing[name]!r} while the status is {thing['status']}"


def _usage(usage: Json | None) -> Iterator[str]:
    if usage is not None and usage["total_tokens"] != usage["prompt_tokens"] + usage["completion_tokens"]:
        yield "usage.total_tokens is not the sum"


def _metadata(thing: Json) -> Iterator[str]:
    for key, value in (thing["metadata"] or {}).items():
        if not isinstance(value, str):
            yield f"metadata.{key} is not a string"


def _run(run: Json) -> Iterator[str]:
    status = run["status"]
    ended = status in ("completed", "failed", "cancelled", "expired", "incomplete")
    if status == "incomplete":
        if (run["incomplete_details"] or {}).get("reason") not in ("max_completion_tokens", "max_prompt_tokens"):
            yield "an incomplete run does not say why"
    else:
        yield from _times(run, "completed_at")
        if run["incomplete_details"] is not None:
            yield "incomplete_details are set on a run that is not incomplete"
    yield from _times(run, "failed_at", "cancelled_at")
    if (run["required_action"] is not None) != (status == "requires_action"):
        yield f"required_action is {'set' if run['required_action'] else 'null'} while the status is {status}"
    if (run["last_error"] is not None) != (status == "failed"):
        yield f"last_error is {run['last_error']!r} while the status is {status}"
    if status in ("completed", "failed", "incomplete") and run["expires_at"] is not None:
        yield f"expires_at is kept on a {status} run"
    if not ended and run["expires_at"] is None:
        yield f"a {status} run has no expires_at"
    if status == "in_progress" and run["started_at"] is None:
        yield "a run in progress has no started_at"
    if not ended and status != "requires_action" and run["usage"] is not None:
        yield f"usage is set while the run is {status}"
    if status in ("completed", "incomplete") and run["usage"] is None:
        yield f"usage is null on a {status} run"
    for call in (run["required_action"] or {}).get("submit_tool_outputs", {}).get("tool_calls", []):
        if not call["id"].startswith("call_") or call["type"] != "function":
            yield "a required tool call is not a function call with an id of its own"
    yield from _usage(run["usage"])
    yield from _metadata(run)


def _step(step: Json) -> Iterator[str]:
    yield from _times(step, *_ENDED_AT.values())
    if (step["last_error"] is not None) != (step["status"] == "failed"):
        yield f"last_error is {step['last_error']!r} while the status is {step['status']}"
    if step["type"] != step["step_details"]["type"]:
        yield "type and step_details.type differ"
    if step["status"] == "completed" and step["usage"] is None:
        yield "usage is null on a completed step"
    for call in step["step_details"].get("tool_calls", []):
        if not call["id"].startswith("call_"):
            yield f"a tool call's id is {call['id']!r}"
        if "index" in call:
            yield "a whole tool call has an index"
    yield from _usage(step["usage"])
    yield from _metadata(step)


def _message(message: Json) -> Iterator[str]:
    status = message["status"]
    yield from _times(message, "completed_at")
    for name in ("incomplete_at", "incomplete_details"):
        if (message[name] is not None) != (status == "incomplete"):
            yield f"{name} is {message[name]!r} while the status is {status}"
    for part in message["content"]:
        if "index" in part:
            yield "a whole content part has an index"
        for annotation in part.get("text", {}).get("annotations", []) if part["type"] == "text" else []:
            cut = part["text"]["value"][annotation["start_index"] : annotation["end_index"]]
            if cut != annotation["text"]:
                yield f"an annotation says {annotation['text']!r} where the text has {cut!r}"
    yield from _metadata(message)


def _upload(upload: Json) -> Iterator[str]:
    if (upload["file"] is not None) != (upload["status"] == "completed"):
        yield f"file is {upload['file']!r} while the status is {upload['status']}"


def _counts(counts: Json) -> Iterator[str]:
    if counts["total"] != sum(counts[each] for each in ("in_progress", "completed", "failed", "cancelled")):
        yield "file_counts.total is not the sum"


def _days(store: Json) -> int:
    return int((store["expires_after"] or {}).get("days", 0))


def _vector_store(store: Json) -> Iterator[str]:
    yield from _counts(store["file_counts"])
    if store["status"] != "expired" and (store["status"] == "in_progress") != bool(store["file_counts"]["in_progress"]):
        yield f"the status is {store['status']} while {store['file_counts']['in_progress']} files are in progress"
    if (store["expires_at"] is None) != (store["expires_after"] is None):
        yield f"expires_at is {store['expires_at']!r} while expires_after is {store['expires_after']!r}"
    elif store["expires_at"] not in (None, store["last_active_at"] + _days(store) * 86_400):
        yield "expires_at is not so many days after last_active_at"
    if store["bytes"] != store["usage_bytes"]:
        yield "bytes and usage_bytes differ"
    yield from _metadata(store)


def _vector_store_file(file: Json) -> Iterator[str]:
    if (file["last_error"] is not None) != (file["status"] == "failed"):
        yield f"last_error is {file['last_error']!r} while the status is {file['status']}"
    sizes = file["chunking_strategy"].get("static", {})
    if file["chunking_strategy"]["type"] != "static" or sizes.keys() != {
        "max_chunk_size_tokens",
        "chunk_overlap_tokens",
    }:
        yield f"chunking_strategy is {file['chunking_strategy']!r}"
    if file["status"] != "completed" and file["usage_bytes"] != 0:
        yield f"usage_bytes is {file['usage_bytes']} while the status is {file['status']}"


def _file_batch(batch: Json) -> Iterator[str]:
    yield from _counts(batch["file_counts"])
    if (batch["status"] == "in_progress") != bool(batch["file_counts"]["in_progress"]):
        yield f"the status is {batch['status']} while {batch['file_counts']['in_progress']} files are in progress"
    # The SDK's type has the schema's word for it, which the service did not use.
    yield from _of_type(VectorStoreFileBatch, {**batch, "object": "vector_store.files_batch"})


def _search_results(page: Json) -> Iterator[str]:
    yield from _only_page(page)
    scores = [each["score"] for each in page["data"]]
    if scores != sorted(scores, reverse=True) or any(not 0 <= score <= 1 for score in scores):
        yield f"the scores are {scores}"
    for each in page["data"]:
        yield from _of_type(VectorStoreSearchResponse, each)


def _file_content(page: Json) -> Iterator[str]:
    yield from _only_page(page)
    for each in page["data"]:
        yield from _of_type(FileContentResponse, each)


def _only_page(page: Json) -> Iterator[str]:
    if page["has_more"] is not False or page["next_page"] is not None:
        yield "there is said to be another page, which nothing can ask for"


def _of_type(type_: Any, thing: Json) -> Iterator[str]:
    try:
        _adapter(type_).validate_python(thing, strict=True)
    except pydantic.ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            yield f"SDK type {type_.__name__}, {'.'.join(map(str, each['loc']))}: {each['msg']}"


def _deleted(thing: Json) -> Iterator[str]:
    if thing["deleted"] is not True:
        yield "deleted is not true"


# ---- the objects

ASSISTANT = Shape(
    "assistant",
    _words(
        "id object created_at name description model instructions tools tool_resources metadata "
        "temperature top_p response_format"
    ),
    _words("reasoning_effort"),
    Assistant,
    f"asst_{RANDOM}",
    _metadata,
)
THREAD = Shape(
    "thread", _words("id object created_at metadata tool_resources"), frozenset(), Thread, f"thread_{RANDOM}", _metadata
)
MESSAGE = Shape(
    "thread.message",
    _words(
        "id object created_at thread_id status incomplete_details completed_at incomplete_at role content "
        "assistant_id run_id attachments metadata"
    ),
    frozenset(),
    Message,
    f"msg_{RANDOM}",
    _message,
)
RUN = Shape(
    "thread.run",
    _words(
        "id object created_at thread_id assistant_id status required_action last_error expires_at started_at "
        "cancelled_at failed_at completed_at incomplete_details model instructions tools metadata usage temperature "
        "top_p max_prompt_tokens max_completion_tokens truncation_strategy tool_choice parallel_tool_calls "
        "response_format"
    ),
    _words("tool_resources reasoning_effort"),
    Run,
    f"run_{RANDOM}",
    _run,
)
STEP = Shape(
    "thread.run.step",
    _words(
        "id object created_at assistant_id thread_id run_id type status step_details last_error expired_at "
        "cancelled_at failed_at completed_at metadata usage"
    ),
    _words("expires_at"),
    RunStep,
    f"step_{RANDOM}",
    _step,
)
FILE = Shape(
    "file",
    _words("id object bytes created_at filename purpose status"),
    _words("status_details expires_at"),
    FileObject,
    f"(file|assistant)-{RANDOM}",
)
UPLOAD = Shape(
    "upload",
    _words("id object bytes created_at filename purpose status expires_at file"),
    frozenset(),
    Upload,
    "upload_[A-Za-z0-9]+",
    _upload,
)
PART = Shape("upload.part", _words("id object created_at upload_id"), frozenset(), UploadPart, "part_[A-Za-z0-9]+")
VECTOR_STORE = Shape(
    "vector_store",
    _words(
        "id object created_at name description usage_bytes bytes file_counts status expires_after expires_at "
        "last_active_at metadata"
    ),
    frozenset(),
    VectorStore,
    f"vs_{RANDOM}",
    _vector_store,
)
VECTOR_STORE_FILE = Shape(
    "vector_store.file",
    _words("id object usage_bytes created_at vector_store_id status last_error chunking_strategy attributes"),
    frozenset(),
    VectorStoreFile,
    f"(file|assistant)-{RANDOM}",
    _vector_store_file,
)
FILE_BATCH = Shape(
    "vector_store.file_batch",
    _words("id object created_at vector_store_id status file_counts"),
    frozenset(),
    None,
    f"vsfb_{RANDOM}",
    _file_batch,
)
SEARCH_RESULTS = Shape(
    "vector_store.search_results.page",
    _words("object search_query data has_more next_page"),
    rules=_search_results,
)
FILE_CONTENT = Shape("vector_store.file_content.page", _words("object data has_more next_page"), rules=_file_content)
MODEL = Shape("model", _words("id object created owned_by"), _words("shutdown_date"), Model, ".+")
MESSAGE_DELTA = Shape("thread.message.delta", _words("id object delta"), frozenset(), MessageDeltaEvent, MESSAGE.id)
STEP_DELTA = Shape("thread.run.step.delta", _words("id object delta"), frozenset(), RunStepDeltaEvent, STEP.id)
ASSISTANT_FILE = Shape("assistant.file", _words("id object created_at assistant_id"), id=FILE.id)
MESSAGE_FILE = Shape("thread.message.file", _words("id object created_at message_id"), id=FILE.id)


def deleted(name: str, of: Shape, type_: Any = None) -> Shape:
    return Shape(name, _words("id object deleted"), frozenset(), type_, of.id, _deleted)


V1 = {
    ASSISTANT: ASSISTANT.v1(lacks="tool_resources temperature top_p response_format", has="file_ids"),
    THREAD: THREAD.v1(lacks="tool_resources"),
    MESSAGE: MESSAGE.v1(lacks="attachments", has="file_ids"),
    RUN: RUN.v1(lacks="parallel_tool_calls temperature top_p", has="file_ids"),
    STEP: STEP.v1(),
    MESSAGE_DELTA: MESSAGE_DELTA.v1(),
    STEP_DELTA: STEP_DELTA.v1(),
}


@dataclass(frozen=True)
class ListOf:
    """A page of objects. `is_paged`: with first_id, last_id and has_more."""

    shape: Shape
    is_paged: bool = True


_A, _T, _M = "/assistants/[^/]+", "/threads/[^/]+", "/threads/[^/]+/messages/[^/]+"
_R, _V = f"{_T}/runs/[^/]+", "/vector_stores/[^/]+"
ROUTES: tuple[tuple[str, str, Shape | ListOf], ...] = (
    ("POST", "/assistants", ASSISTANT),
    ("GET", "/assistants", ListOf(ASSISTANT)),
    ("GET|POST", _A, ASSISTANT),
    ("DELETE", _A, deleted("assistant.deleted", ASSISTANT, AssistantDeleted)),
    ("POST", f"{_A}/files", ASSISTANT_FILE),
    ("GET", f"{_A}/files", ListOf(ASSISTANT_FILE)),
    ("GET", f"{_A}/files/[^/]+", ASSISTANT_FILE),
    ("DELETE", f"{_A}/files/[^/]+", deleted("assistant.file.deleted", FILE)),
    ("POST", "/threads", THREAD),
    ("POST", "/threads/runs", RUN),
    ("GET|POST", _T, THREAD),
    ("DELETE", _T, deleted("thread.deleted", THREAD, ThreadDeleted)),
    ("POST", f"{_T}/messages", MESSAGE),
    ("GET", f"{_T}/messages", ListOf(MESSAGE)),
    ("GET|POST", _M, MESSAGE),
    ("DELETE", _M, deleted("thread.message.deleted", MESSAGE, MessageDeleted)),
    ("GET", f"{_M}/files", ListOf(MESSAGE_FILE)),
    ("GET", f"{_M}/files/[^/]+", MESSAGE_FILE),
    ("POST", f"{_T}/runs", RUN),
    ("GET", f"{_T}/runs", ListOf(RUN)),
    ("GET|POST", _R, RUN),
    ("POST", f"{_R}/(cancel|submit_tool_outputs)", RUN),
    ("GET", f"{_R}/steps", ListOf(STEP)),
    ("GET", f"{_R}/steps/[^/]+", STEP),
    ("POST", "/files", FILE),
    ("GET", "/files", ListOf(FILE)),
    ("GET", "/files/[^/]+", FILE),
    ("DELETE", "/files/[^/]+", deleted("file", FILE, FileDeleted)),
    ("POST", "/uploads", UPLOAD),
    ("POST", "/uploads/[^/]+/parts", PART),
    ("POST", "/uploads/[^/]+/(complete|cancel)", UPLOAD),
    ("POST", "/vector_stores", VECTOR_STORE),
    ("GET", "/vector_stores", ListOf(VECTOR_STORE)),
    ("GET|POST", _V, VECTOR_STORE),
    ("DELETE", _V, deleted("vector_store.deleted", VECTOR_STORE, VectorStoreDeleted)),
    ("POST", f"{_V}/search", SEARCH_RESULTS),
    ("POST", f"{_V}/files", VECTOR_STORE_FILE),
    ("GET", f"{_V}/files", ListOf(VECTOR_STORE_FILE)),
    ("GET|POST", f"{_V}/files/[^/]+", VECTOR_STORE_FILE),
    ("DELETE", f"{_V}/files/[^/]+", deleted("vector_store.file.deleted", VECTOR_STORE_FILE, VectorStoreFileDeleted)),
    ("GET", f"{_V}/files/[^/]+/content", FILE_CONTENT),
    ("POST", f"{_V}/file_batches", FILE_BATCH),
    ("GET", f"{_V}/file_batches/[^/]+", FILE_BATCH),
    ("POST", f"{_V}/file_batches/[^/]+/cancel", FILE_BATCH),
    ("GET", f"{_V}/file_batches/[^/]+/files", ListOf(VECTOR_STORE_FILE)),
    ("GET", "/models", ListOf(MODEL, is_paged=False)),
    ("GET", "/models/.+", MODEL),
)


def expected(method: str, path: str) -> Shape | ListOf | None:
    """What a success of this call returns; `path` without its dialect. None: not JSON, or not of this API."""
    for methods, pattern, shape in ROUTES:
        if method in methods.split("|") and re.fullmatch(pattern, path):
            return shape
    return None


@cache
def _adapter(type_: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(type_)


def check(thing: Any, shape: Shape, version: int = 2) -> Iterator[str]:
    """What is wrong with an object."""
    shape = V1.get(shape, shape) if version == 1 else shape
    if not isinstance(thing, dict):
        yield f"{shape.name} is {type(thing).__name__}, not an object"
        return
    if missing := shape.required - thing.keys():
        yield f"{shape.name} lacks {', '.join(sorted(missing))}"
        return
    if unknown := thing.keys() - shape.required - shape.optional:
        yield f"{shape.name} has unknown {', '.join(sorted(unknown))}"
    if thing["object"] != shape.name:
        yield f"object is {thing['object']!r}, not {shape.name!r}"
    if shape.id and (not isinstance(thing["id"], str) or not re.fullmatch(shape.id, thing["id"])):
        yield f"id of {shape.name} is {thing['id']!r}"
    if shape.type is not None:
        problems = list(_of_type(shape.type, thing))
        yield from problems
        if problems:
            return
    if shape.rules is not None:
        yield from (f"{shape.name}: {problem}" for problem in shape.rules(thing))


def check_list(body: Any, of: ListOf, version: int, *, limit: int, order: str) -> Iterator[str]:
    """What is wrong with a page, as it was asked for."""
    keys = {"object", "data", "first_id", "last_id", "has_more"} if of.is_paged else {"object", "data"}
    if not isinstance(body, dict) or body.keys() != keys:
        yield f"the list has {sorted(body) if isinstance(body, dict) else body!r}, not {sorted(keys)}"
        return
    if body["object"] != "list" or not isinstance(body["data"], list):
        yield "it is not a list"
        return
    for each in body["data"]:
        yield from check(each, of.shape, version)
    if not of.is_paged:
        return
    ids = [each.get("id") for each in body["data"]]
    if (body["first_id"], body["last_id"]) != ((ids[0], ids[-1]) if ids else (None, None)):
        yield f"first_id and last_id are {body['first_id']}, {body['last_id']} of {ids}"
    if not isinstance(body["has_more"], bool) or (body["has_more"] and not ids):
        yield f"has_more is {body['has_more']!r}"
    if len(ids) > limit:
        yield f"{len(ids)} items where {limit} were asked for"
    if len(set(ids)) != len(ids):
        yield "an item is listed twice"
    times = [each.get("created_at") for each in body["data"]]
    if times != sorted(times, reverse=order == "desc"):
        yield f"the items are not in {order} order"
