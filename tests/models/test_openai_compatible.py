"""The model client against a real HTTP server that behaves well, badly and oddly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from locum.errors import StartupError
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
from locum.models.openai_compatible import Connections, OpenAICompatible

from .upstream import Call, Calls, Cut, Hang, Held, Raw, ScriptedUpstream, Status, Text
from .upstream import Usage as Tokens

KEY = "sk-very-secret"
REQUEST = ChatRequest(model="m", messages=(ChatMessage(role="user", content="hi"),))


class Naps:
    """A sleep that only takes notes."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def model(upstream: ScriptedUpstream | str, naps: Naps | None = None, **options: Any) -> OpenAICompatible:
    base_url = upstream if isinstance(upstream, str) else upstream.base_url
    options = {"api_key": KEY, "sleep": naps or Naps(), "random": lambda: 1.0, **options}
    return OpenAICompatible(base_url=base_url, **options)


async def collect(model: OpenAICompatible, request: ChatRequest = REQUEST) -> list[Chunk]:
    return [chunk async for chunk in model.stream(request)]


def ask(
    *replies: Any, request: ChatRequest = REQUEST, naps: Naps | None = None, **options: Any
) -> tuple[list[Chunk], ScriptedUpstream]:
    """The chunks that come of these replies."""

    async def talk() -> tuple[list[Chunk], ScriptedUpstream]:
        async with ScriptedUpstream() as upstream:
            upstream.script(replies)
            client = model(upstream, naps, **options)
            try:
                return await collect(client, request), upstream
            finally:
                await client.close()

    return asyncio.run(talk())


def fail(*replies: Any, naps: Naps | None = None, **options: Any) -> tuple[ModelError, list[Chunk], ScriptedUpstream]:
    """The error that comes of these replies, and what came before it."""

    async def talk() -> tuple[ModelError, list[Chunk], ScriptedUpstream]:
        async with ScriptedUpstream() as upstream:
            upstream.script(replies)
            client = model(upstream, naps, **options)
            chunks: list[Chunk] = []
            try:
                async for chunk in client.stream(REQUEST):
                    chunks.append(chunk)
            except ModelError as error:
                return error, chunks, upstream
            finally:
                await client.close()
            raise AssertionError(f"no error after {chunks}")

    return asyncio.run(talk())


def events(*items: Any, end: str = "\n\n") -> Raw:
    lines = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items]
    return Raw("".join(f"data: {line}{end}" for line in lines).encode())


def delta(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta))


def calls_of(chunks: list[Chunk]) -> list[tuple[str | None, str | None, str]]:
    """(id, name, arguments) of each call, put together as the engine does."""
    calls: list[tuple[str | None, str | None, str]] = []
    for chunk in chunks:
        if isinstance(chunk, ToolCallDelta):
            if chunk.index == len(calls):
                calls.append((chunk.id, chunk.name, chunk.arguments))
            else:
                call_id, name, arguments = calls[chunk.index]
                assert chunk.id is None
                assert chunk.name is None
                calls[chunk.index] = (call_id, name, arguments + chunk.arguments)
    return calls


# ---- a good answer


def test_text_arrives_in_pieces_and_ends_with_usage() -> None:
    chunks, _ = ask(Text("hello big world", usage=Tokens(7, 3)))
    assert chunks == [
        TextDelta("hello "),
        TextDelta("big "),
        TextDelta("world"),
        Finish(reason="stop", usage=Usage(prompt_tokens=7, completion_tokens=3)),
    ]


def test_missing_usage_is_none() -> None:
    chunks, _ = ask(Text("hello", usage=None))
    assert chunks[-1] == Finish(reason="stop", usage=None)


def test_a_text_survives_any_cutting_of_its_bytes() -> None:
    for split in (1, 2, 3, 7):
        chunks, _ = ask(Text("안녕하세요, 세계 🌍", split=split))
        assert text_of(chunks) == "안녕하세요, 세계 🌍"


