"""Messages and tool calls as deltas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from locum.domain import deltas
from locum.domain.events import MessageDelta, ToolCallDelta
from locum.domain.messages import (
    ContentPart,
    FileCitation,
    FileCitationAnnotation,
    FilePath,
    FilePathAnnotation,
    ImageFile,
    ImageFilePart,
    ImageURL,
    ImageURLPart,
    Message,
    RefusalPart,
    Text,
    TextPart,
)
from locum.domain.steps import (
    CodeInterpreter,
    CodeInterpreterCall,
    FileSearch,
    FileSearchCall,
    Function,
    FunctionCall,
    Image,
    ImageOutput,
    LogOutput,
    MessageCreation,
    MessageCreationDetails,
    Step,
    StepDetails,
    ToolCall,
    ToolCallsDetails,
)

CITATION = FileCitationAnnotation(text="[1]", start_index=0, end_index=3, file_citation=FileCitation(file_id="file-1"))
LINK = FilePathAnnotation(text="/mnt", start_index=4, end_index=8, file_path=FilePath(file_id="file-2"))


def on_the_wire(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


SHOWN_CITATION = {"type": "file_citation", **on_the_wire(CITATION)}
SHOWN_LINK = {"type": "file_path", **on_the_wire(LINK)}


def text(index: int, **shown: Any) -> dict[str, Any]:
    return {"type": "text", "index": index, "text": shown}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ((), []),
        ((TextPart(Text(value="Hi.")),), [text(0, value="Hi.", annotations=[])]),
        ((TextPart(Text(value="")),), [text(0, value="", annotations=[])]),
        (
            (TextPart(Text(value="[1] /mnt", annotations=(CITATION, LINK))),),
            [
                text(0, value="[1] /mnt", annotations=[]),
                text(0, annotations=[{**SHOWN_CITATION, "index": 0}]),
                text(0, annotations=[{**SHOWN_LINK, "index": 1}]),
            ],
        ),
        (
            (ImageFilePart(ImageFile(file_id="file-3")), TextPart(Text(value="A.")), RefusalPart("No.")),
            [
                {"type": "image_file", "index": 0, "image_file": on_the_wire(ImageFile(file_id="file-3"))},
                text(1, value="A.", annotations=[]),
                {"type": "refusal", "index": 2, "refusal": "No."},
            ],
        ),
        (
            (ImageURLPart(ImageURL(url="https://x/y.png")), RefusalPart("No.")),
            [{"type": "refusal", "index": 1, "refusal": "No."}],
        ),
    ],
)
def test_deltas_of_a_message_are_its_parts_in_order(
    content: tuple[ContentPart, ...], expected: list[dict[str, Any]]
) -> None:
    message = Message(id="msg_1", created_at=1, thread_id="thread_1", role="assistant", content=content)
    made = list(deltas.of_message(message))
    assert {delta.message_id for delta in made} <= {"msg_1"}
    assert [on_the_wire(delta.content) for delta in made] == [[part] for part in expected]


CELL = CodeInterpreter(input="1 + 1")
DONE = CodeInterpreter(input="draw()", outputs=(LogOutput("2\n"), ImageOutput(Image(file_id="file-4"))))


def code(index: int, **shown: Any) -> dict[str, Any]:
    return {"type": "code_interpreter", "index": index, "code_interpreter": shown}


def search(index: int, **shown: Any) -> dict[str, Any]:
    return {"type": "file_search", "index": index, "file_search": shown}


def function(index: int, **shown: Any) -> dict[str, Any]:
    return {"type": "function", "index": index, "function": shown}


RANKING = on_the_wire(FileSearch(queries=()).ranking_options)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ((), []),
        (
            (CodeInterpreterCall("call_1", CELL),),
            [{**code(0, input="", outputs=[]), "id": "call_1"}, code(0, input="1 + 1")],
        ),
        (
            (CodeInterpreterCall("call_1", CodeInterpreter(input="")),),
            [{**code(0, input="", outputs=[]), "id": "call_1"}],
        ),
        (
            (CodeInterpreterCall("call_1", DONE),),
            [
                {**code(0, input="", outputs=[]), "id": "call_1"},
                code(0, input="draw()"),
                code(0, outputs=[{"type": "logs", "index": 0, "logs": "2\n"}]),
                code(0, outputs=[{"type": "image", "index": 1, "image": {"file_id": "file-4"}}]),
            ],
        ),
        (
            (FileSearchCall("call_1", FileSearch(queries=("q",))),),
            [{**search(0), "id": "call_1"}],
        ),
        (
            (FileSearchCall("call_1", FileSearch(queries=("q",), results=())),),
            [{**search(0), "id": "call_1"}, search(0, ranking_options=RANKING, results=[])],
        ),
        (
            (
                FunctionCall("call_1", Function(name="f", arguments='{"a":1}', output="done")),
                FunctionCall("call_2", Function(name="g", arguments="")),
            ),
            [
                {**function(0, name="f", arguments="", output=None), "id": "call_1"},
                function(0, arguments='{"a":1}'),
                {**function(1, name="g", arguments="", output=None), "id": "call_2"},
            ],
        ),
    ],
)
def test_deltas_of_a_step_begin_each_call_with_its_id(
    calls: tuple[ToolCall, ...], expected: list[dict[str, Any]]
) -> None:
    made = list(deltas.of_step(step(ToolCallsDetails(calls))))
    assert {delta.step_id for delta in made} <= {"step_1"}
    assert [on_the_wire(delta.tool_calls) for delta in made] == [[call] for call in expected]


def test_step_that_makes_a_message_has_no_deltas() -> None:
    assert list(deltas.of_step(step(MessageCreationDetails(MessageCreation("msg_1"))))) == []


def step(details: StepDetails) -> Step:
    return Step(
        id="step_1", created_at=1, assistant_id="asst_1", thread_id="thread_1", run_id="run_1", step_details=details
    )


def pieces() -> Iterator[tuple[MessageDelta | ToolCallDelta, dict[str, Any]]]:
    """Every delta that a stream has and a whole object has not, and how it looks."""
    yield deltas.first_text("msg_1", 1, "He"), text(1, value="He", annotations=[])
    yield deltas.more_text("msg_1", 1, "llo"), text(1, value="llo")
    yield deltas.cited_text("msg_1", 1, 2, CITATION), text(1, value="[1]", annotations=[{**SHOWN_CITATION, "index": 2}])
    yield deltas.more_refusal("msg_1", 1, "No"), {"type": "refusal", "index": 1, "refusal": "No"}
    yield deltas.more_code(3, "x = "), code(3, input="x = ")
    yield deltas.more_logs(3, "2\n"), code(3, outputs=[{"type": "logs", "index": 0, "logs": "2\n"}])
    yield deltas.more_arguments(3, '{"a'), function(3, arguments='{"a')


@pytest.mark.parametrize(("delta", "expected"), list(pieces()))
def test_pieces_carry_only_what_they_add(delta: MessageDelta | ToolCallDelta, expected: dict[str, Any]) -> None:
    shown = delta.content[0] if isinstance(delta, MessageDelta) else delta
    assert on_the_wire(shown) == expected
