from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locum.domain.files import File
from locum.domain.messages import (
    Attachment,
    FileCitation,
    FileCitationAnnotation,
    ImageFile,
    ImageFilePart,
    ImageURL,
    ImageURLPart,
    Message,
    RefusalPart,
    Text,
    TextPart,
)
from locum.domain.runs import Run, Usage
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
    SearchResult,
    Step,
    ToolCallsDetails,
)
from locum.domain.tools import (
    CodeInterpreterResources,
    CodeInterpreterTool,
    FileSearchTool,
    FunctionDefinition,
    FunctionTool,
    ToolResources,
)
from locum.engine import context
from locum.engine.context import DoesNotFit, Journal
from locum.models.chat import ChatMessage, ChatRequest


class Characters:
    """Counts a token for every character, so that a test can reckon."""

    def at_most(self, messages: Any, tools: Any = ()) -> int:
        return self.count(messages, tools)

    def count(self, messages: Any, tools: Any = ()) -> int:
        return sum(len(each.content or "") for each in messages) + 10 * len(tools)


def build(journal: Journal, *, room: int = 10**6, must_answer: bool = False) -> ChatRequest:
    return context.build(journal, counter=Characters(), room=room, must_answer=must_answer)


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
    assert [(each.role, each.content) for each in build(journal).messages] == [
        ("system", "Be brief."),
        ("user", "hi"),
        ("assistant", "yes?"),
        ("user", "1+1"),
    ]


def test_without_instructions_and_files_there_is_no_system_message() -> None:
    journal = Journal(run=run(instructions=""), conversation=(message("user", "hi"),))
    assert [each.role for each in build(journal).messages] == ["user"]


def test_files_are_announced_by_their_path() -> None:
    journal = Journal(run=run(), conversation=(), mounted={"file-1": "data.csv", "file-2": "표.xlsx"})
    (system,) = build(journal).messages
    assert system.content == (
        "Be brief.\n\nFiles available to the code interpreter:\n- /mnt/data/data.csv\n- /mnt/data/표.xlsx"
    )


def test_a_run_without_tools_offers_none_and_announces_no_files() -> None:
    request = build(Journal(run=run(tools=()), conversation=(), mounted={"file-1": "data.csv"}))
    assert request.tools == ()
    assert request.tool_choice is None
    assert [each.content for each in request.messages] == ["Be brief."]


def test_an_image_in_an_earlier_answer_is_mentioned() -> None:
    shown = message("assistant", "", content=(ImageFilePart(ImageFile("file-1")), TextPart(Text(value="a plot"))))
    assert build(Journal(run=run(), conversation=(shown,))).messages[1].content == (
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
    messages = build(journal).messages[2:]
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
    assert build(journal).messages[-1].content == "[The code ran and printed nothing.]"


@pytest.mark.parametrize(
    ("choice", "first", "later"),
    [
        ("auto", None, None),
        ("required", "required", None),
        ({"type": "code_interpreter"}, {"type": "function", "function": {"name": "code_interpreter"}}, None),
    ],
)
def test_a_tool_is_forced_in_the_first_turn_only(choice: Any, first: Any, later: Any) -> None:
    assert build(Journal(run=run(tool_choice=choice), conversation=())).tool_choice == first
    second = Journal(run=run(tool_choice=choice), conversation=(), steps=(code_step(1, "1"),))
    assert build(second).tool_choice == later
    assert build(second, must_answer=True).tool_choice == "none"


def test_a_run_that_wants_no_tools_offers_none() -> None:
    request = build(Journal(run=run(tool_choice="none"), conversation=()))
    assert (request.tools, request.tool_choice) == ((), None)


@pytest.mark.parametrize("asked", [None, 0.0, 1.0])
def test_a_temperature_is_sent_where_somebody_asked_for_one(asked: float | None) -> None:
    request = build(Journal(run=run(temperature=asked, top_p=asked), conversation=()))
    assert (request.temperature, request.top_p) == (asked, asked)


def test_a_message_without_words_is_left_out() -> None:
    journal = Journal(run=run(), conversation=(message("user", "hi"), message("assistant", "", content=())))
    assert [each.role for each in build(journal).messages] == ["system", "user"]


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


def function_step(number: int, arguments: str, output: str, **fields: Any) -> Step:
    call = FunctionCall(f"call_{number}", Function(name="weather", arguments=arguments, output=output))
    return msgspec.structs.replace(step(number, ToolCallsDetails((call,))), **fields)


WEATHER = FunctionTool(
    FunctionDefinition(name="weather", description="Tells it.", parameters={"type": "object"}, strict=True)
)


def test_functions_are_offered_as_they_were_given() -> None:
    (tool,) = build(Journal(run=run(tools=(WEATHER,)), conversation=())).tools
    assert (tool.name, tool.description, tool.parameters, tool.strict) == (
        "weather",
        "Tells it.",
        {"type": "object"},
        True,
    )


def test_a_named_function_is_forced_in_the_first_turn_only() -> None:
    choice = {"type": "function", "function": {"name": "weather"}}
    journal = Journal(run=run(tools=(WEATHER,), tool_choice=choice), conversation=())
    assert build(journal).tool_choice == choice
    assert build(msgspec.structs.replace(journal, steps=(function_step(1, "{}", "sun"),))).tool_choice is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [('{"city": "Seoul"}', '{"city": "Seoul"}'), ("", "{}"), ('{"city": "Seo', '{"not_json": "{\\"city\\": \\"Seo"}')],
)
def test_a_models_function_calls_are_told_to_it_again_in_json(arguments: str, told: str) -> None:
    asked, answered = build(
        Journal(run=run(instructions="", tools=(WEATHER,)), conversation=(), steps=(function_step(1, arguments, ""),))
    ).messages
    assert asked.tool_calls[0].arguments == told
    assert (answered.role, answered.tool_call_id, answered.content) == ("tool", "call_1", "")


