from __future__ import annotations

from typing import Any

import pytest

from locum.domain.runs import Usage
from locum.engine.turn import Answer, Fail, Reply, UseTools, decide, failure
from locum.models.chat import ModelError, ToolCall
from locum.tools.code_interpreter import DEFINITION

TOOLS = (DEFINITION,)


def reply(text: str = "", *calls: ToolCall, reason: Any = "stop") -> Reply:
    return Reply(text=text, calls=calls, reason=reason, usage=Usage())


def call(name: str = "code_interpreter", arguments: str = '{"code": "1"}') -> ToolCall:
    return ToolCall(id="call_1", name=name, arguments=arguments)


def test_words_without_calls_are_the_answer() -> None:
    assert decide(TOOLS, reply("42")) == Answer("42")


def test_words_cut_by_the_models_own_limit_are_still_the_answer() -> None:
    assert decide(TOOLS, reply("42", reason="length")) == Answer("42")


@pytest.mark.parametrize("name", ["code_interpreter", "python"])
def test_a_call_of_the_code_interpreter_by_any_of_its_names_is_made(name: str) -> None:
    decided = decide(TOOLS, reply("", call(name)))
    assert isinstance(decided, UseTools)
    assert [(each.id, each.code_interpreter.input) for each in decided.calls] == [("call_1", "1")]
    assert not decided.calls[0].is_done


@pytest.mark.parametrize(
    ("tools", "said", "words"),
    [
        (TOOLS, reply("", call("browser")), "'browser'"),
        ((), reply("", call()), "'code_interpreter'"),
        (TOOLS, reply("", call(), reason="length"), "output limit"),
        (TOOLS, reply("", reason="content_filter"), "content filter"),
    ],
)
def test_what_cannot_be_done_fails_the_run_with_words(tools: Any, said: Reply, words: str) -> None:
    decided = decide(tools, said)
    assert isinstance(decided, Fail)
    assert words in decided.error.message


def test_a_model_that_was_to_answer_and_calls_tools_fails_the_run() -> None:
    decided = decide(TOOLS, reply("", call()), must_answer=True)
    assert isinstance(decided, Fail)
    assert "kept calling tools" in decided.error.message


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("rate_limited", "rate_limit_exceeded"),
        ("refused", "invalid_prompt"),
        ("unavailable", "server_error"),
        ("misconfigured", "server_error"),
        ("context_overflow", "server_error"),
        ("cut", "server_error"),
    ],
)
def test_a_models_failure_becomes_the_runs_last_error(kind: Any, code: str) -> None:
    assert failure(ModelError("words", kind=kind)).code == code
