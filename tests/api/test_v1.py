"""The v1 shapes: the same objects, asked for and shown in the words of the API until April 2024."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from locum.api import validation
from locum.api.routes import ROUTES
from locum.api.shapes import SHAPES
from locum.api.v1 import objects as v1_objects
from locum.api.v1 import requests as v1
from locum.api.v1.links import page_of
from locum.api.v1.retrieval import in_v1
from locum.api.v2 import objects as v2_objects
from locum.api.v2 import requests as v2
from locum.domain.assistants import Assistant
from locum.domain.events import (
    CodeInterpreterCallDelta,
    CodeInterpreterDelta,
    Done,
    MessageDelta,
    MessageEvent,
    RefusalPartDelta,
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
    ImageFile,
    ImageFilePart,
    ImageURL,
    ImageURLPart,
    Message,
    RefusalPart,
    Text,
    TextPart,
)
from locum.domain.pages import Page
from locum.domain.runs import Run
from locum.domain.steps import (
    CodeInterpreter,
    CodeInterpreterCall,
    Function,
    FunctionCall,
    LogOutput,
    Step,
    ToolCallsDetails,
)
from locum.domain.threads import Thread
from locum.domain.tools import (
    CodeInterpreterResources,
    CodeInterpreterTool,
    FileSearchTool,
    FunctionDefinition,
    FunctionTool,
    ToolResources,
)
from locum.errors import InvalidRequest, NotFound
from locum.services.params import AssistantParams, NewMessage, said
from locum.services.tool_resources import from_file_ids
from tests.api.edge import EdgeServer

V1 = {"openai-beta": "assistants=v1"}
FILES = ToolResources(code_interpreter=CodeInterpreterResources(file_ids=("file-1", "assistant-2")))
TOOLS = (CodeInterpreterTool(), FunctionTool(FunctionDefinition(name="f")))

ASSISTANT = Assistant(id="asst_1", created_at=1, model="m", tools=TOOLS, tool_resources=FILES, reasoning_effort="low")
THREAD = Thread(id="thread_1", created_at=1, metadata={"a": "b"}, tool_resources=FILES)
MESSAGE = Message(
    id="msg_1",
    created_at=7,
    completed_at=7,
    thread_id="thread_1",
    role="user",
    content=(TextPart(Text(value="hi")),),
    attachments=(
        Attachment(file_id="file-1", tools=(CodeInterpreterTool(),)),
        Attachment(file_id="file-2"),
        Attachment(file_id="file-1", tools=(CodeInterpreterTool(),)),
    ),
)
RUN = Run(
    id="run_1",
    created_at=1,
    thread_id="thread_1",
    assistant_id="asst_1",
    status="incomplete",
    model="m",
    instructions="",
    tools=TOOLS,
    expires_at=601,
    tool_resources=FILES,
    tool_choice={"type": "file_search"},
    parallel_tool_calls=False,
)
STEP = Step(
    id="step_1",
    created_at=1,
    assistant_id="asst_1",
    thread_id="thread_1",
    run_id="run_1",
    step_details=ToolCallsDetails(
        tool_calls=(
            CodeInterpreterCall("call_1", CodeInterpreter(input="1", outputs=(LogOutput("1"),), written=("a.csv",))),
            FunctionCall("call_2", Function(name="f", arguments="{}")),
        )
    ),
)


def on_the_wire(shown: Any) -> Any:
    return json.loads(msgspec.json.encode(shown))


# Objects


def test_an_assistant_has_file_ids_and_no_tool_resources() -> None:
    assert on_the_wire(v1_objects.render_assistant(ASSISTANT)) == {
        "id": "asst_1",
        "object": "assistant",
        "created_at": 1,
        "name": None,
        "description": None,
        "model": "m",
        "instructions": None,
        "tools": [{"type": "code_interpreter"}, {"type": "function", "function": {"name": "f"}}],
        "file_ids": ["file-1", "assistant-2"],
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "response_format": "auto",
    }


def test_a_thread_has_no_tool_resources() -> None:
    shown = {"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {"a": "b"}}
    assert v1_objects.render_thread(THREAD) == shown


def test_a_message_has_file_ids_each_once_and_no_attachments() -> None:
    shown = on_the_wire(v1_objects.render_message(MESSAGE))
    assert shown["file_ids"] == ["file-1", "file-2"]
    assert "attachments" not in shown
    assert shown["content"] == [{"type": "text", "text": {"value": "hi", "annotations": []}}]


def test_what_v1_has_no_part_for_is_shown_as_text() -> None:
    content = (
        ImageFilePart(ImageFile("file-1")),
        ImageURLPart(ImageURL("https://example.com/a.png", "low")),
        RefusalPart("No."),
    )
    shown = on_the_wire(v1_objects.render_message(msgspec.structs.replace(MESSAGE, content=content)))
    assert shown["content"] == [
        {"type": "image_file", "image_file": {"file_id": "file-1"}},
        {"type": "text", "text": {"value": "https://example.com/a.png", "annotations": []}},
        {"type": "text", "text": {"value": "No.", "annotations": []}},
    ]


def test_a_run_has_file_ids_and_none_of_v2s_own_keys() -> None:
    shown = on_the_wire(v1_objects.render_run(RUN))
    assert shown["file_ids"] == ["file-1", "assistant-2"]
    assert shown["tool_choice"] == {"type": "retrieval"}
    assert shown["status"] == "incomplete"
    assert {"tool_resources", "parallel_tool_calls", "reasoning_effort"}.isdisjoint(shown)


def test_a_step_shows_its_calls_as_v2_does() -> None:
    assert on_the_wire(v1_objects.render_step(STEP)) == on_the_wire(v2_objects.render_step(STEP))


def test_the_retrieval_tool_is_file_search() -> None:
    body = {"model": "m", "tools": [{"type": "retrieval"}, {"type": "code_interpreter"}, {"type": "retrieval"}]}
    params = validation.parse(v1.AssistantBody, body, surface="openai").to_params()
    assert params.tools == (FileSearchTool(), CodeInterpreterTool())
    assert refusal(v1.AssistantBody, {"model": "m", "tools": [{"type": "retrieval", "retrieval": {}}]})[1:] == (
        "tools[0].retrieval",
        "unknown_parameter",
    )


@pytest.mark.parametrize(
    ("in_v2", "shown"),
    [
        ({"type": "code_interpreter"}, {"type": "code_interpreter"}),
        ({"type": "file_search"}, {"type": "retrieval"}),
        ({"type": "file_search", "file_search": {"max_num_results": 3}}, {"type": "retrieval"}),
        (
            {"id": "call_1", "type": "file_search", "file_search": {"results": [{"file_id": "file-1"}]}},
            {"id": "call_1", "type": "retrieval", "retrieval": {}},
        ),
        (
            {"index": 0, "id": "call_1", "type": "file_search", "file_search": {}},
            {"index": 0, "id": "call_1", "type": "retrieval", "retrieval": {}},
        ),
        (
            {"index": 0, "type": "function", "function": {"arguments": "{"}},
            {"index": 0, "type": "function", "function": {"arguments": "{"}},
        ),
    ],
)
def test_file_search_is_called_retrieval(in_v2: dict[str, Any], shown: dict[str, Any]) -> None:
    assert in_v1(in_v2) == shown


def test_events_carry_v1_objects() -> None:
    for event, name, render in [
        (ThreadCreated(THREAD), "thread.created", v1_objects.render_thread(THREAD)),
        (RunEvent("incomplete", RUN), "thread.run.incomplete", v1_objects.render_run(RUN)),
        (StepEvent("created", STEP), "thread.run.step.created", v1_objects.render_step(STEP)),
        (MessageEvent("created", MESSAGE), "thread.message.created", v1_objects.render_message(MESSAGE)),
    ]:
        said_name, data = v1_objects.render_event(event)  # type: ignore[arg-type]
        assert (said_name, json.loads(data)) == (name, on_the_wire(render))


def test_deltas_are_v2s_but_for_refusals() -> None:
    text = TextPartDelta(index=0, text=TextDelta(value="hi", annotations=()))
    cell = CodeInterpreterCallDelta(index=0, id="call_1", code_interpreter=CodeInterpreterDelta(input="", outputs=()))
    for event in (MessageDelta("msg_1", (text,)), StepDelta("step_1", (cell,)), StreamError(message="x"), Done()):
        assert v1_objects.render_event(event) == v2_objects.render_event(event)
    refusal = MessageDelta("msg_1", (RefusalPartDelta(index=1, refusal="No."),))
    name, data = v1_objects.render_event(refusal)
    assert name == "thread.message.delta"
    assert json.loads(data)["delta"]["content"] == [{"index": 1, "type": "text", "text": {"value": "No."}}]


SPEC = Path(os.environ.get("LOCUM_SPEC_DIR", "/nonexistent"))


@pytest.mark.parametrize(
    ("schema", "rendered"),
    [
        ("AssistantObject", v1_objects.render_assistant(ASSISTANT)),
        ("ThreadObject", v1_objects.render_thread(THREAD)),
        ("MessageObject", v1_objects.render_message(MESSAGE)),
        ("RunObject", v1_objects.render_run(RUN)),
        ("RunStepObject", v1_objects.render_step(STEP)),
    ],
)
@pytest.mark.skipif(not SPEC.is_dir(), reason="LOCUM_SPEC_DIR is not set")
def test_every_key_the_specification_requires_is_there(schema: str, rendered: dict[str, Any]) -> None:
    lines = iter((SPEC / "openai-assistants-v1.2024-04-15.83b881d.yaml").read_text().splitlines())
    assert any(line == f"    {schema}:" for line in lines)
    assert any(line == "      required:" for line in lines)
    required = []
    for line in lines:
        if not line.startswith("      - "):
            break
        required.append(line.removeprefix("      - ").strip())
    assert required
    assert [key for key in required if key not in rendered] == []


@pytest.mark.parametrize(("made_at", "uploaded_at"), [(5, 9), (9, 5)])
def test_an_assistant_file_is_as_old_as_the_younger_of_the_two(made_at: int, uploaded_at: int) -> None:
    file = File(id="file-1", created_at=uploaded_at, filename="a", purpose="assistants", bytes=1, sha256="")
    assistant = msgspec.structs.replace(ASSISTANT, created_at=made_at)
    assert v1_objects.render_assistant_file(assistant, file)["created_at"] == 9


# Requests


def refusal(model: type[BaseModel], body: dict[str, Any]) -> tuple[str, str | None, str | None]:
    with pytest.raises(InvalidRequest) as refused:
        validation.parse(model, body, surface="openai")
    return refused.value.message, refused.value.param, refused.value.code


@pytest.mark.parametrize(
    ("model", "body", "param", "code"),
    [
        (v1.AssistantBody, {"model": "m", "tool_resources": {}}, "tool_resources", "unknown_parameter"),
        (v1.AssistantBody, {"model": "m", "reasoning_effort": "low"}, "reasoning_effort", "unknown_parameter"),
        (v1.AssistantBody, {"file_ids": []}, "model", "missing_required_parameter"),
        (v1.AssistantBody, {"model": "m", "file_ids": ["x"]}, "file_ids[0]", "invalid_value"),
        (v1.AssistantBody, {"model": "m", "file_ids": ["file-x"] * 21}, "file_ids", "array_above_max_length"),
        (v1.AssistantChanges, {"file_ids": "file-x"}, "file_ids", "invalid_type"),
        (v1.AssistantChanges, {"temperature": 2.1}, "temperature", "decimal_above_max_value"),
        (v1.ThreadBody, {"tool_resources": {}}, "tool_resources", "unknown_parameter"),
        (v1.ThreadChangesBody, {"tool_resources": {}}, "tool_resources", "unknown_parameter"),
        (v1.MessageBody, {"role": "user", "content": "x", "attachments": []}, "attachments", "unknown_parameter"),
        (v1.MessageBody, {"role": "user", "content": ""}, "content", "string_below_min_length"),
        (v1.MessageBody, {"role": "user", "content": "x" * 256_001}, "content", "string_above_max_length"),
        (
            v1.MessageBody,
            {"role": "user", "content": "x", "file_ids": ["file-x"] * 11},
            "file_ids",
            "array_above_max_length",
        ),
        (
            v1.RunBody,
            {"assistant_id": "asst_1", "parallel_tool_calls": True},
            "parallel_tool_calls",
            "unknown_parameter",
        ),
        (
            v1.RunBody,
            {"assistant_id": "asst_1", "max_prompt_tokens": 255},
            "max_prompt_tokens",
            "integer_below_min_value",
        ),
        (v1.RunBody, {"assistant_id": "asst_1", "thread_id": "thread_1"}, "thread_id", "unknown_parameter"),
        (v1.ThreadAndRunBody, {"assistant_id": "asst_1", "tool_resources": {}}, "tool_resources", "unknown_parameter"),
        (
            v1.ThreadAndRunBody,
            {"assistant_id": "asst_1", "thread": {"messages": [{"role": "system", "content": "x"}]}},
            "thread.messages[0].role",
            "invalid_value",
        ),
        (v1.AssistantFileBody, {}, "file_id", "missing_required_parameter"),
    ],
)
def test_what_v1_does_not_know_is_refused(model: type[BaseModel], body: Any, param: str, code: str) -> None:
    assert refusal(model, body)[1:] == (param, code)


def test_refusals_are_in_the_hosted_words() -> None:
    assert refusal(v1.AssistantBody, {"model": "m", "tool_resources": {}})[0] == "Unknown parameter: 'tool_resources'."
    parts = {"role": "user", "content": [{"type": "text", "text": "x"}]}
    assert refusal(v1.MessageBody, parts) == (
        "Invalid type for 'content': expected a string, but got an array instead.",
        "content",
        "invalid_type",
    )
    for model, body, param in [
        (v1.AssistantBody, {"model": "m", "tools": [{"type": "file_search"}]}, "tools[0].type"),
        (v1.RunBody, {"assistant_id": "asst_1", "tool_choice": {"type": "file_search"}}, "tool_choice.type"),
    ]:
        assert refusal(model, body) == (
            "Invalid value: 'file_search'. Supported values are: 'code_interpreter', 'function', and 'retrieval'.",
            param,
            "invalid_value",
        )


def test_a_v1_run_may_say_all_that_the_last_v1_specification_has() -> None:
    body = {
        "assistant_id": "asst_1",
        "model": "n",
        "instructions": "a",
        "additional_instructions": "b",
        "additional_messages": [{"role": "assistant", "content": "x", "file_ids": ["file-1"]}],
        "tools": [{"type": "code-interpreter"}],
        "metadata": {"a": "b"},
        "temperature": 0,
        "top_p": 0.5,
        "stream": False,
        "max_prompt_tokens": 256,
        "max_completion_tokens": 257,
        "truncation_strategy": {"type": "last_messages", "last_messages": 2},
        "tool_choice": {"type": "code_interpreter"},
        "response_format": {"type": "json_object"},
    }
    message = {**body["additional_messages"][0]}  # type: ignore[index, dict-item]
    file_ids = message.pop("file_ids")
    in_v2 = {**body, "additional_messages": [{**message, "file_ids": file_ids}]}
    meant = validation.parse(v1.RunBody, body, surface="openai").to_params()
    assert meant == validation.parse(v2.RunBody, in_v2, surface="openai").to_params()
    assert validation.parse(
        v1.RunBody, {"assistant_id": "asst_1", "tool_choice": {"type": "retrieval"}}, surface="openai"
    ).to_params().tool_choice == {"type": "file_search"}


IDS = st.lists(st.from_regex(r"(file|assistant)-[A-Za-z0-9]{1,24}", fullmatch=True), max_size=10, unique=True)
WORDS = st.text(max_size=20)
METADATA = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)
TOOL = st.sampled_from([{"type": "code_interpreter"}, {"type": "function", "function": {"name": "f", "strict": True}}])
ASSISTANTS = st.fixed_dictionaries(
    {"model": st.text(min_size=1, max_size=5)},
    optional={
        "name": WORDS,
        "description": WORDS,
        "instructions": WORDS,
        "tools": st.lists(TOOL, max_size=2, unique_by=str),
        "file_ids": IDS,
        "metadata": METADATA,
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "response_format": st.sampled_from(["auto", {"type": "text"}, {"type": "json_object"}]),
    },
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": st.text(min_size=1, max_size=20)},
    optional={"file_ids": IDS, "metadata": METADATA},
)


def made(params: AssistantParams) -> Assistant:
    return Assistant(id="asst_1", created_at=1, **said(params))


def written(new: NewMessage) -> Message:
    files = {
        file_id: File(id=file_id, created_at=1, filename="a.csv", purpose="assistants", bytes=1, sha256="")
        for file_id in new.file_ids
    }
    fields = msgspec.structs.asdict(from_file_ids(new, files))
    fields.pop("file_ids")
    return Message(id="msg_1", created_at=1, thread_id="thread_1", **fields)


@given(body=ASSISTANTS)
def test_what_a_v1_assistant_was_made_of_is_what_v1_shows(body: dict[str, Any]) -> None:
    params = validation.parse(v1.AssistantBody, body, surface="openai").to_params()
    shown = on_the_wire(v1_objects.render_assistant(made(params)))
    assert {name: shown[name] for name in body} == body


@given(body=MESSAGES)
def test_what_a_v1_message_says_is_what_v1_shows(body: dict[str, Any]) -> None:
    params = validation.parse(v1.MessageBody, body, surface="openai").to_params()
    shown = on_the_wire(v1_objects.render_message(written(params)))
    shown["content"] = shown["content"][0]["text"]["value"]
    assert {name: shown[name] for name in body} == body


@given(file_ids=IDS)
def test_an_assistant_shown_in_v1_and_written_back_keeps_its_files(file_ids: list[str]) -> None:
    body = {"model": "m", "tool_resources": {"code_interpreter": {"file_ids": file_ids}}}
    before = made(validation.parse(v2.AssistantBody, body, surface="openai").to_params())
    shown = on_the_wire(v1_objects.render_assistant(before))
    changes = {name: shown[name] for name in v1.AssistantChanges.model_fields}
    after = msgspec.structs.replace(
        before, **said(validation.parse(v1.AssistantChanges, changes, surface="openai").to_params())
    )
    assert after.tool_resources.code_interpreter_file_ids == tuple(file_ids)
    assert on_the_wire(v1_objects.render_assistant(after)) == shown


@given(file_ids=IDS)
def test_a_message_shown_in_v1_and_written_again_keeps_its_attachments(file_ids: list[str]) -> None:
    attachments = [{"file_id": each, "tools": [{"type": "code_interpreter"}]} for each in file_ids]
    body = {"role": "user", "content": "x", "attachments": attachments}
    before = written(validation.parse(v2.MessageBody, body, surface="openai").to_params())
    shown = v1_objects.render_message(before)
    again = {"role": "user", "content": "x", "file_ids": list(shown["file_ids"])}
    after = written(validation.parse(v1.MessageBody, again, surface="openai").to_params())
    assert on_the_wire(v2_objects.render_message(after))["attachments"] == attachments


def test_an_update_clears_files_by_null_or_by_an_empty_list_and_keeps_what_is_not_named() -> None:
    for body, expected in [
        ({"file_ids": None}, ()),
        ({"file_ids": []}, ()),
        ({"name": "n"}, ("file-1", "assistant-2")),
    ]:
        changes = validation.parse(v1.AssistantChanges, body, surface="openai").to_params()
        after = msgspec.structs.replace(ASSISTANT, **said(changes))
        assert after.tool_resources.code_interpreter_file_ids == expected


def test_both_versions_have_all_shapes() -> None:
    for name in SHAPES[1].__dataclass_fields__:
        assert getattr(SHAPES[1], name) is not getattr(SHAPES[2], name)


@pytest.mark.parametrize(
    ("page", "expected", "has_more"),
    [
        (Page(), "edcba", False),
        (Page(order="asc"), "abcde", False),
        (Page(limit=2), "ed", True),
        (Page(limit=2, after="d"), "cb", True),
        (Page(limit=2, after="b"), "a", False),
        (Page(limit=2, before="b"), "dc", True),
        (Page(limit=2, order="asc", before="c"), "ab", False),
        (Page(order="asc", after="a", before="d"), "bc", False),
        (Page(order="asc", after="d", before="b"), "", False),
        (Page(before="e"), "", False),
    ],
)
def test_pages_of_links(page: Page, expected: str, has_more: bool) -> None:
    found = page_of(tuple("abcde"), page, noun="message file")
    assert ("".join(found.data), found.has_more) == (expected, has_more)


def test_a_cursor_that_is_no_link_is_not_found() -> None:
    with pytest.raises(NotFound, match="No message file found with id 'x'."):
        page_of(("a",), Page(after="x"), noun="message file")


# Over HTTP


def upload(edge: EdgeServer, name: str = "a.csv") -> str:
    body = (
        f'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--b\r\n'
        f'content-disposition: form-data; name="file"; filename="{name}"\r\n\r\na\r\n--b--\r\n'
    ).encode()
    made = edge.request("POST", "/v1/files", body, {"content-type": "multipart/form-data; boundary=b"})
    return str(made.json["id"])


AZURE_V1, AZURE_V2 = "api-version=2024-02-15-preview", "api-version=2024-05-01-preview"


@pytest.mark.parametrize(
    ("path", "headers", "is_v1"),
    [
        ("/v1/assistants", V1, True),
        ("/v1/assistants", {"openai-beta": "assistants=v2"}, False),
        (f"/openai/assistants?{AZURE_V1}", {"openai-beta": "assistants=v2"}, True),
        ("/openai/assistants?api-version=2024-04-01-preview", {}, True),
        (f"/openai/assistants?{AZURE_V2}", V1, False),
        ("/openai/v1/assistants", V1, False),
    ],
)
def test_the_dialect_decides_the_shapes(edge: EdgeServer, path: str, headers: dict[str, str], is_v1: bool) -> None:
    made = edge.request("POST", path, {"model": "m"}, headers)
    assert made.status == 200
    assert ("file_ids" in made.json, "tool_resources" in made.json) == (is_v1, not is_v1)


def test_tool_resources_are_unknown_to_the_v1_preview(edge: EdgeServer) -> None:
    refused = edge.request("POST", f"/openai/assistants?{AZURE_V1}", {"model": "m", "tool_resources": {}})
    assert refused.status == 400
    assert refused.error == {
        "message": "Unknown parameter: 'tool_resources'.",
        "type": "invalid_request_error",
        "param": "tool_resources",
        "code": "unknown_parameter",
    }


def test_files_of_an_assistant_one_by_one(edge: EdgeServer) -> None:
    first, second = upload(edge), upload(edge)
    assistant = edge.request("POST", "/v1/assistants", {"model": "m", "file_ids": [first]}, V1).json
    path = f"/v1/assistants/{assistant['id']}/files"
    linked = edge.request("POST", path, {"file_id": second}, V1)
    assert linked.status == 200
    assert {**linked.json, "created_at": 0} == {
        "id": second,
        "object": "assistant.file",
        "created_at": 0,
        "assistant_id": assistant["id"],
    }
    assert linked.json["created_at"] >= assistant["created_at"]
    assert edge.request("POST", path, {"file_id": second}, V1).json == linked.json
    listed = edge.request("GET", path, headers=V1).json
    assert [each["id"] for each in listed["data"]] == [second, first]
    assert (listed["object"], listed["first_id"], listed["has_more"]) == ("list", second, False)
    page = edge.request("GET", f"{path}?order=asc&limit=1", headers=V1).json
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([first], True)
    assert edge.request("GET", f"{path}/{second}", headers=V1).json == linked.json
    resources = edge.request("GET", f"/v1/assistants/{assistant['id']}").json["tool_resources"]
    assert resources == {"code_interpreter": {"file_ids": [first, second]}}

    gone = edge.request("DELETE", f"{path}/{second}", headers=V1)
    assert gone.json == {"id": second, "object": "assistant.file.deleted", "deleted": True}
    again = edge.request("DELETE", f"{path}/{second}", headers=V1)
    assert (again.status, again.error["message"]) == (404, f"No assistant file found with id '{second}'.")
    assert edge.request("GET", f"/v1/files/{second}").status == 200
    assert edge.request("GET", f"/v1/assistants/{assistant['id']}", headers=V1).json["file_ids"] == [first]


def test_files_that_cannot_be_linked(edge: EdgeServer) -> None:
    files = [upload(edge) for _ in range(21)]
    assistant = edge.request("POST", "/v1/assistants", {"model": "m", "file_ids": files[:20]}, V1).json
    path = f"/v1/assistants/{assistant['id']}/files"
    full = edge.request("POST", path, {"file_id": files[20]}, V1)
    assert (full.status, full.error["param"], full.error["code"]) == (400, "file_ids", "array_above_max_length")
    unknown = edge.request("POST", "/v1/assistants/asst_x/files", {"file_id": files[0]}, V1)
    assert (unknown.status, unknown.error["message"]) == (404, "No assistant found with id 'asst_x'.")
    edge.request("DELETE", f"{path}/{files[0]}", headers=V1)
    missing = edge.request("POST", path, {"file_id": "file-x"}, V1)
    assert (missing.status, missing.error["message"]) == (404, "Files [file-x] were not found")


def test_files_of_a_message(edge: EdgeServer) -> None:
    files = [upload(edge) for _ in range(3)]
    thread = edge.request("POST", "/v1/threads", {}, V1).json
    body = {"role": "user", "content": "x", "file_ids": files[:2]}
    message = edge.request("POST", f"/v1/threads/{thread['id']}/messages", body, V1).json
    assert message["file_ids"] == files[:2]
    path = f"/v1/threads/{thread['id']}/messages/{message['id']}/files"
    rows = [
        {
            "id": each,
            "object": "thread.message.file",
            "created_at": message["created_at"],
            "message_id": message["id"],
        }
        for each in files[:2]
    ]
    assert edge.request("GET", f"{path}?order=asc", headers=V1).json["data"] == rows
    assert edge.request("GET", f"{path}?after={files[1]}", headers=V1).json["data"] == rows[:1]
    assert edge.request("GET", f"{path}/{files[0]}", headers=V1).json == rows[0]
    for wrong in (f"{path}/{files[2]}", f"{path}?after={files[2]}"):
        missing = edge.request("GET", wrong, headers=V1)
        assert (missing.status, missing.error["message"]) == (404, f"No message file found with id '{files[2]}'.")
    edge.request("DELETE", f"/v1/files/{files[0]}")
    assert edge.request("GET", f"{path}/{files[0]}", headers=V1).json == rows[0]


def test_what_was_made_under_v1_is_read_under_v2_and_back(edge: EdgeServer) -> None:
    file_id = upload(edge)
    message = {"role": "user", "content": "x", "file_ids": [file_id]}
    thread = edge.request("POST", f"/openai/threads?{AZURE_V1}", {"messages": [message], "metadata": {"a": "b"}}).json
    assert thread.keys() == {"id", "object", "created_at", "metadata"}
    in_v2 = edge.request("GET", f"/openai/threads/{thread['id']}?{AZURE_V2}").json
    assert in_v2 == {**thread, "tool_resources": {"code_interpreter": {"file_ids": [file_id]}}}

    messages = f"/openai/threads/{thread['id']}/messages"
    (first,) = edge.request("GET", f"{messages}?{AZURE_V1}").json["data"]
    (same,) = edge.request("GET", f"{messages}?{AZURE_V2}").json["data"]
    assert first["file_ids"] == [file_id]
    assert same["attachments"] == [{"file_id": file_id, "tools": [{"type": "code_interpreter"}]}]
    assert first["id"] == same["id"]

    attachment = {"file_id": file_id, "tools": [{"type": "code_interpreter"}]}
    parts = [{"type": "text", "text": "y"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    new = edge.request(
        "POST", f"{messages}?{AZURE_V2}", {"role": "user", "content": parts, "attachments": [attachment]}
    )
    back = edge.request("GET", f"{messages}/{new.json['id']}?{AZURE_V1}").json
    assert back["file_ids"] == [file_id]
    assert [part["text"]["value"] for part in back["content"]] == ["y", "https://example.com/a.png"]

    assistant = edge.request("POST", f"/openai/assistants?{AZURE_V1}", {"model": "m", "file_ids": [file_id]}).json
    run = edge.request(
        "POST", f"/openai/threads/{thread['id']}/runs?{AZURE_V1}", {"assistant_id": assistant["id"]}
    ).json
    assert run["file_ids"] == [file_id]
    path = f"/openai/threads/{thread['id']}/runs/{run['id']}"
    resources = edge.request("GET", f"{path}?{AZURE_V2}").json["tool_resources"]
    assert resources == {"code_interpreter": {"file_ids": [file_id]}}
    edge.change_run(run["id"], thread_id=thread["id"], status="incomplete")
    assert edge.request("GET", f"{path}?{AZURE_V1}").json["status"] == "incomplete"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/threads/thread_x/messages/msg_x"),
        ("GET", "/vector_stores/vs_x"),
        ("POST", "/vector_stores/vs_x/files"),
        ("POST", "/uploads"),
    ],
)
def test_v1_has_no_route_for_what_came_with_v2(edge: EdgeServer, method: str, path: str) -> None:
    azure = edge.request(method, f"/openai{path}?{AZURE_V1}")
    assert (azure.status, azure.error) == (404, {"code": "404", "message": "Resource not found"})
    openai = edge.request(method, f"/v1{path}", headers=V1)
    needs_a_version = path.startswith("/threads")
    assert (openai.error["message"] == f"Invalid URL ({method} /v1{path})") == needs_a_version


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/assistants/asst_x/files"),
        ("DELETE", "/assistants/asst_x/files/file-x"),
        ("GET", "/threads/thread_x/messages/msg_x/files"),
        ("GET", "/threads/thread_x/messages/msg_x/files/file-x"),
    ],
)
def test_v2_has_no_route_for_what_went_with_v1(edge: EdgeServer, method: str, path: str) -> None:
    azure = edge.request(method, f"/openai{path}?{AZURE_V2}")
    assert (azure.status, azure.error) == (404, {"code": "404", "message": "Resource not found"})
    assert edge.request(method, f"/v1{path}").error["message"] == f"Invalid URL ({method} /v1{path})"


KEYS = st.sampled_from([*v1.AssistantBody.model_fields, *v1.MessageBody.model_fields, *v1.RunBody.model_fields, "type"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.floats(-3, 3),
    st.sampled_from(["m", "user", "auto", "retrieval", "code_interpreter", "function", "file-x", "asst_x"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
POSTS = sorted(path for method, path, _ in ROUTES if method == "POST" and path.startswith(("/assistants", "/threads")))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(POSTS), body=st.dictionaries(KEYS, VALUES, max_size=6))
def test_no_v1_body_is_a_server_error(edge: EdgeServer, path: str, body: dict[str, Any]) -> None:
    body.pop("stream", None)  # a stream does not end: nothing moves runs here
    for name, value in [
        ("assistant_id", "asst_x"),
        ("thread_id", "thread_x"),
        ("message_id", "msg_x"),
        ("run_id", "run_x"),
    ]:
        path = path.replace(f"{{{name}}}", value)
    assert edge.request("POST", "/v1" + path, body, V1).status in (200, 400, 404)