def test_a_plain_answer_to_a_streamed_request_is_accepted() -> None:
    chunks, _ = ask(Text("hello world", streamed=False))
    assert chunks == [
        TextDelta("hello world"),
        Finish(reason="stop", usage=Usage(prompt_tokens=10, completion_tokens=5)),
    ]


def test_a_pretty_printed_plain_answer_with_a_call_is_accepted() -> None:
    message = {"content": None, "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": '{"a": 1}'}}]}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}, indent=2).encode()
    chunks, _ = ask(Raw([body[:30], body[30:]], content_type="application/json"))
    assert calls_of(chunks) == [("c1", "f", '{"a": 1}')]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("eos_token", "stop"),
    ],
)
def test_finish_reasons_are_mapped(said: str, reason: str) -> None:
    chunks, _ = ask(Text("x", finish_reason=said))
    assert isinstance(chunks[-1], Finish)
    assert chunks[-1].reason == reason


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Raw(b'data:{"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'), id="no space"),
        pytest.param(events(delta("stop", content="hi"), "[DONE]", end="\r\n\r\n"), id="CRLF"),
        pytest.param(
            Raw(b': ping\n\nevent: x\nid: 1\nretry: 5\ndata: {"choices":[{"delta":{"content":"hi"}}]}\n\ndata: [DONE]'),
            id="comments, other fields, no last line end",
        ),
        pytest.param(
            Raw(b'data: {"choices":\ndata: [{"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'), id="two data lines"
        ),
        pytest.param(
            events({"choices": []}, delta(role="assistant", content=None), delta(content="hi"), delta("stop")),
            id="empty choices, null content, no [DONE]",
        ),
        pytest.param(
            events(delta(content=[{"type": "thinking"}, {"type": "text", "text": "hi"}]), "[DONE]"), id="parts"
        ),
        pytest.param(
            Raw([events(delta("stop", content="hi")).body, b"<rubbish>\n"]),  # type: ignore[list-item]
            id="rubbish after the end",
        ),
    ],
)
def test_dialects_of_the_stream_are_understood(reply: Raw) -> None:
    chunks, _ = ask(reply)
    assert chunks == [TextDelta("hi"), Finish(reason="stop", usage=None)]


@pytest.mark.parametrize("where", ["delta", "message"])
def test_the_words_in_which_a_model_declines_are_told_apart(where: str) -> None:
    said = {"choices": [{where: {"refusal": "No."}, "finish_reason": "stop"}]}
    chunks, _ = ask(events(said))
    assert chunks == [RefusalDelta("No."), Finish(reason="stop", usage=None)]


def test_an_answer_that_said_its_finish_reason_is_not_lost_to_a_dropped_connection() -> None:
    body = events(delta("stop", content="hi")).body
    chunks, _ = ask(Raw(body, whole=False))
    assert chunks == [TextDelta("hi"), Finish(reason="stop", usage=None)]


# ---- tool calls


def test_a_call_arrives_in_fragments() -> None:
    chunks, _ = ask(Call("code_interpreter", {"code": "print(1)"}, id="call_1", fragments=4))
    assert calls_of(chunks) == [("call_1", "code_interpreter", '{"code": "print(1)"}')]
    assert len([chunk for chunk in chunks if isinstance(chunk, ToolCallDelta)]) > 3
    assert isinstance(chunks[-1], Finish)
    assert chunks[-1].reason == "tool_calls"


def test_two_calls_of_one_answer_stay_apart() -> None:
    chunks, _ = ask(Calls([Call("a", {"x": 1}), Call("b", {"y": 2})], text="one moment"))
    assert text_of(chunks) == "one moment"
    assert [call[1:] for call in calls_of(chunks)] == [("a", '{"x": 1}'), ("b", '{"y": 2}')]


