from __future__ import annotations

import json
from typing import Any

import pytest

from locum.domain.files import File
from locum.domain.messages import ImageFile, ImageFilePart, Message, Text, TextPart
from locum.domain.runs import Run
from locum.domain.steps import (
    CodeInterpreter,
    CodeInterpreterCall,
    Image,
    ImageOutput,
    LogOutput,
    MessageCreation,
    MessageCreationDetails,
    Step,
    ToolCallsDetails,
)
from locum.domain.tools import CodeInterpreterResources, CodeInterpreterTool, ToolResources
from locum.engine import context
from locum.engine.context import Journal


def run(**changes: Any) -> Run:
    given: dict[str, Any] = {"instructions": "Be brief.", "tools": (CodeInterpreterTool(),), **changes}
    return Run(
        id="run_1",
        created_at=0,
        thread_id="thread_1",
        assistant_id="asst_1",
        status="in_progress",
        model="m",
        expires_at=600,
        **given,
    )


def message(role: str, text: str, **fields: Any) -> Message:
    content = fields.pop("content", (TextPart(Text(value=text)),))
    return Message(id=f"msg_{text}", created_at=0, thread_id="thread_1", role=role, content=content, **fields)  # type: ignore[arg-type]


def step(number: int, details: Any) -> Step:
    return Step(
        id=f"step_{number}",
        created_at=0,
        assistant_id="asst_1",
        thread_id="thread_1",
        run_id="run_1",
        step_details=details,
        status="completed",
    )


def code_step(number: int, code: str, *outputs: Any, written: tuple[str, ...] = ()) -> Step:
    call = CodeInterpreterCall(f"call_{number}", CodeInterpreter(input=code, outputs=outputs, written=written))
    return step(number, ToolCallsDetails((call,)))


def test_the_prompt_is_instructions_then_the_conversation_in_order() -> None:
    journal = Journal(
        run=run(), conversation=(message("user", "hi"), message("assistant", "yes?"), message("user", "1+1"))
    )
    assert [(each.role, each.content) for each in context.build(journal).messages] == [
        ("system", "Be brief."),
        ("user", "hi"),
        ("assistant", "yes?"),
        ("user", "1+1"),
    ]


def test_without_instructions_and_files_there_is_no_system_message() -> None:
    journal = Journal(run=run(instructions=""), conversation=(message("user", "hi"),))
    assert [each.role for each in context.build(journal).messages] == ["user"]


def test_files_are_announced_by_their_path() -> None:
    journal = Journal(run=run(), conversation=(), mounted={"file-1": "data.csv", "file-2": "표.xlsx"})
    (system,) = context.build(journal).messages
    assert system.content == (
        "Be brief.\n\nFiles available to the code interpreter:\n- /mnt/data/data.csv\n- /mnt/data/표.xlsx"
    )


def test_a_run_without_tools_offers_none_and_announces_no_files() -> None:
    request = context.build(Journal(run=run(tools=()), conversation=(), mounted={"file-1": "data.csv"}))
    assert request.tools == ()
    assert request.tool_choice is None
    assert [each.content for each in request.messages] == ["Be brief."]


def test_an_image_in_an_earlier_answer_is_mentioned() -> None:
    shown = message("assistant", "", content=(ImageFilePart(ImageFile("file-1")), TextPart(Text(value="a plot"))))
    assert context.build(Journal(run=run(), conversation=(shown,))).messages[1].content == (
        "[An image was shown here.]\n\na plot"
    )


def test_the_runs_own_calls_are_told_as_calls_with_their_results() -> None:
    journal = Journal(
        run=run(),
        conversation=(message("user", "go"),),
        steps=(
            step(1, MessageCreationDetails(MessageCreation("msg_Let me see."))),
            code_step(2, "1/0", LogOutput("ZeroDivisionError\n")),
            code_step(3, "plot()", ImageOutput(Image("file-9")), written=("a/b.csv",)),
        ),
        messages={"msg_Let me see.": message("assistant", "Let me see.")},
    )
    messages = context.build(journal).messages[2:]
    assert [(each.role, each.content) for each in messages] == [
        ("assistant", "Let me see."),
        ("tool", "ZeroDivisionError"),
        ("assistant", None),
        ("tool", "[An image was drawn; the user sees it above your answer.]\n[Files written: /mnt/data/a/b.csv]"),
    ]
    assert json.loads(messages[0].tool_calls[0].arguments) == {"code": "1/0"}
    assert messages[1].tool_call_id == messages[0].tool_calls[0].id


def test_a_call_that_printed_nothing_says_so() -> None:
    journal = Journal(run=run(), conversation=(), steps=(code_step(1, "x = 1"),))
    assert context.build(journal).messages[-1].content == "[The code ran and printed nothing.]"


@pytest.mark.parametrize(
    ("choice", "first", "later"),
    [
        ("auto", None, None),
        ("required", "required", None),
        ({"type": "code_interpreter"}, {"type": "function", "function": {"name": "code_interpreter"}}, None),
    ],
)
def test_a_tool_is_forced_in_the_first_turn_only(choice: Any, first: Any, later: Any) -> None:
    assert context.build(Journal(run=run(tool_choice=choice), conversation=())).tool_choice == first
    second = Journal(run=run(tool_choice=choice), conversation=(), steps=(code_step(1, "1"),))
    assert context.build(second).tool_choice == later
    assert context.build(second, must_answer=True).tool_choice == "none"


def test_a_run_that_wants_no_tools_offers_none() -> None:
    request = context.build(Journal(run=run(tool_choice="none"), conversation=()))
    assert (request.tools, request.tool_choice) == ((), None)


@pytest.mark.parametrize("asked", [None, 0.0, 1.0])
def test_a_temperature_is_sent_where_somebody_asked_for_one(asked: float | None) -> None:
    request = context.build(Journal(run=run(temperature=asked, top_p=asked), conversation=()))
    assert (request.temperature, request.top_p) == (asked, asked)


def test_a_message_without_words_is_left_out() -> None:
    journal = Journal(run=run(), conversation=(message("user", "hi"), message("assistant", "", content=())))
    assert [each.role for each in context.build(journal).messages] == ["system", "user"]


def test_images_wait_for_the_next_message() -> None:
    def image(file_id: str) -> ImageOutput:
        return ImageOutput(Image(file_id))

    said = step(2, MessageCreationDetails(MessageCreation("msg_x")))
    assert context.new_images((code_step(1, "", image("A"), image("B")),)) == ("A", "B")
    assert context.new_images((code_step(1, "", image("A")), said, code_step(3, "", image("B")))) == ("B",)


def test_a_run_sees_its_files_and_the_threads_each_once_while_they_exist() -> None:
    def file(file_id: str, name: str, created_at: int) -> File:
        return File(id=file_id, created_at=created_at, filename=name, purpose="assistants", bytes=1, sha256="")

    resources = ToolResources(code_interpreter=CodeInterpreterResources(file_ids=("file-a", "file-b")))
    known = {"file-a": file("file-a", "a.csv", 1), "file-c": file("file-c", "c.csv", 2)}
    seen = context.visible_files(run(tool_resources=resources), ("file-a", "file-c"), known)
    assert seen == {"file-a": "a.csv", "file-c": "c.csv"}
