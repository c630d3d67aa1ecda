"""Behaviours 119-127: what the model is shown, and how many tokens a run may use. Read off at a scripted model."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.beta.threads import Run

from tests.conformance.api import WEATHER, Api, seen, text_of
from tests.conformance.behaviours import behaviour
from tests.conformance.conftest import Servers
from tests.conformance.test_assistants import JSON_SCHEMA
from tests.conformance.test_threads_and_messages import PNG
from tests.models.upstream import Call, Text, Usage


def cap(asked: dict[str, Any]) -> Any:
    """How many tokens the model was allowed to answer with."""
    return asked.get("max_completion_tokens", asked.get("max_tokens"))


def words(asked: dict[str, Any]) -> int:
    """The words of a request: each is at least one token."""
    return sum(len(content.split()) for _, content in seen(asked) if isinstance(content, str))


def long_thread(api: Api, messages: int, words_each: int) -> str:
    return api.thread(*(" ".join([f"m{n}", *["word"] * (words_each - 1)]) for n in range(messages)))


def answered(api: Api, run: Run) -> Run:
    """The run after its function calls have had an output each."""
    assert run.required_action is not None
    outputs: list[Any] = [
        {"tool_call_id": call.id, "output": "rain"} for call in run.required_action.submit_tool_outputs.tool_calls
    ]
    return api.sdk.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs
    )


@pytest.fixture
def untaught(on_openai: Api, servers: Servers) -> Iterator[Api]:
    """A server of its own: what a model's earlier answers said of their usage teaches how long a prompt may be."""
    api = Api(servers.start(LOCUM_SANDBOX="off").azure_endpoint, on_openai.wire, on_openai.upstream)
    yield api
    api.close()


@behaviour(119, "max_prompt_tokens and max_completion_tokens are 256 at least")
@pytest.mark.parametrize("field", ["max_prompt_tokens", "max_completion_tokens"])
def test_budgets_are_256_at_least(api: Api, field: str) -> None:
    assistant, thread = api.assistant(), api.thread()
    for path in (f"/threads/{thread}/runs", "/threads/runs"):
        error = api.refused("POST", path, {"assistant_id": assistant, field: 255}, param=field)
        assert error["code"] == "integer_below_min_value"
        assert error["message"] == (
            f"Invalid '{field}': integer below minimum value. Expected a value >= 256, but got 255 instead."
        )
    run = api.run(Text("Hi."), assistant=assistant, thread=thread, **{field: 256})
    assert (run.status, getattr(run, field)) == ("completed", 256)


@behaviour(120, "Budgets are the whole run's: of 500/1000, after 200/300 the next turn has 300/700")
def test_what_a_turn_used_is_not_there_for_the_next(untaught: Api) -> None:
    api = untaught
    run = api.run(
        Call("get_weather", {"city": "Seoul"}, usage=Usage(200, 300)),
        Text("It rains.", usage=Usage(100, 100)),
        assistant=api.assistant(tools=[WEATHER]),
        thread=long_thread(api, 40, 40),
        max_prompt_tokens=500,
        max_completion_tokens=1000,
    )
    run = answered(api, run)
    assert run.status == "completed"
    first, second = api.asked()
    assert (cap(first), cap(second)) == (1000, 700)
    assert words(first) <= 500
    tokens_per_word = 200 / words(first)  # as the model itself counts
    assert words(second) * tokens_per_word <= 300
    assert run.usage is not None
    assert (run.usage.prompt_tokens, run.usage.completion_tokens) == (300, 400)
    assert (run.max_prompt_tokens, run.max_completion_tokens) == (500, 1000)


@behaviour(121, "A run that uses up max_completion_tokens is incomplete, and keeps its partial message")
def test_an_answer_cut_by_the_budget_is_kept(api: Api) -> None:
    cut = Text("This is cut", finish_reason="length", usage=Usage(10, 256))
    run = api.run(cut, max_completion_tokens=256)
    assert (run.status, run.expires_at) == ("incomplete", None)
    assert run.incomplete_details is not None
    assert run.incomplete_details.reason == "max_completion_tokens"
    message = api.messages(run.thread_id)[-1]
    assert (message.status, text_of(message)) == ("incomplete", "This is cut")
    assert message.incomplete_details is not None
    assert message.incomplete_details.reason == "max_tokens"
    assert api.run(Text("Hi."), thread=run.thread_id).status == "completed"


@behaviour(122, "A run whose prompt budget is used up by an earlier turn is incomplete, max_prompt_tokens")
def test_a_used_up_prompt_budget_ends_the_run(api: Api) -> None:
    run = api.run(
        Call("get_weather", {}, usage=Usage(256, 10)),
        Text("never asked"),
        assistant=api.assistant(tools=[WEATHER]),
        max_prompt_tokens=256,
    )
    run = answered(api, run)
    assert run.status == "incomplete"
    assert run.incomplete_details is not None
    assert run.incomplete_details.reason == "max_prompt_tokens"
    assert len(api.asked()) == 1
    assert all(step.status == "completed" for step in api.steps(run))