def call(name: str | None = None, arguments: Any = None, **rest: Any) -> dict[str, Any]:
    return {**rest, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        pytest.param([[call("f", "{}", id="c")]], [("f", "{}")], id="whole, without index"),
        pytest.param([[call("f", "{}", id="c"), call("g", "[]", id="d")]], [("f", "{}"), ("g", "[]")], id="two in one"),
        pytest.param([[call("f", "{")], [call(None, "}")], [call("g", "1")]], [("f", "{}"), ("g", "1")], id="bare"),
        pytest.param(
            [[call("f", "{}", id="c", index=0)], [call("g", "1", id="d", index=0)]],
            [("f", "{}"), ("g", "1")],
            id="all numbered 0",
        ),
        pytest.param(
            [[call("f", "{", id="c", index=0)], [call("f", "}", id="c", index=0)]], [("f", "{}")], id="name repeated"
        ),
        pytest.param([[call("f", {"a": 1}, index=0)]], [("f", '{"a":1}')], id="arguments as an object"),
        pytest.param([[call("f", None, index=1)], [call(None, "{}", index=1)]], [("f", "{}")], id="numbered from 1"),
        pytest.param([[call("f", "{", id="c")], [call("f", "}", id="c")]], [("f", "{}")], id="by id"),
    ],
)
def test_dialects_of_tool_calls_are_understood(deltas: list[Any], expected: list[tuple[str, str]]) -> None:
    chunks, _ = ask(events(*(delta(tool_calls=calls) for calls in deltas), delta("stop"), "[DONE]"))
    assert [(name, arguments) for _, name, arguments in calls_of(chunks)] == expected
    assert chunks[-1] == Finish(reason="tool_calls")


def test_a_missing_call_id_is_made() -> None:
    chunks, _ = ask(events(delta(tool_calls=[call("f", "{}")]), delta("tool_calls")))
    made = calls_of(chunks)[0][0]
    assert made is not None
    assert made.startswith("call_")
    assert len(made) == 29


def test_the_old_function_call_is_a_tool_call() -> None:
    old = [delta(function_call={"name": "f", "arguments": "{"}), delta(function_call={"arguments": "}"})]
    chunks, _ = ask(events(*old, delta("function_call")))
    assert [call[1:] for call in calls_of(chunks)] == [("f", "{}")]


# ---- what is sent


def test_the_request_is_sent_as_the_wire_has_it() -> None:
    request = ChatRequest(
        model="m",
        messages=(
            ChatMessage(role="system", content="be brief"),
            ChatMessage(role="user", content=[{"type": "text", "text": "hi"}]),
            ChatMessage(role="assistant", tool_calls=(ToolCall(id="c", name="f", arguments="{"),)),
            ChatMessage(role="tool", content="1", tool_call_id="c"),
        ),
        tools=(ToolDefinition(name="f", parameters={"type": "object"}),),
        tool_choice="auto",
        temperature=0.0,
        max_completion_tokens=5,
        response_format={"type": "json_object"},
    )
    _, upstream = ask(Text("x"), request=request)
    assert upstream.requests == [
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}],
                },
                {"role": "tool", "content": "1", "tool_call_id": "c"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "tool_choice": "auto",
            "temperature": 0.0,
            "max_tokens": 5,
            "response_format": {"type": "json_object"},
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]
    assert upstream.received[0].headers["authorization"] == f"Bearer {KEY}"


def test_without_a_key_no_authorization_is_sent() -> None:
    _, upstream = ask(Text("x"), api_key=None)
    assert "authorization" not in upstream.received[0].headers


@pytest.mark.parametrize(
    ("suffix", "path"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/openai/deployments/gpt?api-version=1", "/v1/openai/deployments/gpt/chat/completions?api-version=1"),
    ],
)
def test_the_address_is_taken_as_people_write_it(suffix: str, path: str) -> None:
    async def talk() -> str:
        async with ScriptedUpstream() as upstream:
            upstream.script([Text("x")])
            client = model(upstream.base_url + suffix)
            await collect(client)
            await client.close()
            return upstream.received[0].path

    assert asyncio.run(talk()) == path


