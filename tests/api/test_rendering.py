"""Objects and events in their wire form."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from locum.api.paging import listing, page_of
from locum.api.v2.objects import (
    render_assistant,
    render_event,
    render_event_with_content,
    render_file,
    render_message,
    render_run,
    render_step,
    render_thread,
)
from locum.domain.assistants import Assistant
from locum.domain.deltas import results_of
from locum.domain.events import (
    CodeInterpreterCallDelta,
    CodeInterpreterDelta,
    Done,
    Event,
    FileSearchCallDelta,
    ImageFilePartDelta,
    ImageOutputDelta,
    LogOutputDelta,
    MessageDelta,
    MessageEvent,
    RunEvent,
    StepDelta,
    StepEvent,
    StreamError,
    TextDelta,
    TextPartDelta,
    ThreadCreated,
)
from locum.domain.files import File
from locum.domain.messages import (
    Attachment,
    FileCitation,
    FileCitationAnnotation,
    FilePath,
    FilePathAnnotation,
    ImageFile,
    ImageFilePart,
    IncompleteDetails,
    Message,
    Text,
    TextPart,
)
from locum.domain.pages import Listing, Page
from locum.domain.runs import LastError, Run, Usage
from locum.domain.steps import (
    CodeInterpreter,
    CodeInterpreterCall,
    FileSearch,
    FileSearchCall,
    Image,
    ImageOutput,
    LogOutput,
    MessageCreation,
    MessageCreationDetails,
    SearchResult,
    Step,
    ToolCallsDetails,
)
from locum.domain.threads import Thread
from locum.domain.tools import CodeInterpreterResources, CodeInterpreterTool, RankingOptions, ToolResources
from locum.errors import InvalidRequest

ASSISTANT = Assistant(id="asst_1", created_at=1, model="m")
THREAD = Thread(id="thread_1", created_at=1)
MESSAGE = Message(
    id="msg_1",
    created_at=1,
    completed_at=1,
    thread_id="thread_1",
    role="user",
    content=(TextPart(Text(value="hi")),),
)
RUN = Run(
    id="run_1",
    created_at=1,
    thread_id="thread_1",
    assistant_id="asst_1",
    status="queued",
    model="m",
    instructions="",
    tools=(CodeInterpreterTool(),),
    expires_at=601,
)
STEP = Step(
    id="step_1",
    created_at=1,
    assistant_id="asst_1",
    thread_id="thread_1",
    run_id="run_1",
    step_details=ToolCallsDetails(),
    expires_at=601,
)
FILE = File(id="file-1", created_at=1, filename="a.csv", purpose="assistants", bytes=3, sha256="00")


def wire(rendered: dict[str, Any]) -> Any:
    return json.loads(msgspec.json.encode(rendered))


def test_an_assistant_shows_every_key() -> None:
    assert wire(render_assistant(ASSISTANT)) == {
        "id": "asst_1",
        "object": "assistant",
        "created_at": 1,
        "name": None,
        "description": None,
        "model": "m",
        "instructions": None,
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "response_format": "auto",
        "reasoning_effort": None,
    }


def test_tools_and_resources_keep_their_shape() -> None:
    resources = ToolResources(code_interpreter=CodeInterpreterResources(file_ids=("file-1",)))
    shown = wire(
        render_assistant(msgspec.structs.replace(ASSISTANT, tools=(CodeInterpreterTool(),), tool_resources=resources))
    )
    assert shown["tools"] == [{"type": "code_interpreter"}]
    assert shown["tool_resources"] == {"code_interpreter": {"file_ids": ["file-1"]}}


def test_a_thread() -> None:
    assert wire(render_thread(THREAD)) == {
        "id": "thread_1",
        "object": "thread",
        "created_at": 1,
        "metadata": {},
        "tool_resources": {},
    }


def test_a_message_of_a_user() -> None:
    assert wire(render_message(MESSAGE)) == {
        "id": "msg_1",
        "object": "thread.message",
        "created_at": 1,
        "thread_id": "thread_1",
        "status": "completed",
        "incomplete_details": None,
        "completed_at": 1,
        "incomplete_at": None,
        "role": "user",
        "content": [{"type": "text", "text": {"value": "hi", "annotations": []}}],
        "assistant_id": None,
        "run_id": None,
        "attachments": [],
        "metadata": {},
    }


def test_a_message_with_an_image_a_file_and_an_end_before_its_time() -> None:
    annotation = FilePathAnnotation(
        text="sandbox:/mnt/data/a.csv", start_index=4, end_index=27, file_path=FilePath("file-1")
    )
    shown = wire(
        render_message(
            msgspec.structs.replace(
                MESSAGE,
                role="assistant",
                content=(
                    ImageFilePart(ImageFile("file-2")),
                    TextPart(Text(value="see sandbox:/mnt/data/a.csv", annotations=(annotation,))),
                ),
                attachments=(Attachment(file_id="file-1", tools=(CodeInterpreterTool(),)),),
                status="incomplete",
                incomplete_details=IncompleteDetails("run_cancelled"),
            )
        )
    )
    assert shown["content"] == [
        {"type": "image_file", "image_file": {"file_id": "file-2"}},
        {
            "type": "text",
            "text": {
                "value": "see sandbox:/mnt/data/a.csv",
                "annotations": [
                    {
                        "type": "file_path",
                        "text": "sandbox:/mnt/data/a.csv",
                        "start_index": 4,
                        "end_index": 27,
                        "file_path": {"file_id": "file-1"},
                    }
                ],
            },
        },
    ]
    assert shown["attachments"] == [{"file_id": "file-1", "tools": [{"type": "code_interpreter"}]}]
    assert shown["incomplete_details"] == {"reason": "run_cancelled"}


def test_a_queued_run_shows_every_key() -> None:
    assert wire(render_run(RUN)) == {
        "id": "run_1",
        "object": "thread.run",
        "created_at": 1,
        "thread_id": "thread_1",
        "assistant_id": "asst_1",
        "status": "queued",
        "required_action": None,
        "last_error": None,
        "expires_at": 601,
        "started_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "incomplete_details": None,
        "model": "m",
        "instructions": "",
        "tools": [{"type": "code_interpreter"}],
        "tool_resources": {},
        "metadata": {},
        "usage": None,
        "temperature": 1.0,
        "top_p": 1.0,
        "max_prompt_tokens": None,
        "max_completion_tokens": None,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "response_format": "auto",
        "reasoning_effort": None,
    }


def test_a_run_that_failed_says_why_and_what_it_used() -> None:
    failed = msgspec.structs.replace(
        RUN,
        status="failed",
        last_error=LastError(code="server_error", message="Sorry, something went wrong."),
        usage=Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3),
    )
    shown = wire(render_run(failed))
    assert shown["last_error"] == {"code": "server_error", "message": "Sorry, something went wrong."}
    assert shown["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_a_step_that_makes_a_message() -> None:
    step = msgspec.structs.replace(STEP, step_details=MessageCreationDetails(MessageCreation("msg_1")))
    assert wire(render_step(step)) == {
        "id": "step_1",
        "object": "thread.run.step",
        "created_at": 1,
        "assistant_id": "asst_1",
        "thread_id": "thread_1",
        "run_id": "run_1",
        "type": "message_creation",
        "status": "in_progress",
        "step_details": {"type": "message_creation", "message_creation": {"message_id": "msg_1"}},
        "last_error": None,
        "expired_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "expires_at": 601,
        "metadata": None,
        "usage": None,
    }


def cell(cell: CodeInterpreter) -> Any:
    call = CodeInterpreterCall(id="call_1", code_interpreter=cell)
    return wire(render_step(msgspec.structs.replace(STEP, step_details=ToolCallsDetails(tool_calls=(call,)))))


def test_a_step_that_calls_tools_begins_empty() -> None:
    shown = wire(render_step(STEP))
    assert (shown["type"], shown["step_details"]) == ("tool_calls", {"type": "tool_calls", "tool_calls": []})


def test_a_cell_that_has_not_run_has_no_outputs() -> None:
    assert cell(CodeInterpreter(input="1"))["step_details"]["tool_calls"] == [
        {"id": "call_1", "type": "code_interpreter", "code_interpreter": {"input": "1", "outputs": []}}
    ]


def test_a_cell_shows_what_it_put_out_and_nothing_of_our_own() -> None:
    outputs = (LogOutput("2"), ImageOutput(Image("file-1")))
    shown = cell(CodeInterpreter(input="1+1", outputs=outputs, written=("a.csv",)))
    assert shown["step_details"]["tool_calls"][0]["code_interpreter"] == {
        "input": "1+1",
        "outputs": [{"type": "logs", "logs": "2"}, {"type": "image", "image": {"file_id": "file-1"}}],
    }


FOUND = SearchResult(
    file_id="file-1", file_name="a.pdf", score=0.5, text="The text.", quote="text", start=3, end=12, page=2
)
SEARCHED = FileSearch(
    queries=("q",), ranking_options=RankingOptions(score_threshold=0.1), results=(FOUND,), number=3, notes=("A note.",)
)


def search(search: FileSearch, *, with_content: bool = False) -> Any:
    call = FileSearchCall(id="call_1", file_search=search)
    step = msgspec.structs.replace(STEP, step_details=ToolCallsDetails(tool_calls=(call,)))
    (shown,) = wire(render_step(step, with_content=with_content))["step_details"]["tool_calls"]
    return shown


def test_a_search_that_has_not_been_made_is_empty() -> None:
    assert search(FileSearch(queries=("q",))) == {"id": "call_1", "type": "file_search", "file_search": {}}


def test_a_search_shows_what_it_found_and_its_text_to_who_asks() -> None:
    result = {"file_id": "file-1", "file_name": "a.pdf", "score": 0.5}
    ranking = {"ranker": "auto", "score_threshold": 0.1}
    assert search(SEARCHED)["file_search"] == {"ranking_options": ranking, "results": [result]}
    shown = {**result, "content": [{"type": "text", "text": "The text."}]}
    assert search(SEARCHED, with_content=True)["file_search"] == {"ranking_options": ranking, "results": [shown]}


def test_a_search_that_found_nothing_has_no_results() -> None:
    assert search(FileSearch(queries=("q",), results=()))["file_search"]["results"] == []


def test_what_was_found_is_told_in_one_delta() -> None:
    told = StepDelta("step_1", (results_of(1, FileSearchCall("call_1", SEARCHED)),))
    for render, content in (
        (render_event, {}),
        (render_event_with_content, {"content": [{"type": "text", "text": "The text."}]}),
    ):
        _, data = render(told)
        (call,) = json.loads(data)["delta"]["step_details"]["tool_calls"]
        assert call == {
            "index": 1,
            "type": "file_search",
            "file_search": {
                "ranking_options": {"ranker": "auto", "score_threshold": 0.1},
                "results": [{"index": 0, "file_id": "file-1", "file_name": "a.pdf", "score": 0.5, **content}],
            },
        }


def test_a_citation_carries_its_quote() -> None:
    citation = FileCitationAnnotation(
        text="【0:0†source】",
        start_index=2,
        end_index=14,
        file_citation=FileCitation(file_id="file-1", quote="text"),
    )
    part = TextPart(Text(value="a 【0:0†source】", annotations=(citation,)))
    shown = wire(render_message(msgspec.structs.replace(MESSAGE, content=(part,))))
    assert shown["content"][0]["text"]["annotations"] == [
        {
            "type": "file_citation",
            "text": "【0:0†source】",
            "start_index": 2,
            "end_index": 14,
            "file_citation": {"file_id": "file-1", "quote": "text"},
        }
    ]


def test_usage_of_a_step_is_shown_once_it_has_ended() -> None:
    usage = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
    running = msgspec.structs.replace(STEP, usage=usage)
    assert wire(render_step(running))["usage"] is None
    ended = msgspec.structs.replace(running, status="completed", completed_at=2)
    assert wire(render_step(ended))["usage"]["total_tokens"] == 3


def test_a_file_is_processed_at_once() -> None:
    assert wire(render_file(FILE)) == {
        "id": "file-1",
        "object": "file",
        "bytes": 3,
        "created_at": 1,
        "filename": "a.csv",
        "purpose": "assistants",
        "status": "processed",
        "status_details": None,
        "expires_at": None,
    }


@pytest.mark.parametrize(
    ("event", "name", "data"),
    [
        (ThreadCreated(THREAD), "thread.created", wire(render_thread(THREAD))),
        (RunEvent("in_progress", RUN), "thread.run.in_progress", wire(render_run(RUN))),
        (StepEvent("created", STEP), "thread.run.step.created", wire(render_step(STEP))),
        (MessageEvent("incomplete", MESSAGE), "thread.message.incomplete", wire(render_message(MESSAGE))),
        (
            MessageDelta("msg_1", (TextPartDelta(index=0, text=TextDelta(value="한", annotations=())),)),
            "thread.message.delta",
            {
                "id": "msg_1",
                "object": "thread.message.delta",
                "delta": {"content": [{"index": 0, "type": "text", "text": {"value": "한", "annotations": []}}]},
            },
        ),
        (
            MessageDelta("msg_1", (TextPartDelta(index=1, text=TextDelta(value="b")),)),
            "thread.message.delta",
            {
                "id": "msg_1",
                "object": "thread.message.delta",
                "delta": {"content": [{"index": 1, "type": "text", "text": {"value": "b"}}]},
            },
        ),
        (
            MessageDelta("msg_1", (ImageFilePartDelta(index=0, image_file=ImageFile("file-1")),)),
            "thread.message.delta",
            {
                "id": "msg_1",
                "object": "thread.message.delta",
                "delta": {"content": [{"index": 0, "type": "image_file", "image_file": {"file_id": "file-1"}}]},
            },
        ),
        (
            StepDelta(
                "step_1",
                (
                    CodeInterpreterCallDelta(
                        index=0, id="call_1", code_interpreter=CodeInterpreterDelta(input="", outputs=())
                    ),
                ),
            ),
            "thread.run.step.delta",
            {
                "id": "step_1",
                "object": "thread.run.step.delta",
                "delta": {
                    "step_details": {
                        "type": "tool_calls",
                        "tool_calls": [
                            {
                                "index": 0,
                                "id": "call_1",
                                "type": "code_interpreter",
                                "code_interpreter": {"input": "", "outputs": []},
                            }
                        ],
                    }
                },
            },
        ),
        (
            StepDelta("step_1", (FileSearchCallDelta(index=0, id="call_1"),)),
            "thread.run.step.delta",
            {
                "id": "step_1",
                "object": "thread.run.step.delta",
                "delta": {
                    "step_details": {
                        "type": "tool_calls",
                        "tool_calls": [{"index": 0, "id": "call_1", "type": "file_search", "file_search": {}}],
                    }
                },
            },
        ),
        (
            StepDelta(
                "step_1",
                (
                    CodeInterpreterCallDelta(
                        index=0,
                        code_interpreter=CodeInterpreterDelta(
                            outputs=(
                                LogOutputDelta(index=0, logs="1"),
                                ImageOutputDelta(index=1, image=Image("file-1")),
                            )
                        ),
                    ),
                ),
            ),
            "thread.run.step.delta",
            {
                "id": "step_1",
                "object": "thread.run.step.delta",
                "delta": {
                    "step_details": {
                        "type": "tool_calls",
                        "tool_calls": [
                            {
                                "index": 0,
                                "type": "code_interpreter",
                                "code_interpreter": {
                                    "outputs": [
                                        {"index": 0, "type": "logs", "logs": "1"},
                                        {"index": 1, "type": "image", "image": {"file_id": "file-1"}},
                                    ]
                                },
                            }
                        ],
                    }
                },
            },
        ),
    ],
)
def test_events(event: Event, name: str, data: Any) -> None:
    shown_name, shown = render_event(event)
    assert (shown_name, json.loads(shown)) == (name, data)
    assert b"\n" not in shown


def test_the_last_event_is_no_json() -> None:
    assert render_event(Done()) == ("done", b"[DONE]")


def test_an_error_event_is_flat_and_nested() -> None:
    name, data = render_event(StreamError(message="m"))
    flat = {"message": "m", "type": "server_error", "param": None, "code": "server_error"}
    assert (name, json.loads(data)) == ("error", {**flat, "error": flat})


def test_line_breaks_never_break_an_event() -> None:
    text = "a\nb\r\nc\u2028d\0"
    _, data = render_event(MessageDelta("msg_1", (TextPartDelta(index=0, text=TextDelta(value=text)),)))
    assert b"\n" not in data
    assert b"\r" not in data
    assert json.loads(data)["delta"]["content"][0]["text"]["value"] == text


def test_a_list_names_its_ends() -> None:
    threads = Listing(data=(THREAD, msgspec.structs.replace(THREAD, id="thread_2")), has_more=True)
    shown = listing(threads, render_thread)
    assert (shown["object"], shown["first_id"], shown["last_id"], shown["has_more"]) == (
        "list",
        "thread_1",
        "thread_2",
        True,
    )


def test_an_empty_list_has_no_ends() -> None:
    assert listing(Listing(data=(), has_more=False), render_thread) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_a_page_is_asked_for() -> None:
    assert page_of({}) == Page()
    assert page_of({"limit": "", "order": "", "after": ""}) == Page()
    assert page_of({"limit": "20", "order": "asc", "after": "a", "before": "b"}) == Page(
        limit=20, order="asc", after="a", before="b"
    )
    assert page_of({}, default=10_000, maximum=10_000).limit == 10_000


@pytest.mark.parametrize(
    ("query", "message", "code"),
    [
        (
            {"limit": "101"},
            "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
            "integer_above_max_value",
        ),
        (
            {"limit": "0"},
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "integer_below_min_value",
        ),
        ({"limit": "abc"}, "Invalid type for 'limit': expected an integer, but got a string instead.", "invalid_type"),
        ({"limit": "1.5"}, "Invalid type for 'limit': expected an integer, but got a string instead.", "invalid_type"),
        ({"limit": "1_0"}, "Invalid type for 'limit': expected an integer, but got a string instead.", "invalid_type"),
        (
            {"limit": "9" * 9999},
            "Invalid type for 'limit': expected an integer, but got a string instead.",
            "invalid_type",
        ),
        ({"order": "up"}, "Invalid value: 'up'. Supported values are: 'asc' and 'desc'.", "invalid_value"),
    ],
)
def test_a_wrong_page_is_refused(query: dict[str, str], message: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        page_of(query)
    assert (refused.value.message, refused.value.code) == (message, code)


SPEC = Path(os.environ.get("LOCUM_SPEC_DIR", "/nonexistent"))


@pytest.mark.parametrize(
    ("schema", "rendered"),
    [
        ("AssistantObject", render_assistant(ASSISTANT)),
        ("ThreadObject", render_thread(THREAD)),
        ("MessageObject", render_message(MESSAGE)),
        ("RunObject", render_run(RUN)),
        ("RunStepObject", render_step(STEP)),
        ("OpenAIFile", render_file(FILE)),
    ],
)
@pytest.mark.skipif(not SPEC.is_dir(), reason="LOCUM_SPEC_DIR is not set")
def test_every_key_the_specification_requires_is_there(schema: str, rendered: dict[str, Any]) -> None:
    # The slice is plain YAML of a known layout; reading its `required` list needs no YAML library.
    path = SPEC / "openai-assistants-v2.2025-05-20.9a72a42.yaml"
    lines = iter(path.read_text().splitlines())
    assert any(line == f"    {schema}:" for line in lines)
    assert any(line == "      required:" for line in lines)
    required = []
    for line in lines:
        if not line.startswith("      - "):
            break
        required.append(line.removeprefix("      - ").strip())
    assert required
    assert [key for key in required if key not in rendered] == []
