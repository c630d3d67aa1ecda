"""Tools for a model that has none: what its prompt says, and what is read out of its text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locum.models.chat import (
    ChatMessage,
    ChatRequest,
    Chunk,
    Finish,
    ModelError,
    RefusalDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolDefinition,
    Usage,
)
from locum.models.openai_compatible import OpenAICompatible
from locum.models.prompted_tools import PromptedTools, Splitter, prompted

from .upstream import Call, Cut, Held, Raw, Reply, ScriptedUpstream, Text
from .upstream import Usage as Tokens

WEATHER = ToolDefinition(
    name="weather",
    description="The weather in a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
QUESTION = ChatMessage(role="user", content="How is it in Oslo?")
REQUEST = ChatRequest(model="m", messages=(QUESTION,), tools=(WEATHER,))
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}

Piece = str | tuple[str, str]


def pieces(text: str, *, cuts: list[int] | None = None, cut: bool = False, only_one: bool = False) -> list[Piece]:
    """Words (joined) and calls (name, arguments) in a text that is fed in fragments, cut at these places."""
    splitter = Splitter(only_one=only_one)
    found: list[str | ToolCall] = []
    edges = [0, *sorted(cuts or []), len(text)]
    for start, end in pairwise(edges):
        found += splitter.feed(text[start:end])
    found += splitter.close(cut=cut)
    joined: list[Piece] = []
    for piece in found:
        if isinstance(piece, ToolCall):
            joined.append((piece.name, piece.arguments))
        elif joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def block(body: str) -> str:
    return f"<tool_call>{body}</tool_call>"


# ---- reading the answer

F, G = ("f", '{"a":1}'), ("g", "{}")
CALL_F, CALL_G = block('{"name":"f","arguments":{"a":1}}'), block('{"name":"g","arguments":{}}')


LONG, WORD = "\n" * 64, "x" * 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("Hello.", ["Hello."], id="words"),
        pytest.param(CALL_F, [F], id="a call"),
        pytest.param(CALL_F + "\n" + CALL_G, [F, G], id="two calls"),
        pytest.param(f"I look it up.\n\n{CALL_F}", ["I look it up.", F], id="words and a call"),
        pytest.param(f"\n\n{CALL_F}\n", [F], id="white space is no message"),
        pytest.param(f"{CALL_F}\nNow I wait.\n{CALL_G} Done.", [F, G], id="chatter behind calls is dropped"),
        pytest.param(f"So:\n```json\n{CALL_F}\n```\n", ["So:", F], id="a fence around the block"),
        pytest.param(block('\n```json\n{"name":"f","arguments":{"a":1}}\n```\n'), [F], id="a fence inside the block"),
        pytest.param("```python\nprint(1)\n```", ["```python\nprint(1)\n```"], id="a fence around something else"),
        pytest.param('<tool_call>{"name":"f","arguments":{"a":1}}', [F], id="never closed"),
        pytest.param('<tool_call>{"name":"f","arguments":{"a":1}}' + CALL_G, [F, G], id="closed by the next"),
        pytest.param('<tool_call>{"name":"f","arguments":{"a":1}}<tool_call>', [F], id="closed by the wrong tag"),
        pytest.param(block('{"name":"f","arguments":{"a":1}'), [F], id="a brace too few"),
        pytest.param(block('{"name":"f","arguments":{"a":1}}}'), [F], id="a brace too many"),
        pytest.param(block('[{"name":"f","arguments":{"a":1}},{"name":"g"}]'), [F, G], id="a list of calls"),
        pytest.param(block('{"name":"f","arguments":{"a":1}}\n{"name":"g"}'), [F, G], id="two calls in a block"),
        pytest.param(block('{"name":"f","arguments":{"a":1}} {"b":2}'), [F], id="a call and an object that is none"),
        pytest.param(block('{"name":"f","parameters":{"a":1}}'), [F], id="parameters"),
        pytest.param(
            f"\n<think>Like {CALL_G}?</think>\n{CALL_F}",
            [f"\n<think>Like {CALL_G}?</think>", F],
            id="a thought of a call",
        ),
        pytest.param(f"<think>Like {CALL_F}", [f"<think>Like {CALL_F}"], id="a thought that never ends"),
        pytest.param(f"I <think> {CALL_F}", ["I <think>", F], id="a word about thinking"),
        pytest.param(block('{"name":"f","arguments":"{\\"a\\":1}"}'), [F], id="arguments in a string"),
        pytest.param(block('{"name":"f","arguments":"print(1)"}'), [("f", "print(1)")], id="a string of no JSON"),
        pytest.param(block('{"name":"g"}'), [G], id="no arguments"),
        pytest.param(block('{"name":"g","arguments":null}'), [G], id="null arguments"),
        pytest.param(
            block('\n{"arguments": {"a" :1.50,  "é":"\\u00e9"} , "name": "f"}\n'),
            [("f", '{"a" :1.50,  "é":"\\u00e9"}')],
            id="arguments stay as they were written",
        ),
        pytest.param(
            block('{"name":"f","arguments":{"code":"a\nb"}}'), [("f", '{"code": "a\\nb"}')], id="a raw line break"
        ),
        pytest.param(
            block('{"name":"f","arguments":{"a":"</tool_call> <tool_call>{"}}') + CALL_G,
            [("f", '{"a":"</tool_call> <tool_call>{"}'), G],
            id="tags inside a string",
        ),
        pytest.param(
            block('{"name":"f","arguments":{"a":1}} for 5" of it') + CALL_G, [F, G], id="a lone quote behind the JSON"
        ),
        pytest.param(
            f"{LONG}```{WORD}{LONG}<tool_call>{LONG}```{WORD}{LONG}{CALL_F.removeprefix('<tool_call>')}",
            [F],
            id="as much white space as a block may begin with",
        ),
        pytest.param(
            f"{CALL_F}\n<tool_response>\n12\n</tool_response>\n{CALL_G}", [F], id="what follows invented results"
        ),
    ],
)
def test_calls_are_found_in_what_models_write(text: str, expected: list[Piece]) -> None:
    assert pieces(text) == expected
    assert pieces(text, cuts=list(range(len(text)))) == expected


@pytest.mark.parametrize(
    "text",
    [
        block("not json"),
        block("{not json}"),
        block("[]"),
        block("[1]"),
        block("{}"),
        block('{"arguments":{}}'),
        block('{"name":""}'),
        block('{"name":3,"arguments":{}}'),
        block("{'name':'f','arguments':{}}"),
        block('{"name":"f","arguments":{"a":NaN}}'),
        block('{"name":"f","arguments":{"a":"\\ud800"}}'),
        block('{"name":"f","arguments":' + "[" * 100_000),
        "<tool_call>",
        "<tool_call>{",
        '<tool_call>{"name":"f","argu',
        "Write <tool_call> and then {braces}.",
        "</tool_call> and <tool_response>{}</tool_response>",
        "a < b, ``` and <tool",
    ],
)
def test_what_is_no_call_is_text(text: str) -> None:
    assert pieces(f"See: {text}") == [f"See: {text}"]


def test_a_call_behind_a_malformed_block_is_found() -> None:
    wrong = block('{"name":f}')
    assert pieces(f"{wrong} again: {CALL_F}") == [f"{wrong} again:", F]


def test_a_string_that_never_ends_does_not_swallow_the_next_call() -> None:
    wrong = block('{"name":"f","arguments":{"a":"oops}}')
    assert pieces(f"{wrong}\n{CALL_G}") == [wrong, G]


def test_a_call_that_hits_the_limit_is_the_beginning_of_a_call() -> None:
    assert pieces('Now.\n<tool_call>{"name": "f", "arguments": {"a": "b', cut=True) == ["Now.", ("f", '{"a": "b')]
    assert pieces('<tool_call>{"name": "f"', cut=True) == [("f", "")]


def test_a_limit_before_the_name_leaves_text() -> None:
    assert pieces('<tool_call>{"na', cut=True) == ['<tool_call>{"na']


def test_of_several_calls_only_the_first_counts_where_one_is_allowed() -> None:
    assert pieces(f"One.{CALL_F}{CALL_G} Two.", only_one=True) == ["One.", F]
    assert pieces(block('[{"name":"f","arguments":{"a":1}},{"name":"g"}]') + CALL_G, only_one=True) == [F]


def test_words_are_given_out_as_soon_as_they_cannot_be_a_call() -> None:
    splitter = Splitter()
    said = [
        "".join(map(str, splitter.feed(text))) for text in ("Hello", " wor", "ld ", "<", "b>", "\n``", "`js", "on\nx")
    ]
    assert said == ["Hello", " wor", "ld", "", " <b>", "", "", "\n```json\nx"]


def test_a_call_is_given_out_with_its_closing_tag() -> None:
    splitter = Splitter()
    assert list(splitter.feed(CALL_F[:-1])) == []
    (call,) = splitter.feed(CALL_F[-1])
    assert isinstance(call, ToolCall)
    assert call.id.startswith("call_")


SCRAPS = [
    *(
        "<tool_call>",
        "</tool_call>",
        "<tool_response>",
        "<tool",
        "```",
        "```json\n",
        "<think>",
        "</think>",
        "<thi",
        "\n",
        " ",
        "{",
        "}",
        '"',
        "\\",
        "[",
    ),
    *('{"name":"f","arguments":{"a":1}}', '{"name":"f","arguments":{"a":"', CALL_F, CALL_G, "word", " " * 70, "é"),
]
texts = st.lists(st.sampled_from(SCRAPS), max_size=14).map("".join)


@given(st.data(), texts, st.booleans(), st.booleans())
def test_any_cutting_of_a_text_gives_the_same_pieces(data: st.DataObject, text: str, cut: bool, only_one: bool) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=20))
    whole = pieces(text, cut=cut, only_one=only_one)
    assert pieces(text, cuts=cuts, cut=cut, only_one=only_one) == whole
    assert pieces(text, cuts=list(range(len(text))), cut=cut, only_one=only_one) == whole


@given(texts.filter(lambda text: "<tool_call>" not in text) | st.text(alphabet="<tool_caresp>/`\n {", max_size=60))
def test_text_without_a_call_passes_unchanged(text: str) -> None:
    if "<tool_call>" not in text:
        assert "".join(map(str, pieces(text, cuts=list(range(len(text)))))) == text


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | texts
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
arguments = st.builds(
    lambda value, ascii_only, indent: json.dumps(value, ensure_ascii=ascii_only, indent=indent),
    st.dictionaries(words, values, max_size=3),
    st.booleans(),
    st.none() | st.just(2),
)


@given(st.lists(st.tuples(words.filter(bool), arguments | words.map(str.strip)), min_size=1, max_size=3))
def test_calls_told_to_the_model_are_read_back_as_they_were(calls: list[tuple[str, str]]) -> None:
    made = tuple(ToolCall(id=f"call_{number}", name=name, arguments=text) for number, (name, text) in enumerate(calls))
    request = ChatRequest(model="m", messages=(ChatMessage(role="assistant", content=None, tool_calls=made),))
    (told,) = prompted(request).messages
    assert isinstance(told.content, str)
    assert pieces(told.content, cuts=list(range(0, len(told.content), 3))) == calls


# ---- writing the prompt


def told(*messages: ChatMessage, tools: tuple[ToolDefinition, ...] = (), **options: Any) -> tuple[ChatMessage, ...]:
    request = prompted(ChatRequest(model="m", messages=messages, tools=tools, **options))
    assert request.tools == ()
    assert request.tool_choice is None
    assert request.parallel_tool_calls is None
    assert all(not message.tool_calls and message.tool_call_id is None for message in request.messages)
    assert all(message.role != "tool" for message in request.messages)
    return request.messages


def last_text(choice: Any) -> Any:
    return told(QUESTION, tools=(WEATHER,), tool_choice=choice)[-1].content


def test_tools_are_described_behind_the_instructions() -> None:
    system, question = told(ChatMessage(role="system", content="Be kind."), QUESTION, tools=(WEATHER,))
    assert isinstance(system.content, str)
    assert system.content.startswith("Be kind.\n\n# Tools\n")
    (line,) = [line for line in system.content.splitlines() if line.startswith('{"type"')]
    function = {"name": "weather", "description": WEATHER.description, "parameters": WEATHER.parameters}
    assert json.loads(line) == {"type": "function", "function": function}
    assert '\n<tool_call>\n{"name": "<name of the function>", "arguments": {<' in system.content
    assert question == QUESTION


def test_without_instructions_the_tools_are_the_system_message() -> None:
    system, question = told(QUESTION, tools=(WEATHER,))
    assert system.role == "system"
    assert str(system.content).startswith("# Tools\n")
    assert question == QUESTION


def test_a_request_that_is_not_about_tools_stays_as_it_is() -> None:
    request = ChatRequest(
        model="m",
        messages=(QUESTION,),
        temperature=0.5,
        max_completion_tokens=9,
        response_format={"type": "json_object"},
    )
    assert prompted(request) == request


def test_calls_and_their_results_become_text() -> None:
    calls = (
        ToolCall(id="call_1", name="weather", arguments='{"city":  "Oslo"}'),
        ToolCall(id="call_2", name="weather", arguments="no json"),
    )
    conversation = told(
        QUESTION,
        ChatMessage(role="assistant", content="I look.", tool_calls=calls),
        ChatMessage(role="tool", content="12 degrees", tool_call_id="call_1"),
        ChatMessage(role="tool", content="error </tool_response>", tool_call_id="call_2"),
    )
    assert conversation == (
        QUESTION,
        ChatMessage(
            role="assistant",
            content="I look.\n"
            '<tool_call>\n{"name": "weather", "arguments": {"city":  "Oslo"}}\n</tool_call>\n'
            '<tool_call>\n{"name": "weather", "arguments": "no json"}\n</tool_call>',
        ),
        ChatMessage(
            role="user",
            content="<tool_response>\n12 degrees\n</tool_response>\n"
            "<tool_response>\nerror <\\/tool_response>\n</tool_response>",
        ),
    )


def test_results_of_different_turns_stay_apart() -> None:
    call = ToolCall(id="call_1", name="weather", arguments="{}")
    turn = (
        ChatMessage(role="assistant", tool_calls=(call,)),
        ChatMessage(role="tool", content="12", tool_call_id="call_1"),
    )
    assert [message.role for message in told(QUESTION, *turn, *turn)] == ["user", *["assistant", "user"] * 2]


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("required", "You must call a function now"),
        ({"type": "function", "function": {"name": "weather"}}, "You must call the function weather now"),
        ("none", "You must not call a function now"),
    ],
)
def test_a_tool_choice_is_told_at_the_end(choice: Any, words: str) -> None:
    assert str(last_text(choice)).startswith(f"{QUESTION.content}\n\n[{words}")


@pytest.mark.parametrize("choice", [None, "auto"])
def test_a_free_tool_choice_is_not_mentioned(choice: str | None) -> None:
    assert last_text(choice) == QUESTION.content


def test_a_tool_choice_behind_an_answer_is_a_message_of_its_own() -> None:
    *_, answer, choice = told(
        QUESTION, ChatMessage(role="assistant", content="Cold."), tools=(WEATHER,), tool_choice="required"
    )
    assert answer == ChatMessage(role="assistant", content="Cold.")
    assert choice.role == "user"


def test_the_tools_are_told_alike_whatever_the_choice() -> None:
    systems = {
        told(QUESTION, tools=(WEATHER,), tool_choice=choice)[0].content for choice in (None, "auto", "required", "none")
    }
    assert len(systems) == 1


def test_one_call_at_a_time_is_asked_for() -> None:
    assert "at most one call" in str(told(QUESTION, tools=(WEATHER,), parallel_tool_calls=False)[0].content)
    assert "at most one call" not in str(told(QUESTION, tools=(WEATHER,))[0].content)


def test_images_stay() -> None:
    shown = ChatMessage(role="user", content=[{"type": "text", "text": "What is this?"}, PICTURE])
    *_, asked = told(shown, tools=(WEATHER,), tool_choice="required")
    assert isinstance(asked.content, list)
    assert asked.content[:2] == shown.content
    result = ChatMessage(role="tool", content=[{"type": "text", "text": "drawn"}, PICTURE], tool_call_id="call_1")
    (results,) = told(result)
    assert results.content == [{"type": "text", "text": "<tool_response>\ndrawn\n</tool_response>"}, PICTURE]


# ---- as a model


def ask(reply: Reply, request: ChatRequest = REQUEST) -> tuple[list[Chunk], dict[str, Any]]:
    """The chunks that come of a reply, and the body the server was sent."""

    async def talk() -> tuple[list[Chunk], dict[str, Any]]:
        async with ScriptedUpstream() as upstream:
            upstream.script([reply])
            inner = OpenAICompatible(base_url=upstream.base_url)
            try:
                return [chunk async for chunk in PromptedTools(inner).stream(request)], upstream.requests[0]
            finally:
                await inner.close()

    return asyncio.run(talk())


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta))


def calls_of(chunks: list[Chunk]) -> list[tuple[int, str | None, str]]:
    return [(each.index, each.name, each.arguments) for each in chunks if isinstance(each, ToolCallDelta)]


def test_calls_in_the_text_are_calls_of_the_model() -> None:
    chunks, sent = ask(Text(f"I look.\n{CALL_F}\n{CALL_G}\nDone.", usage=Tokens(70, 30), split=5))
    assert text_of(chunks) == "I look."
    assert calls_of(chunks) == [(0, *F), (1, *G)]
    made = [chunk.id for chunk in chunks if isinstance(chunk, ToolCallDelta)]
    assert len(set(made)) == 2
    assert chunks[-1] == Finish(reason="tool_calls", usage=Usage(prompt_tokens=70, completion_tokens=30))
    assert "tools" not in sent
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]


def test_an_answer_in_words_ends_as_such() -> None:
    chunks, _ = ask(Text("It is cold. ", usage=None))
    assert text_of(chunks) == "It is cold. "
    assert chunks[-1] == Finish(reason="stop")


def test_a_request_without_tools_is_not_searched_for_calls() -> None:
    chunks, _ = ask(Text(CALL_F), ChatRequest(model="m", messages=(QUESTION,)))
    assert text_of(chunks) == CALL_F
    assert calls_of(chunks) == []


def test_only_the_first_call_counts_where_calls_are_not_parallel() -> None:
    request = ChatRequest(model="m", messages=(QUESTION,), tools=(WEATHER,), parallel_tool_calls=False)
    chunks, sent = ask(Text(CALL_F + CALL_G), request)
    assert calls_of(chunks) == [(0, *F)]
    assert "parallel_tool_calls" not in sent


def test_an_answer_that_hits_its_limit_inside_a_call_says_so() -> None:
    chunks, _ = ask(Text('<tool_call>{"name": "f", "arguments": {"a": ', finish_reason="length"))
    assert calls_of(chunks) == [(0, "f", '{"a": ')]
    assert isinstance(chunks[-1], Finish)
    assert chunks[-1].reason == "length"


def test_a_refusal_passes() -> None:
    events = [
        {"choices": [{"delta": {"refusal": "I will not."}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    chunks, _ = ask(Raw(body.encode()))
    assert chunks == [RefusalDelta("I will not."), Finish(reason="stop")]


def test_calls_the_server_has_read_by_itself_pass() -> None:
    chunks, _ = ask(Call("f", {"a": 1}, fragments=2))
    assert [index for index, *_ in calls_of(chunks)] == [0] * len(calls_of(chunks))
    assert "".join(text for *_, text in calls_of(chunks)) == json.dumps({"a": 1})
    assert isinstance(chunks[-1], Finish)
    assert chunks[-1].reason == "tool_calls"


def test_a_broken_answer_is_an_error() -> None:
    with pytest.raises(ModelError) as raised:
        ask(Cut("It is"))
    assert raised.value.kind == "cut"


def watch(reply: Reply, until: Callable[[Chunk], bool]) -> int:
    """How many clients have gone away when the answer is left at a certain chunk."""

    async def talk() -> int:
        async with ScriptedUpstream() as upstream:
            upstream.script([reply])
            inner = OpenAICompatible(base_url=upstream.base_url)
            async with aclosing(PromptedTools(inner).stream(REQUEST)) as chunks:
                async for chunk in chunks:
                    if until(chunk):
                        break
            await asyncio.to_thread(upstream.wait, lambda: upstream.disconnects == 1)
            await inner.close()
            return upstream.disconnects

    return asyncio.run(talk())


def test_words_arrive_while_the_answer_is_written_and_leaving_it_disconnects() -> None:
    assert watch(Held(Text("Well, it is cold."), "Well, "), lambda chunk: chunk == TextDelta("Well,")) == 1
