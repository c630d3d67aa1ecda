"""File search of a whole server, beside which a scripted model and a scripted reranker run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import sqlalchemy as sa
from openai.types import VectorStoreSearchResponse

from locum.store.postgres import Postgres
from locum.store.tables import files as file_table
from tests.databases import PostgresServer
from tests.models.upstream import Call, Cut, Hang, Reply, ScriptedUpstream, Status, Text
from tests.search.rerank_server import LIKED, OTHER, RerankServer
from tests.serving import ServerProcess, serving

TEXTS = {
    "sea.txt": b"The sea is blue.",
    "soup.txt": b"The blue soup is of things from the sea.",
    "leave.txt": b"Employees have 25 days of annual leave.",
}
SEA = "The sea is blue"


class Client:
    """A store of the server with the texts in it; the model and the reranker are as they begin."""

    def __init__(self, server: ServerProcess, upstream: ScriptedUpstream, reranker: RerankServer) -> None:
        self.upstream, self.reranker = upstream, reranker
        self.sdk = server.openai(max_retries=0)
        upstream.answer, reranker.trouble, reranker.likes = None, None, "soup"
        upstream.requests.clear()
        reranker.asked.clear()
        stores = self.sdk.vector_stores
        self.store = stores.create().id
        for name, text in TEXTS.items():
            file = stores.files.upload_and_poll(vector_store_id=self.store, file=(name, text), poll_interval_ms=50)
            assert file.status == "completed", file.last_error

    def ask(self, query: str | list[str], **options: Any) -> openai.pagination.SyncPage[VectorStoreSearchResponse]:
        return self.sdk.vector_stores.search(self.store, query=query, **options)

    def names(self, query: str, **options: Any) -> list[str]:
        return [each.filename for each in self.ask(query, **options)]

    def page(self, query: str | list[str], *, store: str = "", **body: Any) -> dict[str, Any]:
        """As it is on the wire."""
        path = f"/vector_stores/{store or self.store}/search"
        return self.sdk.post(path, body={"query": query, **body}, cast_to=dict[str, Any])

    def run(self, *replies: Reply, **tool: Any) -> tuple[list[tuple[str, float]], Any]:
        """(name, score) of what the run's search found, and the text of its answer."""
        self.upstream.script(list(replies))
        assistant = self.sdk.beta.assistants.create(
            model="large",
            tools=[{"type": "file_search", "file_search": tool}],  # type: ignore[typeddict-item]
            tool_resources={"file_search": {"vector_store_ids": [self.store]}},
        )
        threads = self.sdk.beta.threads
        run = threads.create_and_run_poll(
            assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": SEA}]}, poll_interval_ms=50
        )
        assert run.status == "completed", run.last_error
        steps = threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc").data
        (call,) = steps[0].step_details.tool_calls  # type: ignore[union-attr]
        found = [(each.file_name, round(each.score, 3)) for each in call.file_search.results or []]  # type: ignore[union-attr]
        (part,) = threads.messages.list(run.thread_id, limit=1).data[0].content
        return found, part.text  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> str:
    return postgres.create()


@pytest.fixture(scope="module")
def served(
    database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServerProcess, ScriptedUpstream, RerankServer]]:
    with ScriptedUpstream() as upstream, RerankServer() as reranker:
        upstream.models = ["large", "small"]
        env = {
            "LOCUM_DATABASE_URL": database,
            "LOCUM_SANDBOX": "off",
            "LOCUM_MODEL_BASE_URL": upstream.base_url,
            "LOCUM_SEARCH_REWRITE_MODEL": "small",
            "LOCUM_RERANK_BASE_URL": reranker.base_url,
            "LOCUM_RERANK_MODEL": "judge",
            "LOCUM_RERANK_API_KEY": "secret",
        }
        with serving(tmp_path_factory.mktemp("served") / "data", **env) as server:
            yield server, upstream, reranker


@pytest.fixture
def client(served: tuple[ServerProcess, ScriptedUpstream, RerankServer]) -> Iterator[Client]:
    client = Client(*served)
    with client.sdk:
        yield client


# ---- the reranker