@pytest.mark.parametrize("address", ["localhost:11434/v1", "", "ftp://x/v1", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused_at_start(address: str) -> None:
    with pytest.raises(StartupError, match="LOCUM_MODEL_BASE_URL must be an http"):
        OpenAICompatible(base_url=address)


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    with pytest.raises(StartupError) as caught:
        OpenAICompatible(base_url="http://localhost/v1", api_key="secret\r\nX: y")
    assert "secret" not in caught.value.message


# ---- retries


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_passing_trouble_is_met_with_another_attempt(status: int) -> None:
    naps = Naps()
    chunks, upstream = ask(Status(status), Status(status), Text("hello"), naps=naps)
    assert text_of(chunks) == "hello"
    assert len(upstream.requests) == 3
    assert naps.seconds == [0.5, 1.0]


def test_waiting_times_are_jittered() -> None:
    naps = Naps()
    ask(Status(500), Text("hello"), naps=naps, random=lambda: 0.0)
    assert naps.seconds == [0.25]


@pytest.mark.parametrize("reply", [Cut(), Raw(b"", whole=False), Raw(b"")])
def test_a_connection_lost_before_the_first_byte_is_met_with_another_attempt(reply: Any) -> None:
    chunks, upstream = ask(reply, Text("hello"))
    assert text_of(chunks) == "hello"
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("7", 7.0), ("0", 0.0), ("3600", 30.0), ("Thu, 01 Jan 1970 00:16:45 GMT", 5.0), ("-3", 0.0), ("soon", 0.5)],
)
def test_retry_after_is_honoured_within_reason(retry_after: str, seconds: float) -> None:
    naps = Naps()
    ask(Status(429, {"Retry-After": retry_after}), Text("hello"), naps=naps, now=lambda: 1000.0)
    assert naps.seconds == [seconds]


def test_attempts_are_bounded() -> None:
    error, _, upstream = fail(Status(429), Status(429), Status(429))
    assert error.kind == "rate_limited"
    assert "3 attempts" in error.message
    assert len(upstream.requests) == 3


def test_an_exhausted_quota_is_not_asked_again() -> None:
    body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    error, _, upstream = fail(Status(429, body=body))
    assert error.kind == "rate_limited"
    assert "You exceeded your quota" in error.message
    assert len(upstream.requests) == 1


# ---- errors


