"""What only PostgreSQL can do: several servers on one database, and a database that goes away."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import openai
import pytest

from tests.databases import PostgresServer, postgres_server
from tests.engine.test_runs import texts, wait_for
from tests.models.upstream import Hang, Held, ScriptedUpstream, Text
from tests.serving import ServerProcess


@pytest.fixture
def nodes(
    upstream: ScriptedUpstream, postgres: PostgresServer, tmp_path: Path
) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two servers on one database."""
    env = {
        "LOCUM_MODEL_BASE_URL": upstream.base_url,
        "LOCUM_DATABASE_URL": postgres.create(),
        "LOCUM_SANDBOX": "off",
        "LOCUM_RUN_EXPIRY_SECONDS": "60",
    }
    with ServerProcess(tmp_path / "a", env=env) as first, ServerProcess(tmp_path / "b", env=env) as second:
        yield first, second


def start(server: ServerProcess) -> tuple[openai.AzureOpenAI, str, str]:
    api = server.azure(max_retries=0)
    assistant = api.beta.assistants.create(model="m").id
    return api, assistant, api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id


def test_a_run_created_on_one_server_is_seen_by_the_other_as_soon_as_it_ends(
    nodes: tuple[ServerProcess, ServerProcess], upstream: ScriptedUpstream
) -> None:
    held = Held(Text("Done."))
    upstream.script([held])
    api, assistant, thread = start(nodes[0])
    run = api.beta.threads.runs.create(thread, assistant_id=assistant)
    with nodes[1].azure() as other:
        upstream.wait(lambda: bool(upstream.requests))
        held.release()
        began = time.monotonic()
        assert other.beta.threads.runs.poll(run.id, thread_id=thread).status == "completed"
        assert time.monotonic() - began < 5
        assert texts(other, thread)[-1] == ("assistant", "Done.")
    api.close()


def test_a_stream_is_worked_on_where_its_client_is(
    nodes: tuple[ServerProcess, ServerProcess], upstream: ScriptedUpstream
) -> None:
    upstream.answer = lambda _: Text("one two")
    for server in nodes * 3:
        api, assistant, thread = start(server)
        with api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream:
            names = [event.event for event in stream]
        assert names.count("thread.message.delta") == 2
        assert names[-1] == "thread.run.completed"
        api.close()


def test_a_cancel_on_any_server_stops_the_run_where_it_is(
    nodes: tuple[ServerProcess, ServerProcess], upstream: ScriptedUpstream
) -> None:
    upstream.script([Hang("so far")])
    api, assistant, thread = start(nodes[0])
    asked, gone = len(upstream.requests), upstream.disconnects
    run = api.beta.threads.runs.create(thread, assistant_id=assistant)
    upstream.wait(lambda: len(upstream.requests) > asked)
    with nodes[0].azure() as one, nodes[1].azure() as other:
        for each in (one, other):
            each.beta.threads.runs.retrieve(run.id, thread_id=thread)
        other.beta.threads.runs.cancel(run.id, thread_id=thread)
        upstream.wait(lambda: upstream.disconnects > gone)
        wait_for(other, run, "cancelled")
    api.close()


def test_what_either_server_has_ingested_both_find_at_once(nodes: tuple[ServerProcess, ServerProcess]) -> None:
    with nodes[0].azure() as one, nodes[1].azure() as other:
        store = one.vector_stores.create().id
        for word in ("apples", "bananas", "cherries", "dates"):
            file = one.files.create(file=(f"{word}.txt", f"About {word}.".encode()), purpose="assistants").id
            one.vector_stores.files.create_and_poll(file, vector_store_id=store)
            for api in (one, other):
                assert [found.file_id for found in api.vector_stores.search(store, query=word)] == [file]
            one.vector_stores.files.delete(file, vector_store_id=store)
            for api in (one, other):
                assert not list(api.vector_stores.search(store, query=word))


