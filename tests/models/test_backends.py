# ruff: noqa: E501 - other people's words are quoted as they are
"""Model servers as they are: each behaves as one in the wild does, and the call comes to the same answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from locum.models.chat import ChatMessage, ChatRequest, Chunk, Finish, ModelError, TextDelta, ToolDefinition, Usage
from locum.models.openai_compatible import OpenAICompatible
from tests.models.test_openai_compatible import calls_of, delta, events, text_of
from tests.models.upstream import Raw, Reply, ScriptedUpstream, Status, Text

FULL = ChatRequest(
    model="m",
    messages=(ChatMessage(role="user", content="hi"),),
    tools=(ToolDefinition(name="f", parameters={"type": "object"}, strict=True),),
    parallel_tool_calls=False,
    temperature=0.2,
    top_p=0.5,
    max_completion_tokens=300,
    reasoning_effort="low",
)
Server = Callable[[dict[str, Any]], Reply]


def ask(server: Server, *, times: int = 1, path: str = "", **options: Any) -> tuple[list[Chunk], ScriptedUpstream]:
    """The last answer of a server that is asked the full request so many times."""

    async def talk() -> tuple[list[Chunk], ScriptedUpstream]:
        async with ScriptedUpstream() as upstream:
            upstream.answer = server
            client = OpenAICompatible(base_url=upstream.base_url + path, **options)
            chunks: list[Chunk] = []
            try:
                for _ in range(times):
                    chunks = [chunk async for chunk in client.stream(FULL)]
            finally:
                await client.close()
            return chunks, upstream

    return asyncio.run(talk())


def fail(server: Server) -> ModelError:
    with pytest.raises(ModelError) as failed:
        ask(server)
    return failed.value


def refuses(names: tuple[str, ...], words: Callable[[str], Any], status: int = 400) -> Server:
    """A server that takes none of these parameters and names the first that it meets."""

    def answer(body: dict[str, Any]) -> Reply:
        sent = {*body, *(name for tool in body.get("tools", ()) for name in tool["function"])}
        for name in names:
            if name in sent:
                return Status(status, body=words(name))
        return Text("Fine.")

    return answer


def openai_words(name: str) -> dict[str, Any]:
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    return {
        "error": {"message": message, "type": "invalid_request_error", "param": name, "code": "unsupported_parameter"}
    }


@pytest.mark.parametrize(
    ("names", "words", "status"),
    [
        (("max_tokens", "temperature", "top_p", "parallel_tool_calls"), openai_words, 400),
        (
            ("stream_options", "reasoning_effort"),
            lambda name: {
                "detail": [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}]
            },
            422,
        ),
        (("strict",), lambda name: {"error": f"Unrecognized field: {name}"}, 400),
        (("stream_options",), lambda name: f"'{name}' is not supported", 400),
    ],
    ids=["OpenAI's reasoning models", "a strict validator", "words only", "a plain string"],
)
def test_optional_parameters_that_a_server_refuses_are_left_out_and_stay_left_out(
    names: tuple[str, ...], words: Callable[[str], Any], status: int
) -> None:
    chunks, upstream = ask(refuses(names, words, status), times=2)
    assert text_of(chunks) == "Fine."
    *_, again, last = upstream.requests
    assert again == last
    assert len(upstream.requests) == len(names) + 2
    limit = last.get("max_completion_tokens", last.get("max_tokens"))
    assert limit == 300
    assert last["tools"][0]["function"]["name"] == "f"


def test_a_limit_that_is_refused_under_both_its_names_fails_in_the_servers_words() -> None:
    error = fail(refuses(("max_tokens", "max_completion_tokens"), openai_words))
    assert error.kind == "refused"
    assert "not supported with this model" in error.message


def test_calls_at_the_same_time_find_out_the_same_without_failing() -> None:
    async def talk() -> list[str]:
        async with ScriptedUpstream() as upstream:
            upstream.answer = refuses(("max_tokens", "temperature", "top_p"), openai_words)
            client = OpenAICompatible(base_url=upstream.base_url)

            async def one() -> str:
                return text_of([chunk async for chunk in client.stream(FULL)])

            texts = await asyncio.gather(*(one() for _ in range(5)))
            before = len(upstream.requests)
            assert await one() == "Fine."
            assert len(upstream.requests) == before + 1
            await client.close()
            return texts

    assert asyncio.run(talk()) == ["Fine."] * 5


def test_a_parameter_whose_loss_did_not_help_is_sent_again() -> None:
    refusal = Status(400, body={"error": {"message": "The image of the temperature gauge is unsupported."}})

    async def talk() -> list[dict[str, Any]]:
        async with ScriptedUpstream() as upstream:
            upstream.script([refusal, refusal, Text("Fine.")])
            client = OpenAICompatible(base_url=upstream.base_url)
            with pytest.raises(ModelError, match="temperature gauge"):
                _ = [chunk async for chunk in client.stream(FULL)]
            _ = [chunk async for chunk in client.stream(FULL)]
            await client.close()
            return upstream.requests

    sent = asyncio.run(talk())
    assert ["temperature" in body for body in sent] == [True, False, True]


def test_a_limit_above_the_models_own_is_lowered_to_it_and_stays_lowered() -> None:
    def server(body: dict[str, Any]) -> Reply:
        if body["max_tokens"] <= 64:
            return Text("Fine.")
        words = (
            "max_tokens is too large: 300. This model supports at most 64 completion tokens, whereas you provided 300."
        )
        return Status(400, body={"error": {"message": words, "param": "max_tokens", "code": None}})

    chunks, upstream = ask(server, times=2)
    assert text_of(chunks) == "Fine."
    assert [body["max_tokens"] for body in upstream.requests] == [300, 64, 64]


@pytest.mark.parametrize("name", ["tools", "messages"])
def test_what_makes_the_answer_is_never_left_out(name: str) -> None:
    assert fail(refuses((name,), openai_words)).kind == "refused"


def test_the_owner_can_say_how_the_limit_of_an_answer_is_called() -> None:
    _, upstream = ask(lambda body: Text("Fine."), max_tokens_parameter="max_completion_tokens")
    assert upstream.requests[0]["max_completion_tokens"] == 300
    assert "max_tokens" not in upstream.requests[0]


def test_azure_is_asked_at_its_deployment_with_its_version_and_filters_are_no_answer() -> None:
    filtered = {"hate": {"filtered": False, "severity": "safe"}}
    answer = events(
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": filtered}]},
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {"role": "assistant", "content": ""},
                    "finish_reason": None,
                    "content_filter_results": {},
                }
            ]
        },
        {
            "choices": [
                {"index": 0, "delta": {"content": "Hi."}, "finish_reason": None, "content_filter_results": filtered}
            ]
        },
        {
            "choices": [
                {
                    "index": 0,
                    "finish_reason": None,
                    "content_filter_offsets": {"check_offset": 1},
                    "content_filter_results": filtered,
                }
            ]
        },
        delta("stop"),
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
        "[DONE]",
    )
    chunks, upstream = ask(lambda body: answer, path="/openai/deployments/mine?api-version=2024-10-21")
    assert chunks == [TextDelta("Hi."), Finish(reason="stop", usage=Usage(prompt_tokens=9, completion_tokens=2))]
    assert upstream.received[0].path.endswith("/openai/deployments/mine/chat/completions?api-version=2024-10-21")


def test_azures_content_filter_is_told_as_what_it_is() -> None:
    stopped, _ = ask(lambda body: events(delta(content="Once"), delta("content_filter"), "[DONE]"))
    assert stopped == [TextDelta("Once"), Finish(reason="content_filter", usage=None)]
    refused = fail(
        lambda body: Status(
            400,
            body={
                "error": {
                    "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
                    "type": None,
                    "param": "prompt",
                    "code": "content_filter",
                    "status": 400,
                    "innererror": {"code": "ResponsibleAIPolicyViolation"},
                }
            },
        )
    )
    assert refused.kind == "refused"
    assert "content management policy" in refused.message


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_what_a_model_thinks_is_not_its_answer(name: str) -> None:
    chunks, _ = ask(
        lambda body: events(
            delta(**{name: "Hm, "}), delta(**{name: "well.", "content": None}), delta(content="42"), delta("stop")
        )
    )
    assert text_of(chunks) == "42"


def test_vllm_without_a_tool_parser_names_the_setting_that_helps() -> None:
    words = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    error = fail(
        lambda body: Status(400, body={"object": "error", "message": words, "type": "BadRequestError", "code": 400})
    )
    assert error.kind == "misconfigured"
    assert 'LOCUM_MODEL_TOOL_CALLING to "prompt"' in error.message


def test_ollama_numbers_all_calls_zero_gives_them_whole_and_ends_with_stop() -> None:
    calls = [
        {"index": 0, "id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": f'{{"n":{n}}}'}}
        for n in (1, 2)
    ]
    chunks, _ = ask(
        lambda body: events(
            delta(role="assistant", content="", tool_calls=[calls[0]]),
            delta(tool_calls=[calls[1]]),
            delta("stop", content=""),
            "[DONE]",
        )
    )
    assert [arguments for _, _, arguments in calls_of(chunks)] == ['{"n":1}', '{"n":2}']
    assert chunks[-1] == Finish(reason="tool_calls", usage=None)


def test_several_calls_in_one_piece_without_index_and_id_are_told_apart() -> None:
    calls = [{"function": {"name": name, "arguments": {"n": 1}}} for name in ("f", "g")]
    chunks, _ = ask(lambda body: events(delta(tool_calls=calls), delta("tool_calls")))
    assert [(name, arguments) for _, name, arguments in calls_of(chunks)] == [("f", '{"n":1}'), ("g", '{"n":1}')]


def test_ollama_that_does_not_know_the_model_or_tools_names_the_setting() -> None:
    unknown = fail(lambda body: Status(404, body={"error": {"message": "model 'm' not found", "type": "api_error"}}))
    assert "LOCUM_MODEL" in unknown.message
    without = fail(
        lambda body: Status(
            400, body={"error": {"message": "registry.ollama.ai/library/m:latest does not support tools"}}
        )
    )
    assert "LOCUM_MODEL_TOOL_CALLING" in without.message


def test_llama_cpp_counts_its_time_and_says_how_much_it_has_room_for() -> None:
    chunks, _ = ask(
        lambda body: events(
            delta(content="Hi."),
            {**delta("stop"), "timings": {"prompt_n": 4}},
            {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}, "timings": {"prompt_n": 4}},
        )
    )
    assert chunks[-1] == Finish(reason="stop", usage=Usage(prompt_tokens=4, completion_tokens=2))
    error = fail(
        lambda body: Status(
            400,
            body={
                "error": {
                    "code": 400,
                    "message": "request (5011 tokens) exceeds the available context size (4096 tokens), try increasing it",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 5011,
                    "n_ctx": 4096,
                }
            },
        )
    )
    assert (error.kind, error.window) == ("context_overflow", 4096)
    tools = fail(
        lambda body: Status(
            500, body={"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}}
        )
    )
    assert "LOCUM_MODEL_TOOL_CALLING" in tools.message


def test_lm_studio_gives_no_usage_and_errors_as_plain_strings() -> None:
    chunks, _ = ask(lambda body: events(delta(content="Hi."), delta("stop"), "[DONE]"))
    assert chunks[-1] == Finish(reason="stop", usage=None)
    error = fail(
        lambda body: Status(400, body={"error": "No models loaded. Please load a model in the developer page."})
    )
    assert "No models loaded" in error.message


def test_an_answer_that_is_not_streamed_is_an_answer() -> None:
    message = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}]}
    chunks, _ = ask(lambda body: Raw(msgspec.json.encode(message), content_type="application/json"))
    assert text_of(chunks) == "Hi."


def test_whole_calls_that_are_all_numbered_zero_and_have_no_ids_are_told_apart() -> None:
    calls = [{"index": 0, "function": {"name": "f", "arguments": f'{{"n":{n}}}'}} for n in (1, 2)]
    chunks, _ = ask(lambda body: events(delta(tool_calls=[calls[0]]), delta(tool_calls=[calls[1]]), delta("stop")))
    assert [arguments for _, _, arguments in calls_of(chunks)] == ['{"n":1}', '{"n":2}']


def test_a_name_that_is_repeated_with_every_piece_is_still_one_call() -> None:
    pieces = [{"index": 0, "function": {"name": "f", "arguments": text}} for text in ('{"n"', ":1}")]
    chunks, _ = ask(lambda body: events(*(delta(tool_calls=[piece]) for piece in pieces), delta("tool_calls")))
    assert [(name, arguments) for _, name, arguments in calls_of(chunks)] == [("f", '{"n":1}')]


def test_a_call_waits_for_its_name() -> None:
    pieces = [{"index": 0, "id": "c", "function": {"arguments": '{"n"'}}, {"index": 0, "function": {"name": "f"}}]
    last = {"index": 0, "function": {"arguments": ":1}"}}
    chunks, _ = ask(lambda body: events(*(delta(tool_calls=[each]) for each in (*pieces, last)), delta("tool_calls")))
    assert calls_of(chunks) == [("c", "f", '{"n":1}')]


def test_usage_without_numbers_is_none() -> None:
    chunks, _ = ask(lambda body: events(delta(content="Hi."), {**delta("stop"), "usage": {}}))
    assert chunks[-1] == Finish(reason="stop", usage=None)


def test_a_server_that_names_another_limit_each_time_is_not_asked_for_ever() -> None:
    asked: list[int] = []

    def fussy(body: dict[str, Any]) -> Reply:
        asked.append(1)
        words = f"max_tokens is too large: 9. This model supports at most {1000 - len(asked)} completion tokens"
        return Status(400, body={"error": {"message": words, "type": "invalid_request_error"}})

    assert fail(fussy).kind == "refused"
    assert len(asked) < 20