def refusal(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "code": code, "type": "invalid_request_error"}}


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Status(401, body=refusal("bad key")), "misconfigured", ["401", "bad key", "LOCUM_MODEL_API_KEY"]),
        (Status(403, body="no"), "misconfigured", ["no", "LOCUM_MODEL_API_KEY"]),
        (Status(404, body=refusal("no such model")), "misconfigured", ["'m'", "LOCUM_MODEL_BASE_URL and LOCUM_MODEL"]),
        (Status(400, body=refusal("no", "model_not_found")), "misconfigured", ["LOCUM_MODEL"]),
        (Status(302, {"Location": "http://x/y"}), "misconfigured", ["http://x/y", "LOCUM_MODEL_BASE_URL"]),
        (Status(400, body=refusal("too much", "context_length_exceeded")), "context_overflow", ["too much"]),
        (Status(400, body=refusal("the prompt exceeds the context size")), "context_overflow", ["context size"]),
        (Status(400, body=refusal("not nice", "content_filter")), "refused", ["not nice"]),
        (Status(422, body={"detail": [{"msg": "temperature"}]}), "refused", ["temperature"]),
        (Status(400, body=[refusal("in a list")]), "refused", ["in a list"]),
        (Status(400, body="<html>\n<b>bad</b>\x1b[1m"), "refused", ["<html> <b>bad</b> [1m"]),
        (Raw(b"<html><body>Welcome</body></html>\n"), "unavailable", ["<html>", "LOCUM_MODEL_BASE_URL"]),
        (Raw(b"just words"), "unavailable", ["just words"]),
        (Raw(b"data: {nonsense\n\n"), "unavailable", ["{nonsense"]),
        (Raw(b'data: "\xff"\n\n'), "unavailable", ["no chat-completions answer"]),
        (Raw(b'{"choices": 7}'), "unavailable", ["no chat-completions answer"]),
        (events(refusal("exploded")), "unavailable", ["reported an error: exploded"]),
        (events({"error": "exploded"}), "unavailable", ["exploded"]),
        (events({"object": "error", "message": "exploded"}), "unavailable", ["exploded"]),
        (events(refusal("slow down", "rate_limit_exceeded")), "rate_limited", ["slow down"]),
        (events(refusal("maximum context length is 10")), "context_overflow", ["maximum context length"]),
        (Raw(b'{"error": {"message": "exploded"}}'), "unavailable", ["exploded"]),
        (events(delta(role="assistant")), "unavailable", ["ended before the answer did"]),
    ],
)
def test_failures_before_the_answer_are_named(reply: Any, kind: str, words: list[str]) -> None:
    error, chunks, upstream = fail(reply)
    assert error.kind == kind, error.message
    for word in words:
        assert word in error.message
    assert upstream.base_url in error.message
    assert chunks == []
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Cut(after_text="hel"), "broke"),
        (events(delta(content="hel")), "ended before the answer did"),
        (Raw([events(delta(content="hel")).body, b"<rubbish>\n"]), "<rubbish>"),  # type: ignore[list-item]
        (events(delta(content="hel"), refusal("exploded")), "exploded"),
        (Raw([events(delta(content="hel")).body, b'{"error": "exploded"}\n']), "exploded"),  # type: ignore[list-item]
    ],
)
def test_an_answer_that_began_and_did_not_end_is_cut_and_not_asked_again(reply: Any, words: str) -> None:
    error, chunks, upstream = fail(reply)
    assert error.kind == "cut", error.message
    assert words in error.message
    assert text_of(chunks) == "hel"
    assert len(upstream.requests) == 1


def test_a_long_error_body_is_shortened() -> None:
    error, _, _ = fail(Status(400, body="x" * 100_000))
    assert len(error.message) < 500


def test_the_key_is_in_no_message() -> None:
    for reply in (Status(401, body=f"wrong key {KEY}"), events(refusal(f"{KEY}!")), Raw(f"oh {KEY}".encode())):
        error, _, _ = fail(reply)
        assert KEY not in error.message


def test_a_password_in_the_address_is_in_no_message() -> None:
    async def talk() -> str:
        async with ScriptedUpstream() as upstream:
            upstream.script([Status(400, body="no")])
            client = model(upstream.base_url.replace("://", "://me:hunter2@"), api_key=None)
            with pytest.raises(ModelError) as caught:
                await collect(client)
            await client.close()
            assert upstream.received[0].headers["authorization"].startswith("Basic ")
            return caught.value.message

    assert "hunter2" not in asyncio.run(talk())


def test_an_address_where_nobody_listens_is_named() -> None:
    async def talk() -> ModelError:
        async with ScriptedUpstream() as upstream:
            pass
        naps = Naps()
        client = model(upstream.base_url, naps)
        with pytest.raises(ModelError) as caught:
            await collect(client)
        await client.close()
        assert len(naps.seconds) == 2
        return caught.value

    error = asyncio.run(talk())
    assert error.kind == "unavailable"
    assert "no connection" in error.message
    assert "LOCUM_MODEL_BASE_URL" in error.message


def test_an_upstream_that_says_nothing_is_given_up_after_the_idle_time_and_not_asked_again() -> None:
    error, _, upstream = fail(Hang(), idle_seconds=0.05)
    assert error.kind == "unavailable"
    assert "no data for 0.05 seconds" in error.message
    assert len(upstream.requests) == 1


def test_an_upstream_that_falls_silent_is_cut() -> None:
    error, chunks, _ = fail(Hang(after_text="hel"), idle_seconds=0.05)
    assert error.kind == "cut"
    assert text_of(chunks) == "hel"


# ---- cancel and connections


