"""Which model server is asked, and under which name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from locum.demo_model import DemoModel
from locum.models.chat import ChatMessage, ChatRequest, Chunk, ModelError, ToolCallDelta, ToolDefinition
from locum.models.openai_compatible import OpenAICompatible
from locum.models.routes import MappedModel, Route, Routes

from .upstream import ScriptedUpstream, Status, Text

T = TypeVar("T")


def with_upstream(models: Any, use: Callable[[Routes, ScriptedUpstream], Awaitable[T]], **options: Any) -> T:
    async def talk() -> T:
        async with ScriptedUpstream() as upstream:
            upstream.models = models
            routes = Routes(base_url=upstream.base_url, **options)
            try:
                return await use(routes, upstream)
            finally:
                await routes.close()

    return asyncio.run(talk())


def upstream_name(name: str, models: Any, **options: Any) -> str:
    async def use(routes: Routes, _: ScriptedUpstream) -> str:
        return (await routes.resolve(name)).upstream_name

    return with_upstream(models, use, **options)


@pytest.mark.parametrize(
    ("models", "options", "expected"),
    [
        pytest.param(["a", "b"], {"default_model": "llama"}, "llama", id="LOCUM_MODEL serves every name"),
        pytest.param(["gpt-4o", "b"], {}, "gpt-4o", id="the upstream knows the name"),
        pytest.param(["gpt-4o:latest", "b"], {}, "gpt-4o", id="the upstream knows it with a tag"),
        pytest.param(["only"], {}, "only", id="the upstream has one model"),
        pytest.param(Status(404), {}, "gpt-4o", id="no list to be had"),
        pytest.param([], {}, "gpt-4o", id="an empty list"),
        pytest.param(["a", "b"], {"mapped": {"gpt-4o": MappedModel(model="b")}}, "b", id="mapped"),
        pytest.param(
            ["a"],
            {"default_model": "a", "mapped": {"gpt-4o": MappedModel(context_window=9)}},
            "a",
            id="mapped for its limits only",
        ),
    ],
)
def test_a_name_is_asked_for_as(models: Any, options: dict[str, Any], expected: str) -> None:
    assert upstream_name("gpt-4o", models, **options) == expected


def test_a_name_the_upstream_does_not_know_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(ModelError) as caught:
        upstream_name("gpt-4o", ["llama", "qwen"])
    assert caught.value.kind == "misconfigured"
    for word in ("'gpt-4o'", "llama, qwen", "LOCUM_MODEL", '[models."gpt-4o"]', "http://127.0.0.1"):
        assert word in caught.value.message


def test_a_mapped_name_takes_its_own_server_key_and_limits() -> None:
    async def use(default: Routes, upstream: ScriptedUpstream) -> None:
        async with ScriptedUpstream() as other:
            other.script([Text("x")])
            mapped = MappedModel(
                base_url=other.base_url, model="big", api_key="k2", context_window=9, max_output_tokens=3
            )
            routes = Routes(base_url=upstream.base_url, api_key="k1", mapped={"gpt-4o": mapped})
            route = await routes.resolve("gpt-4o")
            assert (route.context_window, route.max_output_tokens) == (9, 3)
            await consume(route)
            assert other.requests[0]["model"] == "big"
            assert other.received[0].headers["authorization"] == "Bearer k2"
            assert upstream.received == []
            await routes.close()

    with_upstream(["a"], use)


def test_the_default_key_is_not_sent_to_another_address() -> None:
    async def use(_: Routes, upstream: ScriptedUpstream) -> None:
        upstream.script([Text("x")])
        mapped = {"gpt-4o": MappedModel(base_url=upstream.base_url)}
        routes = Routes(base_url="http://127.0.0.1:9/v1", api_key="k1", mapped=mapped)
        await consume(await routes.resolve("gpt-4o"))
        assert "authorization" not in upstream.received[0].headers
        assert upstream.requests[0]["model"] == "gpt-4o"
        await routes.close()

    with_upstream(["a"], use)


def test_a_table_with_a_key_only_goes_to_the_default_address() -> None:
    async def use(routes: Routes, upstream: ScriptedUpstream) -> None:
        upstream.script([Text("x")])
        await consume(await routes.resolve("gpt-4o"))
        assert upstream.received[-1].headers["authorization"] == "Bearer k2"

    with_upstream(["a"], use, api_key="k1", mapped={"gpt-4o": MappedModel(api_key="k2")})


def test_errors_of_a_mapped_name_name_its_table() -> None:
    async def use(_: Routes, upstream: ScriptedUpstream) -> str:
        upstream.script([Status(401)])
        routes = Routes(mapped={"gpt-4o": MappedModel(base_url=upstream.base_url, api_key="wrong")})
        with pytest.raises(ModelError) as caught:
            await consume(await routes.resolve("gpt-4o"))
        await routes.close()
        return caught.value.message

    assert 'check the API key of [models."gpt-4o"]' in with_upstream(["a"], use)


def test_the_list_is_asked_for_once_in_a_while() -> None:
    now = 0.0

    async def use(routes: Routes, upstream: ScriptedUpstream) -> None:
        nonlocal now
        await asyncio.gather(*(routes.resolve("anything") for _ in range(5)))
        assert len(upstream.received) == 1
        now = 59.0
        assert (await routes.resolve("anything")).upstream_name == "only"
        upstream.models = ["another"]
        now = 61.0
        assert (await routes.resolve("anything")).upstream_name == "another"
        assert len(upstream.received) == 2

    with_upstream(["only"], use, monotonic=lambda: now)


def test_a_list_that_could_not_be_had_is_asked_for_again_soon() -> None:
    now = 0.0

    async def use(routes: Routes, upstream: ScriptedUpstream) -> None:
        nonlocal now
        assert (await routes.resolve("x")).upstream_name == "x"
        upstream.models = ["only"]
        assert (await routes.resolve("x")).upstream_name == "x"
        now = 6.0
        assert (await routes.resolve("x")).upstream_name == "only"

    with_upstream(Status(503), use, monotonic=lambda: now)


def test_without_any_server_the_demo_model_answers_every_name() -> None:
    async def talk() -> tuple[Route, list[str]]:
        routes = Routes(demo=DemoModel())
        return await routes.resolve("gpt-4o"), await routes.names()

    route, names = asyncio.run(talk())
    assert isinstance(route.model, DemoModel)
    assert route.upstream_name == "locum-demo"
    assert names == ["locum-demo"]


def test_with_a_server_for_one_name_only_no_other_name_is_answered_by_the_demo_model() -> None:
    async def talk() -> None:
        routes = Routes(mapped={"gpt-4o": MappedModel(base_url="http://127.0.0.1:9/v1")})
        assert isinstance((await routes.resolve("gpt-4o")).model, OpenAICompatible)
        with pytest.raises(ModelError, match="LOCUM_MODEL_BASE_URL") as caught:
            await routes.resolve("gpt-35")
        assert caught.value.kind == "misconfigured"

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("models", "options", "expected"),
    [
        (["a", "b"], {"mapped": {"gpt-4o": MappedModel(model="a"), "b": MappedModel()}}, ["gpt-4o", "b", "a"]),
        (Status(404), {"default_model": "llama"}, ["llama"]),
        (Status(404), {}, []),
    ],
)
def test_names_are_the_mapped_ones_and_the_upstreams(models: Any, options: dict[str, Any], expected: list[str]) -> None:
    async def use(routes: Routes, _: ScriptedUpstream) -> list[str]:
        return await routes.names()

    assert with_upstream(models, use, **options) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "demo model (built in, rule-based; set LOCUM_MODEL_BASE_URL to use a real one)"),
        (
            {"base_url": "http://localhost:11434/v1/", "default_model": "llama3"},
            "http://localhost:11434/v1, model llama3 for every name",
        ),
        ({"base_url": "http://u:p@localhost/v1?key=s"}, "http://localhost/v1, each model by its own name"),
        (
            {
                "base_url": "http://a/v1",
                "default_model": "m",
                "mapped": {"x": MappedModel(base_url="http://b/v1"), "y": MappedModel(context_window=1)},
            },
            "http://a/v1, model m for every name; x -> http://b/v1, model x; y -> http://a/v1, model m",
        ),
    ],
)
def test_the_start_up_line_says_who_answers(options: dict[str, Any], expected: str) -> None:
    assert Routes(**options).describe() == expected


def test_what_a_server_has_taught_is_kept_for_the_next_run() -> None:
    async def use(routes: Routes, _: ScriptedUpstream) -> None:
        first = await routes.resolve("gpt-4o")
        assert first.context_window is None
        first.overflowed(None)
        assert first.context_window is None
        first.overflowed(4096)
        again, other = await routes.resolve("gpt-4o"), await routes.resolve("o")
        assert (first.context_window, again.context_window, other.context_window) == (4096, 4096, None)
        assert again.meter is first.meter
        assert other.meter is not first.meter

    with_upstream(["gpt-4o", "o"], use)


def test_the_smaller_window_counts_the_owners_or_the_one_a_server_has_named() -> None:
    async def use(routes: Routes, _: ScriptedUpstream) -> None:
        route = await routes.resolve("gpt-4o")
        route.overflowed(128_000)
        assert route.context_window == 8192
        route.overflowed(4096)
        assert route.context_window == 4096

    with_upstream(["a"], use, mapped={"gpt-4o": MappedModel(context_window=8192)})


def test_the_default_servers_limits_count_where_a_table_sets_none() -> None:
    async def use(routes: Routes, _: ScriptedUpstream) -> None:
        limits = []
        for name in ("a", "short", "wordy"):
            route = await routes.resolve(name)
            limits.append((route.context_window, route.max_output_tokens))
        assert limits == [(9000, 300), (1000, 300), (9000, 20)]

    mapped = {"short": MappedModel(context_window=1000), "wordy": MappedModel(max_output_tokens=20)}
    with_upstream(["a"], use, context_window=9000, max_output_tokens=300, mapped=mapped)


@pytest.mark.parametrize(("name", "is_prompted"), [("a", True), ("gpt-4o", False)])
def test_tools_are_told_in_words_where_the_owner_says_so(name: str, is_prompted: bool) -> None:
    async def use(routes: Routes, upstream: ScriptedUpstream) -> list[Chunk]:
        upstream.script([Text('<tool_call>{"name": "f", "arguments": {}}</tool_call>')])
        route = await routes.resolve(name)
        request = ChatRequest(
            model=route.upstream_name,
            messages=(ChatMessage(role="user", content="hi"),),
            tools=(ToolDefinition(name="f"),),
        )
        chunks = [chunk async for chunk in route.model.stream(request)]
        assert ("tools" in upstream.requests[0]) is not is_prompted
        return chunks

    mapped = {"gpt-4o": MappedModel(tool_calling="native")}
    chunks = with_upstream(["a"], use, tool_calling="prompt", mapped=mapped)
    assert any(isinstance(chunk, ToolCallDelta) for chunk in chunks) is is_prompted


def test_a_table_that_only_names_the_limit_differently_keeps_the_default_key() -> None:
    async def use(routes: Routes, upstream: ScriptedUpstream) -> None:
        upstream.script([Text("x")])
        route = await routes.resolve("gpt-4o")
        request = ChatRequest(model="a", messages=(ChatMessage(role="user", content="hi"),), max_completion_tokens=7)
        async for _ in route.model.stream(request):
            pass
        assert upstream.requests[0]["max_completion_tokens"] == 7
        assert upstream.received[-1].headers["authorization"] == "Bearer k1"

    mapped = {"gpt-4o": MappedModel(max_tokens_parameter="max_completion_tokens")}
    with_upstream(["a"], use, api_key="k1", mapped=mapped)


def test_names_that_callers_make_up_do_not_pile_up() -> None:
    async def use(routes: Routes, _: ScriptedUpstream) -> None:
        first = await routes.resolve("0")
        for number in range(1, 1000):
            await routes.resolve(str(number))
        assert (await routes.resolve("0")).meter is first.meter
        for number in range(1000, 2000):
            await routes.resolve(str(number))
        assert (await routes.resolve("0")).meter is not first.meter

    with_upstream(Status(404), use, monotonic=lambda: 0.0)


async def consume(route: Route) -> None:
    request = ChatRequest(model=route.upstream_name, messages=(ChatMessage(role="user", content="hi"),))
    async for _ in route.model.stream(request):
        pass
