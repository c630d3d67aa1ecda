"""Streams of events, as one client sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from locum.api.sse import PING, Sse
from locum.api.v2.objects import render_event
from locum.domain.events import Done, Event, MessageDelta, TextDelta, TextPartDelta
from locum.streams.hub import Streams

DONE = b"event: done\ndata: [DONE]\n\n"
MOST = 100


def say(text: str) -> Event:
    return MessageDelta("msg_1", (TextPartDelta(index=0, text=TextDelta(value=text)),))


class Client:
    """The other end of an ASGI connection."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.news = asyncio.Event()
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        self.news.set()

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.sent[1:]]

    async def until(self, count: int) -> None:
        while len(self.sent) < count:
            self.news.clear()
            await self.news.wait()


def play(scene: Callable[[Streams, Client, asyncio.Task[None]], Awaitable[None]], **options: Any) -> Client:
    """Run a scene against a stream of run_1; nobody reads it any more at the end."""

    async def run() -> Client:
        streams, client = Streams(max_events=MOST), Client()
        options.setdefault("watch_key", lambda revoked: nullcontext())
        response = Sse(streams.open("run_1"), options.pop("render", render_event), **options)
        task = asyncio.create_task(response({"type": "http"}, client.receive, client.send))
        async with asyncio.timeout(10):
            await scene(streams, client, task)
            await task
        assert not streams.is_read("run_1")
        assert len(asyncio.all_tasks()) == 1
        return client

    return asyncio.run(run())


def test_what_is_ready_goes_out_at_once() -> None:
    async def scene(streams: Streams, client: Client, task: asyncio.Task[None]) -> None:
        streams.publish("run_1", say("a"), say("b"))
        await client.until(2)
        streams.publish("run_1", say("c"), Done())

    client = play(scene)
    assert client.sent[0]["status"] == 200
    headers = dict(client.sent[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"x-accel-buffering"] == b"no"
    assert [body.count(b"event: ") for body in client.bodies] == [2, 2, 0]
    assert client.bodies[0].startswith(b'event: thread.message.delta\ndata: {"id":"msg_1"')
    ids = [line.removeprefix(b"id: ") for line in b"".join(client.bodies).splitlines() if line.startswith(b"id: ")]
    stamp = ids[0].split(b".")[0]
    assert ids == [b"%b.%d" % (stamp, number) for number in (1, 2, 3)]
    assert b"".join(client.bodies).endswith(DONE)
    assert [message["more_body"] for message in client.sent[1:]] == [True, True, False]


def test_a_comment_keeps_an_idle_stream_alive() -> None:
    async def scene(streams: Streams, client: Client, task: asyncio.Task[None]) -> None:
        await client.until(3)
        streams.publish("run_1", Done())

    client = play(scene, ping_seconds=0.01)
    assert client.bodies[:2] == [PING, PING]
    assert b"".join(client.bodies).endswith(DONE)


def test_a_client_that_goes_away_only_closes_its_reader() -> None:
    async def scene(streams: Streams, client: Client, task: asyncio.Task[None]) -> None:
        await client.until(1)
        client.gone.set()

    assert play(scene).bodies == []


def test_a_client_that_was_never_there_closes_its_reader_too() -> None:
    async def scene(streams: Streams, client: Client, task: asyncio.Task[None]) -> None:
        client.gone.set()

    play(scene)


def test_a_cancelled_response_closes_its_reader() -> None:
    async def scene(streams: Streams, client: Client, task: asyncio.Task[None]) -> None:
        await client.until(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not streams.is_read("run_1")
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        play(scene)


def test_the_end_of_the_server_ends_the_stream() -> None:
    async def scene(streams: Streams, client: Client, task: asyncio.Task[None]) -> None:
        await client.until(1)
        streams.end_all()

    body = b"".join(play(scene).bodies)
    assert b"the server is stopping" in body
    assert body.endswith(DONE)


def test_a_reader_that_fell_behind_is_told_so() -> None:
    async def scene(streams: Streams, client: Client, task: asyncio.Task[None]) -> None:
        streams.publish("run_1", *(say("x") for _ in range(MOST + 1)))

    body = b"".join(play(scene).bodies)
    assert body.count(b"event: error\n") == 1
    assert b"read too slowly" in body
    assert body.endswith(DONE)


def test_a_stream_that_breaks_says_so_and_ends() -> None:
    def render(event: Event) -> tuple[str, bytes]:
        if isinstance(event, MessageDelta):
            raise RuntimeError("secret")
        return render_event(event)

    async def scene(streams: Streams, client: Client, task: asyncio.Task[None]) -> None:
        streams.publish("run_1", say("x"))

    body = b"".join(play(scene, render=render).bodies)
    assert b"event: error\n" in body
    assert b"secret" not in body
    assert body.endswith(DONE)


def test_stream_ends_with_an_error_event_once_its_key_is_revoked() -> None:
    revocations: list[Callable[[], None]] = []

    @contextmanager
    def watch_key(revoked: Callable[[], None]) -> Iterator[None]:
        revocations.append(revoked)
        yield
        revocations.clear()

    async def scene(streams: Streams, client: Client, task: asyncio.Task[None]) -> None:
        streams.publish("run_1", say("a"))
        await client.until(2)
        revocations[0]()
        streams.publish("run_1", say("of no concern to a revoked key"))

    client = play(scene, watch_key=watch_key)
    assert b"of no concern" not in b"".join(client.bodies)
    assert b'"code":"invalid_api_key"' in client.bodies[1]
    assert b"".join(client.bodies).endswith(DONE)
    assert client.sent[-1]["more_body"] is False
    assert not revocations


def test_stream_of_a_key_revoked_before_its_first_event_tells_nothing() -> None:
    @contextmanager
    def watch_key(revoked: Callable[[], None]) -> Iterator[None]:
        revoked()
        yield

    async def scene(streams: Streams, client: Client, task: asyncio.Task[None]) -> None:
        streams.publish("run_1", say("a"))

    client = play(scene, watch_key=watch_key)
    assert [body.count(b"event: error") for body in client.bodies] == [1, 0]
    assert b"msg_1" not in b"".join(client.bodies)
