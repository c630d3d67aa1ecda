"""Objects and stream events as v2 shows them. Pure: domain value in, wire form out.

What is a struct of the same shape in the domain (content parts, tools, usage) is left as it is: msgspec writes it.
"""

from __future__ import annotations

from typing import Any, assert_never

import msgspec
from msgspec import UNSET

from locum.api.errors import stream_error
from locum.domain.assistants import Assistant
from locum.domain.events import (
    Done,
    Event,
    FileSearchCallDelta,
    MessageDelta,
    MessageEvent,
    RunEvent,
    StepDelta,
    StepEvent,
    StreamError,
    ThreadCreated,
    ToolCallDelta,
)
from locum.domain.files import File
from locum.domain.messages import Message
from locum.domain.runs import Run
from locum.domain.search import Passage, Query
from locum.domain.steps import (
    CodeInterpreterCall,
    FileSearchCall,
    FunctionCall,
    MessageCreationDetails,
    SearchResult,
    Step,
    StepDetails,
    ToolCall,
)
from locum.domain.threads import Thread
from locum.domain.uploads import Upload, UploadPart
from locum.domain.vector_stores import FileCounts, VectorStoreFile
from locum.services.file_batches import BatchState
from locum.services.vector_stores import StoreState

_encode = msgspec.json.Encoder().encode


def render_assistant(assistant: Assistant) -> dict[str, Any]:
    return {
        "id": assistant.id,
        "object": "assistant",
        "created_at": assistant.created_at,
        "name": assistant.name,
        "description": assistant.description,
        "model": assistant.model,
        "instructions": assistant.instructions,
        "tools": assistant.tools,
        "tool_resources": assistant.tool_resources,
        "metadata": assistant.metadata,
        "temperature": _or_one(assistant.temperature),
        "top_p": _or_one(assistant.top_p),
        "response_format": assistant.response_format,
        "reasoning_effort": assistant.reasoning_effort,
    }


def render_thread(thread: Thread) -> dict[str, Any]:
    return {
        "id": thread.id,
        "object": "thread",
        "created_at": thread.created_at,
        "metadata": thread.metadata,
        "tool_resources": thread.tool_resources,
    }


def render_message(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "object": "thread.message",
        "created_at": message.created_at,
        "thread_id": message.thread_id,
        "status": message.status,
        "incomplete_details": message.incomplete_details,
        "completed_at": message.completed_at,
        "incomplete_at": message.incomplete_at,
        "role": message.role,
        "content": message.content,
        "assistant_id": message.assistant_id,
        "run_id": message.run_id,
        "attachments": message.attachments,
        "metadata": message.metadata,
    }


def render_run(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "object": "thread.run",
        "created_at": run.created_at,
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_id,
        "status": run.status,
        "required_action": _required_action(run),
        "last_error": run.last_error,
        "expires_at": run.expires_at,
        "started_at": run.started_at,
        "cancelled_at": run.cancelled_at,
        "failed_at": run.failed_at,
        "completed_at": run.completed_at,
        "incomplete_details": run.incomplete_details,
        "model": run.model,
        "instructions": run.instructions,
        "tools": run.tools,
        "tool_resources": run.tool_resources,
        "metadata": run.metadata,
        "usage": run.usage,
        "temperature": _or_one(run.temperature),
        "top_p": _or_one(run.top_p),
        "max_prompt_tokens": run.max_prompt_tokens,
        "max_completion_tokens": run.max_completion_tokens,
        "truncation_strategy": run.truncation_strategy,
        "tool_choice": run.tool_choice,
        "parallel_tool_calls": run.parallel_tool_calls,
        "response_format": run.response_format,
        "reasoning_effort": run.reasoning_effort,
    }


def render_step(step: Step, *, with_content: bool = False) -> dict[str, Any]:
    """`metadata` is null and `expires_at` is there on the hosted wire, whatever its schema says. with_content: the text
    of what was found is shown."""
    return {
        "id": step.id,
        "object": "thread.run.step",
        "created_at": step.created_at,
        "assistant_id": step.assistant_id,
        "thread_id": step.thread_id,
        "run_id": step.run_id,
        "type": "message_creation" if isinstance(step.step_details, MessageCreationDetails) else "tool_calls",
        "status": step.status,
        "step_details": _step_details(step.step_details, with_content=with_content),
        "last_error": step.last_error,
        "expired_at": step.expired_at,
        "cancelled_at": step.cancelled_at,
        "failed_at": step.failed_at,
        "completed_at": step.completed_at,
        "expires_at": step.expires_at,
        "metadata": None,
        "usage": step.usage if not step.is_open else None,
    }