def test_a_users_images_reach_the_model_in_their_place_with_their_detail() -> None:
    said = message(
        "user",
        "",
        content=(
            TextPart(Text(value="what is")),
            ImageFilePart(ImageFile("file-1", "low")),
            ImageURLPart(ImageURL("https://x/y.png")),
            ImageFilePart(ImageFile("file-gone")),
        ),
    )
    journal = Journal(run=run(instructions=""), conversation=(said,), images={"file-1": "data:image/png;base64,AA"})
    assert build(journal).messages[0].content == [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "text", "text": "[An image that cannot be shown.]"},
    ]


def test_an_earlier_refusal_is_told_as_what_the_model_said() -> None:
    refused = message("assistant", "", content=(RefusalPart("I will not."),))
    assert build(Journal(run=run(), conversation=(refused,))).messages[1].content == "I will not."


# ---- budgets


def used(number: int, prompt: int, completion: int) -> Step:
    usage = Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
    return function_step(number, "{}", "", usage=usage)


def test_a_budget_is_for_all_model_calls_of_a_run_together() -> None:
    budgets = run(max_prompt_tokens=500, max_completion_tokens=1000)
    first = Journal(run=budgets, conversation=())
    assert (first.left_to_read, first.left_to_write, build(first).max_completion_tokens) == (500, 1000, 1000)
    second = Journal(run=budgets, conversation=(), steps=(used(1, 200, 300),))
    assert (second.left_to_read, second.left_to_write, build(second).max_completion_tokens) == (300, 700, 700)
    assert second.exhausted is None
    spent = Journal(run=budgets, conversation=(), steps=(used(1, 200, 300), used(2, 300, 100)))
    assert spent.exhausted == "max_prompt_tokens"
    assert Journal(run=budgets, conversation=(), steps=(used(1, 200, 1300),)).exhausted == "max_completion_tokens"
    assert Journal(run=run(), conversation=(), steps=(used(1, 10**9, 10**9),)).exhausted is None


def said(*texts: str) -> tuple[ChatMessage, ...]:
    """Users and assistants in turn, a user last."""
    roles = ["user" if (len(texts) - index) % 2 else "assistant" for index in range(len(texts))]
    return tuple(ChatMessage(role=role, content=text) for role, text in zip(roles, texts, strict=True))  # type: ignore[arg-type]


def fit(conversation: tuple[ChatMessage, ...], room: int) -> list[Any]:
    system = (ChatMessage(role="system", content="SS"),)
    fitting = context.fit(system, conversation, lambda most: (), (), counter=Characters(), room=room)
    return [each.content for each in fitting]


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (100, ["SS", "1111", "2222", "3333", "4444", "5555"]),
        (22, ["SS", "1111", "2222", "3333", "4444", "5555"]),
        (21, ["SS", "1111", "3333", "4444", "5555"]),
        (17, ["SS", "1111", "4444", "5555"]),
        (13, ["SS", "4444", "5555"]),  # the first message would take more than half of what is left
        (9, ["SS", "5555"]),
        (6, ["SS", "5555"]),
    ],
)
def test_a_thread_that_is_too_long_is_cut_in_the_middle(room: int, kept: list[str]) -> None:
    assert fit(said("1111", "2222", "3333", "4444", "5555"), room) == kept


def test_the_last_user_message_stays_whatever_was_said_behind_it() -> None:
    said_since = tuple(ChatMessage(role="assistant", content=text) for text in ("44", "55", "66"))
    conversation = (*said("11", "22", "33"), *said_since)
    assert fit(conversation, 8) == ["SS", "11", "33", "66"]
    assert fit(conversation, 4) == ["SS", "33"]


def test_instructions_and_last_message_that_do_not_fit_are_said_not_to() -> None:
    with pytest.raises(DoesNotFit):
        fit(said("11", "22", "33"), 3)