async def first_chunk(stream: AsyncGenerator[Chunk, None]) -> None:
    assert await anext(stream) == TextDelta("hel")


async def closed(client: OpenAICompatible) -> None:
    async with aclosing(client.stream(REQUEST)) as stream:
        await first_chunk(stream)


async def cancelled(client: OpenAICompatible) -> None:
    began = asyncio.Event()

    async def read() -> None:
        async with aclosing(client.stream(REQUEST)) as stream:
            await first_chunk(stream)
            began.set()
            await anext(stream)

    task = asyncio.create_task(read())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("leave", [closed, cancelled])
def test_leaving_closes_the_connection_at_once(leave: Callable[[OpenAICompatible], Awaitable[None]]) -> None:
    async def talk() -> None:
        with ScriptedUpstream() as upstream:
            upstream.script([Hang(after_text="hel")])
            client = model(upstream)
            await leave(client)
            await asyncio.to_thread(upstream.wait, lambda: upstream.disconnects == 1)
            await client.close()

    asyncio.run(talk())


def test_cancelling_before_the_first_byte_closes_the_connection() -> None:
    async def talk() -> None:
        with ScriptedUpstream() as upstream:
            upstream.script([Hang()])
            client = model(upstream)
            task = asyncio.create_task(collect(client))
            await asyncio.to_thread(upstream.wait, lambda: len(upstream.requests) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(upstream.wait, lambda: upstream.disconnects == 1)
            await client.close()

    asyncio.run(talk())


def test_a_held_answer_goes_on_when_released() -> None:
    async def talk() -> None:
        with ScriptedUpstream() as upstream:
            held = Held(Text("lo"), after_text="hel")
            upstream.script([held])
            client = model(upstream)
            async with aclosing(client.stream(REQUEST)) as stream:
                await first_chunk(stream)
                held.release()
                assert await anext(stream) == TextDelta("lo")
            await client.close()

    asyncio.run(talk())


def test_connections_are_shared_and_used_again() -> None:
    async def talk() -> None:
        async with ScriptedUpstream() as upstream:
            upstream.answer = lambda body: Text(body["messages"][0]["content"])
            connections = Connections()
            first, second = (model(upstream, connections=connections) for _ in range(2))
            for client in (first, second, first):
                assert text_of(await collect(client)) == "hi"
            await first.close()  # lent connections are not closed
            assert text_of(await collect(second)) == "hi"
            await connections.close()
            assert upstream.connections == 1

    asyncio.run(talk())


def test_many_answers_at_once_do_not_mix() -> None:
    async def talk() -> None:
        with ScriptedUpstream() as upstream:
            upstream.answer = lambda body: Text(f"{body['messages'][0]['content']} " * 20)
            client = model(upstream)

            async def one(number: int) -> str:
                content = f"n{number}"
                return text_of(
                    await collect(client, ChatRequest(model="m", messages=(ChatMessage(role="user", content=content),)))
                )

            texts = await asyncio.gather(*(one(number) for number in range(100)))
            assert texts == [f"n{number} " * 20 for number in range(100)]
            await client.close()

    asyncio.run(talk())


# ---- the list of models


def listing(models: Any) -> list[str]:
    async def talk() -> list[str]:
        async with ScriptedUpstream() as upstream:
            upstream.models = models
            client = model(upstream)
            try:
                return await client.list_models()
            finally:
                await client.close()

    return asyncio.run(talk())


def test_models_are_listed() -> None:
    assert listing(["a", "b"]) == ["a", "b"]


def test_a_bare_list_of_models_is_understood() -> None:
    assert listing(Status(200, body=[{"id": "a"}, {"nonsense": 1}])) == ["a"]


@pytest.mark.parametrize("reply", [Status(404), Status(200, body="<html>"), Status(200, body={"data": 7}), Cut()])
def test_a_list_that_cannot_be_had_is_an_error(reply: Any) -> None:
    with pytest.raises(ModelError):
        listing(reply)
