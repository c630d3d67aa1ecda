from __future__ import annotations

from typing import Any

import pytest

from locum.domain.messages import Text, TextPart
from locum.domain.runs import LastError, Usage
from locum.domain.steps import CodeInterpreterCall, FunctionCall
from locum.domain.tools import CodeInterpreterTool, FunctionDefinition, FunctionTool
from locum.engine import turn
from locum.engine.turn import Answer, Fail, Reply, RunShort, UseTools, failure
from locum.models.chat import ModelError, ToolCall
from locum.tools.functions import Offer, offer

TOOLS = (CodeInterpreterTool(), FunctionTool(FunctionDefinition(name="weather")))


def decide(tools: Any, said: Reply, *, must_answer: bool = False, budgeted: bool = False) -> Any:
    return turn.decide(offer(tools), said, must_answer=must_answer, budgeted=budgeted)


def reply(text: str = "", *calls: ToolCall, reason: Any = "stop") -> Reply:
    said = (TextPart(Text(value=text)),) if text else ()
    return Reply(said=said, calls=calls, reason=reason, usage=Usage())


def call(name: str = "code_interpreter", arguments: str = '{"code": "1"}') -> ToolCall:
    return ToolCall(id="call_1", name=name, arguments=arguments)


def test_words_without_calls_are_the_answer() -> None:
    assert decide(TOOLS, reply("42")) == Answer()


def test_words_cut_by_the_models_own_limit_are_still_the_answer() -> None:
    assert decide(TOOLS, reply("42", reason="length")) == Answer()


@pytest.mark.parametrize("name", ["code_interpreter", "python"])
def test_a_call_of_the_code_interpreter_by_any_of_its_names_is_made(name: str) -> None:
    decided = decide(TOOLS, reply("", call(name)))
    assert isinstance(decided, UseTools)
    assert [(each.id, each.code_interpreter.input) for each in decided.calls] == [("call_1", "1")]
    assert not decided.calls[0].is_done


def test_a_call_of_a_function_is_the_callers_to_make_with_its_arguments_untouched() -> None:
    decided = decide(TOOLS, reply("", call("weather", '{"city": "Seo'), call()))
    assert isinstance(decided, UseTools)
    asked, code = decided.calls
    assert isinstance(asked, FunctionCall)
    assert isinstance(code, CodeInterpreterCall)
    assert (asked.function.name, asked.function.arguments, asked.function.output) == ("weather", '{"city": "Seo', None)


@pytest.mark.parametrize("name", ["code_interpreter", "python"])
def test_a_function_with_the_name_of_the_code_interpreter_is_the_callers(name: str) -> None:
    offered = offer((CodeInterpreterTool(), FunctionTool(FunctionDefinition(name=name))))
    assert offered.kind(name) == "function"
    assert offered.kind(str(offered.code_name)) == "code_interpreter"
    assert len({each.name for each in offered.definitions}) == 2


def test_no_name_is_offered_twice() -> None:
    names = ("f", "code_interpreter", "f", "locum_code_interpreter")
    offered = offer((*(FunctionTool(FunctionDefinition(name=name)) for name in names), CodeInterpreterTool()))
    told = [each.name for each in offered.definitions]
    assert sorted(told) == sorted({*names, str(offered.code_name)})


def test_a_reply_that_used_up_the_runs_budget_ends_the_run_even_within_a_call() -> None:
    assert decide(TOOLS, reply("4", reason="length"), budgeted=True) == RunShort()
    assert decide(TOOLS, reply("", call(), reason="length"), budgeted=True) == RunShort()


def test_nothing_is_offered_without_tools() -> None:
    assert offer(()) == Offer(definitions=(), functions=frozenset())


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
    error = ModelError("words of http://model.internal", kind=kind)
    assert failure(error, explain=True) == LastError(code=code, message=error.message)  # type: ignore[arg-type]
    assert failure(error, explain=False).code == code
    assert "words" not in failure(error, explain=False).message
