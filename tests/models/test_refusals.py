# ruff: noqa: E501 - other people's words are quoted as they are
"""What model servers say when they refuse, in their own words, and what is made of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from locum.models.refusals import (
    Habits,
    is_overflow,
    is_without_tools,
    most_tokens_of,
    refused_parameter,
    window_of,
)
from locum.models.wire import problem_of

SENT = {
    "stream_options",
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "max_completion_tokens",
    "reasoning_effort",
    "strict",
    "messages",
    "tools",
}


def problem(body: Any) -> Any:
    return problem_of(body.encode() if isinstance(body, str) else msgspec.json.encode(body))


def openai(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}}


@pytest.mark.parametrize(
    ("body", "window"),
    [
        (
            openai(
                "This model's maximum context length is 8192 tokens. However, your messages resulted in 10337 tokens. "
                "Please reduce the length of the messages.",
                param="messages",
                code="context_length_exceeded",
            ),
            8192,
        ),
        (
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens "
                "(4500 in the messages, 500 in the completion).",
                "type": "BadRequestError",
                "code": 400,
            },
            4096,
        ),
        (
            openai("You passed 4097 input tokens and requested 0 output tokens. However, the model's context length is only "
                   "4096 tokens, resulting in a maximum input length of 4096 tokens."),
            4096,
        ),
        (
            {
                "error": {
                    "code": 400,
                    "message": "the request exceeds the available context size. try increasing the context size",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 5011,
                    "n_ctx": 4096,
                }
            },
            4096,
        ),
        (
            {"error": "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with "
                      "context length of only 4096 tokens, which is not enough."},
            4096,
        ),
        (
            {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000 `inputs` "
                      "tokens and 20 `max_new_tokens`", "error_type": "validation"},
            2048,
        ),
        (openai("prompt is too long: 210000 tokens > 200000 maximum"), 200000),
        (
            [{"error": {"code": 400, "message": "The input token count (1100000) exceeds the maximum number of tokens "
                        "allowed (1048576).", "status": "INVALID_ARGUMENT"}}],
            1048576,
        ),
        (openai("context_length_exceeded"), None),
        (
            {"error": "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 13055>= "
                      "n_ctx: 4096). Try to load the model with a larger context length, or provide a shorter input."},
            4096,
        ),
        (
            {"object": "error", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 "
             "maximum context length", "type": "invalid_request_error", "code": "3051"},
            32768,
        ),
        (openai("The input (5000 tokens) is longer than the model's context length (4096 tokens)."), 4096),
        (openai("The decoder prompt (length 5000) is longer than the maximum model length of 4096."), 4096),
        (openai("Requested tokens (2285) exceed context window of 2048"), 2048),
        (openai("input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000, decrease input length"), 200000),
        (openai("Input is too long for requested model."), None),
        (openai("This model's maximum context length is 1 tokens."), None),
    ],
)  # fmt: skip
def test_a_prompt_that_is_too_long_is_recognised_with_the_window_where_it_is_named(
    body: Any, window: int | None
) -> None:
    assert is_overflow(problem(body))
    assert window_of(problem(body)) == window


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (
            openai(
                "Unsupported parameter: 'max_completion_tokens' is not supported with this model. Use 'max_tokens' instead.",
                param="max_completion_tokens",
                code="unsupported_parameter",
            ),
            "max_completion_tokens",
        ),
        (
            openai(
                "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is "
                "supported.",
                param="temperature",
                code="unsupported_value",
            ),
            "temperature",
        ),
        (openai("Unrecognized request argument supplied: parallel_tool_calls"), "parallel_tool_calls"),
        (
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]},
            "stream_options",
        ),
        (
            {
                "object": "error",
                "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'reasoning_effort'), 'msg': 'Extra inputs are not "
                "permitted'}]",
                "type": "BadRequestError",
            },
            "reasoning_effort",
        ),
        ("'stream_options' is not supported by this endpoint", "stream_options"),
        (openai("Unknown parameter: 'tools[0].function.strict'.", param="tools[0].function.strict", code="unknown_parameter"), "strict"),
        (openai("top_p is deprecated for this model"), "top_p"),
    ],
)  # fmt: skip
def test_a_parameter_that_a_server_does_not_take_is_recognised(body: Any, name: str) -> None:
    assert refused_parameter(problem(body), SENT) == name


@pytest.mark.parametrize(
    "body",
    [
        openai("Invalid schema for function 'weather': 'type' is required.", param="tools[0].function.parameters"),
        openai(
            "Your prompt about the temperature of the sea was rejected by our safety system.", code="content_policy"
        ),
        openai("Unsupported parameter: 'logprobs'.", param="logprobs", code="unsupported_parameter"),
        openai(
            "Unsupported parameter: 'max_tokens'.", param="max_tokens", code="unsupported_parameter"
        ),  # was not sent
        openai(
            "Invalid 'temperature': decimal above maximum value.", param="temperature", code="decimal_above_max_value"
        ),
        openai("'response_format' of type 'json_schema' is not supported with this model.", param="response_format"),
        "something went wrong",
    ],
)
def test_other_refusals_change_nothing(body: Any) -> None:
    assert refused_parameter(problem(body), SENT) is None
    assert not is_overflow(problem(body))


@pytest.mark.parametrize(
    "body",
    [
        openai("registry.ollama.ai/library/gemma:2b does not support tools"),
        openai('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}},
    ],
)
def test_a_server_that_cannot_call_tools_is_recognised(body: Any) -> None:
    assert is_without_tools(problem(body))


@pytest.mark.parametrize(
    ("words", "most"),
    [
        ("max_tokens is too large: 32000. This model supports at most 16384 completion tokens, whereas you provided 32000.", 16384),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192),
        ("`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window`", 8192),
        ("max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for this model", 64000),
        ("max_tokens must be at least 1", None),
    ],
)  # fmt: skip
def test_a_limit_that_is_too_large_is_recognised_with_the_largest_one(words: str, most: int | None) -> None:
    assert most_tokens_of(problem(openai(words))) == most


HABITS = Habits(max_tokens_parameter="max_completion_tokens")


def test_a_parameter_is_dropped_once_and_the_limit_of_an_answer_swaps_its_name_once() -> None:
    without = HABITS.dropping("temperature")
    assert without is not None
    assert without.without == {"temperature"}
    assert without.dropping("temperature") is None
    swapped = without.dropping("max_completion_tokens")
    assert swapped is not None
    assert (swapped.max_tokens_parameter, swapped.without) == ("max_tokens", {"temperature"})
    assert swapped.dropping("max_tokens") is None


def test_what_two_calls_have_found_out_is_put_together() -> None:
    one, other = HABITS.dropping("temperature"), HABITS.dropping("max_completion_tokens")
    assert one is not None
    assert other is not None
    limited = msgspec.structs.replace(HABITS, most_tokens=100)
    for together in (one.including(other).including(limited), limited.including(other).including(one)):
        assert together == Habits(
            max_tokens_parameter="max_tokens", has_swapped=True, most_tokens=100, without=frozenset({"temperature"})
        )


@pytest.mark.parametrize(
    "words",
    [
        "Error while downloading https://x.invalid/context%20length%20is%20256?max_tokens+is+[1,2]",
        "Error while downloading https://x.invalid/temperature-unsupported",
        "1 validation error for ChatRequest: input_value='This model's maximum context length is 256 tokens', temperature unsupported",
    ],
)
def test_what_a_caller_wrote_does_not_pass_for_the_servers_words(words: str) -> None:
    echoed = problem(openai(words))
    assert not is_overflow(echoed)
    assert window_of(echoed) is None
    assert refused_parameter(echoed, SENT) is None