@pytest.mark.long
def test_a_run_of_a_server_that_died_is_taken_over_by_another(
    nodes: tuple[ServerProcess, ServerProcess], upstream: ScriptedUpstream
) -> None:
    upstream.script([Hang("so far")])
    api, assistant, thread = start(nodes[0])
    asked = len(upstream.requests)
    # A streamed run is worked on by the server its client is connected to.
    with api.beta.threads.runs.create(thread, assistant_id=assistant, stream=True) as stream:
        run = next(iter(stream)).data
        upstream.wait(lambda: len(upstream.requests) > asked)
        upstream.script([Text("The whole answer.")])
        nodes[0].kill()
    with nodes[1].azure() as other:
        assert wait_for(other, run, "completed").status == "completed"  # type: ignore[arg-type]
        assert texts(other, thread) == [("user", "x"), ("assistant", "The whole answer.")]
    api.close()


def post_assistant(server: ServerProcess) -> tuple[int, dict[str, str]]:
    request = urllib.request.Request(
        f"{server.base_url}/assistants",
        data=json.dumps({"model": "m"}).encode(),
        headers={"Content-Type": "application/json", "OpenAI-Beta": "assistants=v2"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, dict(response.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers)


def readiness(server: ServerProcess) -> tuple[int, str]:
    """Return status and message of /readyz."""
    try:
        with urllib.request.urlopen(f"{server.azure_endpoint}/readyz", timeout=20) as response:
            return response.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["message"]


@pytest.mark.long
def test_a_database_that_goes_away_costs_503s_and_no_restart(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    held = Held(Text("Done."))
    upstream.script([held, Text("Done.")])
    with postgres_server() as database:
        env = {
            "LOCUM_MODEL_BASE_URL": upstream.base_url,
            "LOCUM_DATABASE_URL": database.create(),
            "LOCUM_SANDBOX": "off",
        }
        with ServerProcess(tmp_path / "data", env=env) as server:
            api, assistant, thread = start(server)
            run = api.beta.threads.runs.create(thread, assistant_id=assistant)
            upstream.wait(lambda: bool(upstream.requests))
            database.stop()
            status, headers = post_assistant(server)
            assert status == 503
            assert int({name.lower(): value for name, value in headers.items()}["retry-after"]) >= 1
            deadline = time.monotonic() + 3  # several rounds of the workers, which report the outage once
            while time.monotonic() < deadline:
                assert readiness(server) == (503, "The database cannot be reached.")
            held.release()
            database.start()
            deadline = time.monotonic() + 30
            while post_assistant(server)[0] != 200:
                assert time.monotonic() < deadline
            assert wait_for(api, run, "completed", "failed").status == "completed"
            assert texts(api, thread) == [("user", "x"), ("assistant", "Done.")]
            assert readiness(server)[0] == 200
            api.close()
        assert server.output.count("signals between servers are interrupted") == 1
        assert server.output.count("a worker's duty failed and is tried again") <= 3
        assert "Traceback" not in server.output


async def drop_connections(url: str) -> int:
    """End every connection of others to that database, as a failover or an impatient proxy would; how many."""
    connection = await asyncpg.connect(url)
    try:
        ended = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return len(ended)
    finally:
        await connection.close()


def test_connections_that_break_during_a_model_call_do_not_fail_the_run(
    upstream: ScriptedUpstream, postgres: PostgresServer, tmp_path: Path
) -> None:
    url = postgres.create()
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_DATABASE_URL": url, "LOCUM_SANDBOX": "off"}
    with ServerProcess(tmp_path / "data", env=env) as server:
        api, assistant, thread = start(server)
        held = Held(Text("Done."))
        upstream.script([held, Text("Done again.")])
        before = len(upstream.requests)
        run = api.beta.threads.runs.create(thread, assistant_id=assistant)
        upstream.wait(lambda: len(upstream.requests) > before)
        assert asyncio.run(drop_connections(url)) > 0
        held.release()
        run = wait_for(api, run, "completed", "failed")
        assert run.status == "completed", run.last_error
        assert [role for role, _ in texts(api, thread)] == ["user", "assistant"]
        api.close()