def render_file(file: File) -> dict[str, Any]:
    """`status` is deprecated, and clients still wait for it to become `processed`."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
        "expires_at": file.expires_at,
    }


def render_upload(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": upload.created_at,
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
        "expires_at": upload.expires_at,
        "file": render_file(upload.file) if upload.file else None,
    }


def render_upload_part(part: UploadPart) -> dict[str, Any]:
    return {"id": part.id, "object": "upload.part", "created_at": part.created_at, "upload_id": part.upload_id}


def render_vector_store(state: StoreState) -> dict[str, Any]:
    """`bytes` is what the first SDKs called `usage_bytes`; `name` is a string in all of their types."""
    store, held = state.store, state.held
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": store.created_at,
        "name": store.name or "",
        "description": store.description,
        "usage_bytes": held.usage_bytes,
        "bytes": held.usage_bytes,
        "file_counts": _file_counts(held.counts),
        "status": state.status,
        "expires_after": store.expires_after,
        "expires_at": store.expires_at,
        "last_active_at": store.last_active_at,
        "metadata": store.metadata,
    }


def render_vector_store_file(file: VectorStoreFile) -> dict[str, Any]:
    """`auto` chunking is shown as what it means."""
    return {
        "id": file.id,
        "object": "vector_store.file",
        "usage_bytes": file.usage_bytes,
        "created_at": file.created_at,
        "vector_store_id": file.vector_store_id,
        "status": file.status,
        "last_error": file.last_error,
        "chunking_strategy": {"type": "static", "static": file.chunking},
        "attributes": file.attributes,
    }


def render_file_batch(state: BatchState) -> dict[str, Any]:
    return {
        "id": state.batch.id,
        "object": "vector_store.file_batch",
        "created_at": state.batch.created_at,
        "vector_store_id": state.batch.vector_store_id,
        "status": state.status,
        "file_counts": _file_counts(state.counts),
    }


def render_search_results(query: Query, found: tuple[Passage, ...]) -> dict[str, Any]:
    """All that was found is on the first page."""
    return {
        "object": "vector_store.search_results.page",
        "search_query": query.texts,
        "data": [_passage(each) for each in found],
        "has_more": False,
        "next_page": None,
    }


def render_file_content(text: str) -> dict[str, Any]:
    return {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": text}],
        "has_more": False,
        "next_page": None,
    }


def _passage(passage: Passage) -> dict[str, Any]:
    return {
        "file_id": passage.file_id,
        "filename": passage.filename,
        "score": passage.score,
        "attributes": passage.attributes,
        "content": [{"type": "text", "text": passage.text}],
    }


def _file_counts(counts: FileCounts) -> dict[str, int]:
    return {**msgspec.structs.asdict(counts), "total": counts.total}


def render_event(event: Event) -> tuple[str, bytes]:
    """The event's name, and its data on one line."""
    return _render_event(event, with_content=False)


def render_event_with_content(event: Event) -> tuple[str, bytes]:
    """The same, with the text of what was found."""
    return _render_event(event, with_content=True)


def _render_event(event: Event, *, with_content: bool) -> tuple[str, bytes]:
    match event:
        case MessageDelta():
            delta = {"id": event.message_id, "object": "thread.message.delta", "delta": {"content": event.content}}
            return "thread.message.delta", _encode(delta)
        case StepDelta():
            calls = [_tool_call_delta(each, with_content=with_content) for each in event.tool_calls]
            details = {"type": "tool_calls", "tool_calls": calls}
            delta = {"id": event.step_id, "object": "thread.run.step.delta", "delta": {"step_details": details}}
            return "thread.run.step.delta", _encode(delta)
        case RunEvent():
            return f"thread.run.{event.what}", _encode(render_run(event.run))
        case StepEvent():
            return f"thread.run.step.{event.what}", _encode(render_step(event.step, with_content=with_content))
        case MessageEvent():
            return f"thread.message.{event.what}", _encode(render_message(event.message))
        case ThreadCreated():
            return "thread.created", _encode(render_thread(event.thread))
        case StreamError():
            return "error", _encode(stream_error(event.message, event.code))
        case Done():
            return "done", b"[DONE]"
        case _:
            assert_never(event)


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value


def _step_details(details: StepDetails, *, with_content: bool) -> object:
    if isinstance(details, MessageCreationDetails):
        return details
    calls = [_tool_call(each, with_content=with_content) for each in details.tool_calls]
    return {"type": "tool_calls", "tool_calls": calls}


def _required_action(run: Run) -> dict[str, Any] | None:
    if not run.required_calls:
        return None
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": run.required_calls}}


def _tool_call(call: ToolCall, *, with_content: bool) -> object:
    match call:
        case FunctionCall():
            return call
        case CodeInterpreterCall(code_interpreter=cell):
            shown = {"input": cell.input, "outputs": cell.outputs or ()}
            return {"id": call.id, "type": "code_interpreter", "code_interpreter": shown}
        case FileSearchCall(file_search=search):
            found: dict[str, Any] = {}  # as long as it has not been made
            if search.results is not None:
                results = [_search_result(each, with_content=with_content) for each in search.results]
                found = {"ranking_options": search.ranking_options, "results": results}
            return {"id": call.id, "type": "file_search", "file_search": found}
        case _:
            assert_never(call)


def _tool_call_delta(delta: ToolCallDelta, *, with_content: bool) -> object:
    if not isinstance(delta, FileSearchCallDelta) or delta.file_search.results is UNSET:
        return delta
    results = [
        {"index": index, **_search_result(each, with_content=with_content)}
        for index, each in enumerate(delta.file_search.results)
    ]
    found = {"ranking_options": delta.file_search.ranking_options, "results": results}
    return {"index": delta.index, "type": "file_search", "file_search": found}


def _search_result(result: SearchResult, *, with_content: bool) -> dict[str, Any]:
    shown = {"file_id": result.file_id, "file_name": result.file_name, "score": result.score}
    return {**shown, "content": [{"type": "text", "text": result.text}]} if with_content else shown
