"""The client of a reranker against a server that answers, well or badly, on a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from locum.search.rerank import RerankEndpoint, RerankFailed

TEXTS = ["about pears", "about apples"]


class Server:
    """Answers with what it is given; `seen` is what it was asked."""

    def __init__(self, answer: Any = None, *, status: int = 200, hangs: bool = False) -> None:
        self._answer = answer
        self._status = status
        self._hangs = hangs
        self.seen: list[tuple[str, dict[str, str], Any]] = []

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[RerankEndpoint]:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._serve)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with aiohttp.ClientSession() as session:
                yield RerankEndpoint(
                    base_url=f"http://127.0.0.1:{port}/v1/", model="judge", session=lambda: session, **options
                )
        finally:
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        self.seen.append((request.path, dict(request.headers), await request.json()))
        if self._hangs:
            await asyncio.Event().wait()
        text = self._answer if isinstance(self._answer, str) else json.dumps(self._answer)
        return web.Response(status=self._status, text=text, content_type="application/json")


def results(*scores: tuple[int, float]) -> dict[str, Any]:
    return {"id": "x", "results": [{"index": index, "relevance_score": score} for index, score in scores]}


async def ask(server: Server, **options: Any) -> list[float]:
    async with server.running(**options) as reranker:
        return await reranker.rerank("apples?", TEXTS)


def test_scores_come_in_the_order_of_the_texts() -> None:
    server = Server(results((1, 0.9), (0, 0.1)))
    assert asyncio.run(ask(server, api_key="secret")) == [0.1, 0.9]
    path, headers, body = server.seen[0]
    assert path == "/v1/rerank"
    assert headers["Authorization"] == "Bearer secret"
    assert body == {"model": "judge", "query": "apples?", "documents": TEXTS, "top_n": 2}


def test_scores_that_are_no_probabilities_become_such() -> None:
    low, high = asyncio.run(ask(Server(results((0, -3.0), (1, 800.0)))))
    assert 0 < low < 0.1
    assert 0.99 < high <= 1


def test_of_nothing_nobody_is_asked() -> None:
    server = Server(results())

    async def ask_nothing() -> list[float]:
        async with server.running() as reranker:
            return await reranker.rerank("apples?", [])

    assert asyncio.run(ask_nothing()) == []
    assert not server.seen


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (Server({"error": "no"}, status=500), "status 500"),
        (Server("<html>"), "not of the form"),
        (Server(results((0, 0.5)) | {"more": "x" * 2_000_000}), "too long"),
        (Server({"results": [{"index": 0}]}), "not of the form"),
        (Server(results((0, 0.5))), "scored 1 of 2"),
        (Server(results((0, 0.5), (7, 0.5))), "scored 2 of 2"),
    ],
)
def test_an_answer_that_is_no_use_is_said_to_be(server: Server, why: str) -> None:
    with pytest.raises(RerankFailed, match=why):
        asyncio.run(ask(server))


def test_a_server_that_hangs_is_not_waited_for() -> None:
    with pytest.raises(RerankFailed, match=r"within 0\.05 seconds"):
        asyncio.run(ask(Server(hangs=True), seconds=0.05))


def test_a_server_that_is_away_is_said_to_be() -> None:
    async def ask_nobody() -> None:
        async with aiohttp.ClientSession() as session:
            await RerankEndpoint(base_url="http://127.0.0.1:9", model="m", session=lambda: session).rerank("q", TEXTS)

    with pytest.raises(RerankFailed, match="cannot be reached"):
        asyncio.run(ask_nobody())