@behaviour(123, "truncation last_messages n shows the model the n newest messages; n is 1 at least")
def test_only_the_newest_messages_are_seen(api: Api) -> None:
    assistant, thread = api.assistant(instructions="Be brief."), api.thread(*"abcde")
    path = f"/threads/{thread}/runs"
    for wrong in ({"type": "last_messages", "last_messages": 0}, {"type": "last_messages"}, {"type": "foo"}, {}):
        api.refused("POST", path, {"assistant_id": assistant, "truncation_strategy": wrong})
    strategy: Any = {"type": "last_messages", "last_messages": 2}
    run = api.run(Text("Hi."), assistant=assistant, thread=thread, truncation_strategy=strategy)
    assert api.get(f"{path}/{run.id}")["truncation_strategy"] == strategy
    assert seen(api.asked()[0]) == [("system", "Be brief."), ("user", "d"), ("user", "e")]


@behaviour(124, "truncation auto cuts a thread that is too long in its middle; first and last messages are seen")
def test_a_long_thread_is_cut_in_the_middle(untaught: Api) -> None:
    api = untaught
    thread = long_thread(api, 60, 50)
    run = api.run(Text("Hi."), assistant=api.assistant(instructions="Be brief."), thread=thread, max_prompt_tokens=1000)
    assert run.status == "completed"
    shown = [content.split()[0] for role, content in seen(api.asked()[0]) if role == "user"]
    assert (shown[0], shown[-1]) == ("m0", "m59")
    assert shown == sorted(shown, key=lambda name: int(name[1:]))
    assert 2 < len(shown) < 20
    assert words(api.asked()[0]) <= 1000
    assert seen(api.asked()[0])[0] == ("system", "Be brief.")


@behaviour(125, "Assistant messages and images reach the model in the thread's order")
def test_images_and_assistant_messages_reach_the_model(api: Api) -> None:
    file = api.sdk.files.create(file=("a.png", PNG), purpose="vision").id
    url = "https://example.com/a.png"
    parts: list[Any] = [
        {"type": "text", "text": "first"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        {"type": "image_file", "image_file": {"file_id": file, "detail": "high"}},
        {"type": "text", "text": "last"},
    ]
    thread = api.sdk.beta.threads.create(
        messages=[
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "Show me."},
            {"role": "user", "content": parts},
        ]
    ).id
    assert api.run(Text("Hi."), thread=thread).status == "completed"
    hello, show, shown = seen(api.asked()[0])[-3:]
    assert (hello, show) == (("user", "hello"), ("assistant", "Show me."))
    assert [part["type"] for part in shown[1]] == ["text", "image_url", "image_url", "text"]
    first, by_url, by_file, last = shown[1]
    assert (first["text"], last["text"]) == ("first", "last")
    assert by_url["image_url"] == {"url": url, "detail": "low"}
    assert by_file["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert by_file["image_url"]["detail"] == "high"


@behaviour(
    126, "response_format json_object and json_schema are handed to the model; auto and text are not forced on it"
)
def test_response_formats_reach_the_model(api: Api) -> None:
    plain: Any = {"type": "json_object"}
    for form in (plain, JSON_SCHEMA):
        run = api.run(Text("{}"), response_format=form)
        assert api.get(f"/threads/{run.thread_id}/runs/{run.id}")["response_format"] == form
        assert api.asked()[-1]["response_format"] == form
    inherited = api.assistant(response_format=plain)
    api.run(Text("{}"), assistant=inherited)
    assert api.asked()[-1]["response_format"] == plain
    api.run(Text("Hi."), assistant=inherited, response_format="auto")
    assert api.asked()[-1].get("response_format", {"type": "text"}) == {"type": "text"}


@behaviour(127, "A run's temperature and top_p win over its assistant's, which hold where the run has none")
def test_sampling_is_the_runs_or_the_assistants(api: Api) -> None:
    assistant = api.assistant(temperature=0.3, top_p=0.8)
    own = api.run(Text("Hi."), assistant=assistant, temperature=0, top_p=0.1)
    assert (own.temperature, own.top_p) == (0, 0.1)
    half = api.run(Text("Hi."), assistant=assistant, temperature=1.5)
    assert (half.temperature, half.top_p) == (1.5, 0.8)
    none = api.run(Text("Hi."), assistant=assistant, extra_body={"temperature": None})
    assert (none.temperature, none.top_p) == (0.3, 0.8)
    assert [(asked["temperature"], asked["top_p"]) for asked in api.asked()] == [(0, 0.1), (1.5, 0.8), (0.3, 0.8)]
    for field, value in [("temperature", 2.1), ("top_p", -0.1)]:
        api.refused("POST", f"/threads/{api.thread()}/runs", {"assistant_id": assistant, field: value}, param=field)