def test_what_the_runs_own_tools_said_is_shortened_before_the_run_is_given_up() -> None:
    printed = code_step(1, "x", LogOutput("A" * 20_000 + "B" * 20_000))
    *_, told = build(Journal(run=run(), conversation=(message("user", "1"),), steps=(printed,)), room=9000).messages
    shown = str(told.content)
    assert len(shown) < 8100
    assert shown.startswith("A" * 4000)
    assert shown.endswith("B" * 4000)
    assert "32000 characters left out" in shown


def found(*texts: str, number: int = 0) -> Step:
    """A step that has searched."""
    results = tuple(
        SearchResult(file_id="file-1", file_name="a.txt", score=0.5, text=text, quote="", start=0, end=1)
        for text in texts
    )
    search = FileSearch(queries=("what", "무엇"), results=results, number=number)
    return step(number, ToolCallsDetails((FileSearchCall(f"call_{number}" + "x" * 12, search),)))


def test_a_search_is_told_as_a_call_with_its_passages() -> None:
    journal = Journal(run=run(tools=(FileSearchTool(),)), conversation=(), steps=(found("One.", "Two."),))
    *_, called, told = build(journal).messages
    (call,) = called.tool_calls
    assert (call.name, call.arguments) == ("file_search", '{"queries": ["what", "무엇"]}')
    assert [text in str(told.content) for text in ("One.", "Two.", "【0:0†source】", "【0:1†source】")] == [True] * 4


def test_files_that_came_to_be_searched_are_named_behind_their_message() -> None:
    attachments = (
        Attachment(file_id="file-1", tools=(FileSearchTool(),)),
        Attachment(file_id="file-2", tools=(CodeInterpreterTool(),)),
        Attachment(file_id="file-3", tools=(CodeInterpreterTool(), FileSearchTool())),
        Attachment(file_id="file-gone", tools=(FileSearchTool(),)),
    )
    asked = message("user", "Summarise this.", attachments=attachments)
    journal = Journal(
        run=run(instructions="", tools=(FileSearchTool(),)),
        conversation=(asked,),
        attached={"file-1": "a.pdf", "file-3": "b\nc.txt"},
    )
    (told,) = build(journal).messages
    assert told.content == "Summarise this.\n\n[Attached files, to be read with file_search: a.pdf, b c.txt]"
    (told,) = build(msgspec.structs.replace(journal, run=run(instructions=""))).messages
    assert told.content == "Summarise this."
    picture = message("user", "x", content=(ImageURLPart(ImageURL(url="https://x/y")),), attachments=attachments[:1])
    (told,) = build(msgspec.structs.replace(journal, conversation=(picture,))).messages
    assert told.content[-1] == {"type": "text", "text": "[Attached files, to be read with file_search: a.pdf]"}  # type: ignore[index]


def test_of_passages_that_are_too_many_the_best_are_told() -> None:
    steps = (found("A" * 3000, "B" * 3000, "C" * 3000),)
    journal = Journal(run=run(tools=(FileSearchTool(),)), conversation=(message("user", "1"),), steps=steps)
    *_, told = build(journal, room=8500).messages
    text = str(told.content)
    assert ("A" * 3000 in text, "B" * 3000 in text, "CC" in text) == (True, True, False)
    assert text.endswith("[There is no room for 1 more of what was found.]")
    *_, told = build(journal, room=4000).messages
    assert ("A" * 2000 in str(told.content), "A" * 2001 in str(told.content)) == (True, False)


def test_citations_of_earlier_answers_are_not_told() -> None:
    marker = "【0:0†source】"
    cited = tuple(
        FileCitationAnnotation(
            text=marker, start_index=at, end_index=at + len(marker), file_citation=FileCitation(file_id="file-1")
        )
        for at in (4, 4 + len(marker))
    )
    text = Text(value=f"Yes {marker}{marker}, {marker} is no annotation.", annotations=cited)
    earlier = message("assistant", "yes", content=(TextPart(text),))
    (_, told) = build(Journal(run=run(), conversation=(earlier,))).messages
    assert told.content == f"Yes , {marker} is no annotation."


@given(st.lists(st.text("ab", max_size=30), max_size=12), st.integers(0, 300))
def test_what_is_kept_of_a_thread_fits_in_order_and_ends_with_its_last_message(texts: list[str], room: int) -> None:
    conversation = said(*(f"{index}{text}" for index, text in enumerate(texts)))
    try:
        kept = fit(conversation, room)
    except DoesNotFit:
        assert 2 + len(str(conversation[-1].content) if conversation else "") > room
        return
    assert sum(map(len, kept)) <= room
    every = [each.content for each in conversation]
    assert kept[1:] == [each for each in every if each in kept[1:]]
    assert kept[-1:] == every[-1:] or not every  # a user's