def test_a_search_follows_the_reranker_in_order_and_scores(client: Client) -> None:
    found = [(each.filename, each.score) for each in client.ask(SEA)]
    assert found == [("soup.txt", LIKED), ("sea.txt", OTHER)]
    (asked,) = client.reranker.asked
    assert (asked["model"], asked["query"], asked["top_n"]) == ("judge", SEA, 2)
    assert set(asked["documents"]) == {TEXTS["sea.txt"].decode(), TEXTS["soup.txt"].decode()}
    assert client.reranker.received[-1].headers["authorization"] == "Bearer secret"
    assert client.names(SEA, ranking_options={"score_threshold": 0.5}) == ["soup.txt"]
    assert client.names(SEA, max_num_results=1) == ["soup.txt"]


def test_a_search_may_do_without_the_reranker(client: Client) -> None:
    assert client.names(SEA, ranking_options={"ranker": "none"}) == ["sea.txt", "soup.txt"]
    assert client.reranker.asked == []


def test_a_run_follows_the_reranker_and_cites_what_it_put_first(client: Client) -> None:
    call = Call("file_search", {"queries": [SEA]})
    found, text = client.run(call, Text("It is soup 【0:0†source】."))
    assert found == [("soup.txt", LIKED), ("sea.txt", OTHER)]
    (annotation,) = text.annotations
    assert annotation.file_citation.quote == TEXTS["soup.txt"].decode()
    found, _ = client.run(call, Text("Soup."), ranking_options={"score_threshold": 0.5})
    assert found == [("soup.txt", LIKED)]


@pytest.mark.parametrize("trouble", [Status(503), Cut(), Hang()], ids=["fails", "dies", "hangs"])
def test_a_reranker_that_does_not_answer_leaves_the_order_that_was_found(client: Client, trouble: Reply) -> None:
    without = list(client.ask(SEA, ranking_options={"ranker": "none"}))
    client.reranker.trouble = trouble
    assert list(client.ask(SEA)) == without
    assert len(client.reranker.asked) == 1


# ---- other words for a query


def test_a_search_asks_in_the_words_of_the_model_where_it_is_told_to(client: Client) -> None:
    question = "How long may I stay away each year?"
    assert client.names(question, ranking_options={"score_threshold": 0.3}) == []
    assert client.upstream.requests == []
    client.reranker.likes = "leave"
    client.upstream.answer = lambda body: Text("- days of annual leave")
    page = client.page(question, rewrite_query=True)
    assert page["search_query"] == ["days of annual leave"]
    assert page["data"][0]["filename"] == "leave.txt"
    assert client.reranker.asked[-1]["query"] == "days of annual leave"
    (request,) = client.upstream.requests
    assert request["model"] == "small"
    assert question in request["messages"][1]["content"]


def test_queries_of_a_list_are_rewritten_together(client: Client) -> None:
    client.upstream.answer = lambda body: Text("1. blue sea\n2. annual leave")
    page = client.page(["What about the sea?", "And my holidays?"], rewrite_query=True)
    assert page["search_query"] == ["blue sea", "annual leave"]
    assert {each["filename"] for each in page["data"]} == set(TEXTS)
    assert len(client.upstream.requests) == 1


@pytest.mark.parametrize("answer", [Status(401), Text("The sea is blue because of the light. " * 20), Text("")])
def test_where_the_model_is_of_no_use_the_search_is_as_it_was_asked(client: Client, answer: Reply) -> None:
    client.upstream.answer = lambda body: answer
    page = client.page(SEA, rewrite_query=True)
    assert page["search_query"] == [SEA]
    assert page == client.page(SEA)


def test_no_model_is_asked_about_a_store_that_is_not_there(client: Client) -> None:
    with pytest.raises(openai.NotFoundError):
        client.page(SEA, store="vs_none", rewrite_query=True)
    assert client.upstream.requests == []


# ---- files whose time has come


def test_a_run_does_not_find_a_file_whose_time_has_come_and_cites_the_others(client: Client, database: str) -> None:
    (soup,) = (each.file_id for each in client.ask("soup", max_num_results=1))

    async def expire() -> None:
        db = await Postgres.open(database)
        update = sa.update(file_table).where(file_table.c.id == soup).values(expires_at=1)
        await db.write(lambda conn: conn.execute(update))
        await db.close()

    asyncio.run(expire())
    call = Call("file_search", {"queries": [SEA]})
    found, text = client.run(call, Text("Blue 【0:0†source】, or soup 【0:1†source】."))
    assert found == [("sea.txt", OTHER)]
    assert text.value == "Blue 【0:0†source】, or soup ."
    assert [each.file_citation.quote for each in text.annotations] == [TEXTS["sea.txt"].decode()]
    assert client.names(SEA) == ["sea.txt"]
