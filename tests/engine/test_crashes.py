"""kill -9 of the server, between any two lines: every run completes by itself, nothing is lost, nothing done twice.

`LOCUM_CRASH_AT=commit:n` kills the server after its n-th commit, and so for every model answer, cell, search and blob.
Each point of each scenario is tried. The number of a run's effects is known; its commits are tried until it passes all.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.beta.threads import Run

from locum.admin import client as admin
from locum.admin.protocol import SumUsage, UsageSums
from locum.store import staged_blobs
from locum.store.postgres import Postgres
from locum.store.sqlite import SQLiteReader
from tests.blobs.buckets import BUCKET, S3Server
from tests.models.upstream import Call, Calls, Reply, ScriptedUpstream, Text, Usage
from tests.serving import ServerProcess

COMPLETE_SECONDS = 60


def _results(body: dict[str, Any]) -> list[str]:
    return [message["content"] for message in body["messages"] if message["role"] == "tool"]


def _text(body: dict[str, Any]) -> Reply:
    return Text("Hello.", usage=Usage(10, 5))


def _code(body: dict[str, Any]) -> Reply:
    if not _results(body):
        code = (
            "open('/mnt/data/out.csv', 'w').write('a,b\\n1,2\\n')\n"
            "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nprint(6 * 7)"
        )
        return Call("code_interpreter", {"code": code}, text="Let me see.", usage=Usage(20, 7))
    assert "42" in _results(body)[-1]
    return Text("It is 42: [out](sandbox:/mnt/data/out.csv)", usage=Usage(30, 9))


def _fix(body: dict[str, Any]) -> Reply:
    match len(_results(body)):
        case 0:
            return Call("code_interpreter", {"code": "x = 1\n1 / 0"}, usage=Usage(20, 7))
        case 1:
            assert "ZeroDivisionError" in _results(body)[-1]
            return Call("code_interpreter", {"code": "print('fixed', 1 / 1)"}, usage=Usage(21, 8))
        case _:
            assert "fixed" in _results(body)[-1]
            return Text("Fixed.", usage=Usage(30, 9))


def _search(body: dict[str, Any]) -> Reply:
    if not _results(body):
        return Call("file_search", {"queries": ["leave"]}, usage=Usage(20, 7))
    assert "no files to search" in _results(body)[-1]
    return Text("Nothing 【0:0†source】 there.", usage=Usage(30, 9))


def _functions(body: dict[str, Any]) -> Reply:
    match len(_results(body)):
        case 0:
            weather, code = Call("weather", {"city": "Seoul"}), Call("code_interpreter", {"code": "print(6 * 7)"})
            return Calls([weather, code], usage=Usage(20, 7))
        case 2:
            assert _results(body) == ["weather says 1", "42"]
            return Call("weather", {"city": "Busan"}, usage=Usage(21, 8))
        case _:
            assert _results(body)[2] == "weather says 1"
            return Text("Sunny.", usage=Usage(30, 9))


@dataclass(frozen=True)
class Scenario:
    """A run, and what stands there when it is done."""

    answer: Callable[[dict[str, Any]], Reply]
    model_calls: int
    texts: tuple[str, ...]
    step_types: tuple[str, ...]
    files: int
    cells: int
    searches: int = 0

    @property
    def effects(self) -> dict[str, int]:
        """Return how often a run that nothing interrupts reaches each point but a commit."""
        counts = {
            "model answered": self.model_calls,
            "cell executed": self.cells,
            "files searched": self.searches,
            "blob written": self.files,
        }
        return {name: count for name, count in counts.items() if count}


SCENARIOS = {
    "text": Scenario(_text, 1, ("Hello.",), ("message_creation",), 0, 0),
    "code": Scenario(
        _code,
        2,
        ("Let me see.", "It is 42: [out](sandbox:/mnt/data/out.csv)"),
        ("message_creation", "tool_calls", "message_creation"),
        2,
        1,
    ),
    "functions": Scenario(_functions, 3, ("Sunny.",), ("tool_calls", "tool_calls", "message_creation"), 0, 1),
    "search": Scenario(_search, 2, ("Nothing  there.",), ("tool_calls", "message_creation"), 0, 0, 1),
    "error then fix": Scenario(_fix, 3, ("Fixed.",), ("tool_calls", "tool_calls", "message_creation"), 0, 2),
}


@pytest.fixture
def crashing(upstream: ScriptedUpstream, own_database: dict[str, str], tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that is killed and started again, with an assistant in it."""
    server = ServerProcess(tmp_path / "data", env={"LOCUM_MODEL_BASE_URL": upstream.base_url, **own_database})
    server.start()
    yield server
    if not server.is_running:
        server.start()
    server.stop()


def make_assistant(server: ServerProcess) -> str:
    with server.openai() as api:
        weather = {"type": "function", "function": {"name": "weather"}}
        tools: Any = [{"type": "code_interpreter"}, {"type": "file_search"}, weather]
        return api.beta.assistants.create(model="m", tools=tools).id


def start_run(server: ServerProcess, assistant: str, thread: str) -> bool:
    """Ask for a run; False when the server died before it answered."""
    try:
        with server.openai(max_retries=0) as api:
            api.beta.threads.runs.create(thread, assistant_id=assistant)
    except openai.APIConnectionError:
        return False
    return True


def act(api: openai.OpenAI, run: Run) -> None:
    """Make the functions the run waits for, as its caller would who cannot know whether an earlier try arrived."""
    assert run.required_action is not None
    calls = run.required_action.submit_tool_outputs.tool_calls
    outputs: Any = [{"tool_call_id": call.id, "output": f"{call.function.name} says {len(calls)}"} for call in calls]
    with suppress(openai.APIConnectionError):
        api.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs)


def wait_until_over(server: ServerProcess, thread: str) -> None:
    """Wait until the run has ended, or the server is dead."""
    deadline = time.monotonic() + COMPLETE_SECONDS
    with server.openai(max_retries=0) as api:
        while server.is_running:
            assert time.monotonic() < deadline, server.output
            with suppress(openai.APIConnectionError):
                run = api.beta.threads.runs.list(thread).data[0]
                if run.status == "requires_action":
                    act(api, run)
                elif run.status not in ("queued", "in_progress"):
                    return


def check(server: ServerProcess, upstream: ScriptedUpstream, scenario: Scenario, thread: str, asked: int) -> None:
    """The run is complete by itself, and everything is there exactly once."""
    with server.openai() as api:
        (run,) = api.beta.threads.runs.list(thread).data
        while (run := api.beta.threads.runs.poll(run.id, thread_id=thread)).status == "requires_action":
            act(api, run)
        assert run.status == "completed", (run.last_error, server.output)
        messages = api.beta.threads.messages.list(thread, order="asc").data
        said = [
            "".join(part.text.value for part in message.content if part.type == "text")
            for message in messages
            if message.role == "assistant"
        ]
        assert tuple(said) == scenario.texts
        assert all(message.status == "completed" for message in messages)
        steps = api.beta.threads.runs.steps.list(run.id, thread_id=thread, order="asc").data
        assert tuple(step.type for step in steps) == scenario.step_types
        assert all(step.status == "completed" for step in steps)
        assert run.usage is not None
        assert run.usage.total_tokens == sum(step.usage.total_tokens for step in steps if step.usage)
        made = [file for file in api.files.list().data if file.purpose == "assistants_output"]
        linked = {part.image_file.file_id for m in messages for part in m.content if part.type == "image_file"}
        for message in messages:
            for part in message.content:
                if part.type == "text":
                    linked |= {a.file_path.file_id for a in part.text.annotations if a.type == "file_path"}
        mine = [file for file in made if file.id in linked]
        assert len(mine) == scenario.files
        for file in mine:
            assert len(api.files.content(file.id).read()) == file.bytes
    assert len(upstream.requests) - asked <= scenario.model_calls + 1
    assert metered(server, thread) == ((1, scenario.cells) if scenario.cells else (0, 0))


def metered(server: ServerProcess, thread: str) -> tuple[int, int]:
    """Sessions and cells of the thread as its owner would bill them."""
    reply = asyncio.run(admin.ask(server.data_dir, SumUsage(by="thread", resource=None, since=0)))
    assert isinstance(reply, UsageSums)
    return next(((row.sessions, row.cells) for row in reply.rows if row.thread_id == thread), (0, 0))


def blobs(server: ServerProcess) -> set[str]:
    return {path.name for path in (server.data_dir / "blobs").glob("??/*")}


def files(server: ServerProcess) -> set[str]:
    with server.openai() as api:
        return {file.id.partition("-")[2] for file in api.files.list().data}


def noted(server: ServerProcess, database: dict[str, str]) -> set[str]:
    """Return the keys that the sweep removes once their grace period is over."""
    url = database.get("LOCUM_DATABASE_URL")

    async def read() -> set[str]:
        db = await Postgres.open(url, connections=1) if url else SQLiteReader(server.data_dir / "locum.db")
        try:
            return await db.read(staged_blobs.every)
        finally:
            await db.close()

    return asyncio.run(read())


def assert_no_blob_is_lost_or_forgotten(server: ServerProcess, database: dict[str, str]) -> None:
    stored, rows = blobs(server), files(server)
    assert rows <= stored
    assert stored - rows <= noted(server, database)


def try_every_point(
    crashing: ServerProcess, upstream: ScriptedUpstream, name: str, database: dict[str, str] | None
) -> None:
    """Crash at every point of the scenario.

    database: the setting that names it, where the blobs are on disk; None where they are in S3, and not examined.
    """
    scenario = SCENARIOS[name]
    upstream.answer = scenario.answer
    assistant = make_assistant(crashing)
    for effect, count in scenario.effects.items():
        for number in range(1, count + 1):
            passed = try_point(crashing, upstream, scenario, assistant, f"{effect}:{number}", database)
            assert passed is None, f"{effect} was reached less than {number} times: {passed}"
    for number in range(1, 100):
        passed = try_point(crashing, upstream, scenario, assistant, f"commit:{number}", database)
        if passed is not None:
            assert {effect: passed.count(effect) for effect in set(passed) - {"commit"}} == scenario.effects
            assert number > 4, "a run has more commits than that"
            return
    raise AssertionError("the scenario never ends")


def try_point(
    crashing: ServerProcess,
    upstream: ScriptedUpstream,
    scenario: Scenario,
    assistant: str,
    point: str,
    database: dict[str, str] | None,
) -> list[str] | None:
    """Crash there, and check what stands after the next start. Return the points passed if that one was not reached."""
    with crashing.openai() as api:
        thread = api.beta.threads.create(messages=[{"role": "user", "content": "go"}]).id
    crashing.kill()
    asked, printed = len(upstream.requests), len(crashing.output)
    crashing.start(LOCUM_CRASH_AT=point)
    if crashing.is_running and start_run(crashing, assistant, thread):
        wait_until_over(crashing, thread)
    # The end of the run is seen before the point behind its commit is reached: only a server that ends in order,
    # with nothing left to commit, has passed them all.
    is_past = crashing.stop(keep_sessions=True) == 0
    lines = crashing.output[printed:].splitlines()
    crashing.start()
    with crashing.openai() as api:
        if not api.beta.threads.runs.list(thread).data:  # it died before the run was acknowledged
            assert start_run(crashing, assistant, thread)
    check(crashing, upstream, scenario, thread, asked)
    if database is not None:
        assert_no_blob_is_lost_or_forgotten(crashing, database)
    return [line.removeprefix("passed: ") for line in lines if line.startswith("passed: ")] if is_past else None


@pytest.mark.timeout(600)
def test_a_text_run_survives_a_crash_at_every_point(
    crashing: ServerProcess, upstream: ScriptedUpstream, own_database: dict[str, str]
) -> None:
    try_every_point(crashing, upstream, "text", database=own_database)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["code", "functions", "search", "error then fix"])
def test_a_run_with_tools_survives_a_crash_at_every_point(
    name: str, crashing: ServerProcess, upstream: ScriptedUpstream, own_database: dict[str, str]
) -> None:
    try_every_point(crashing, upstream, name, database=own_database)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_code_run_with_its_files_in_s3_survives_a_crash_at_every_point(
    upstream: ScriptedUpstream, own_database: dict[str, str], tmp_path: Path
) -> None:
    with S3Server() as s3:
        env = {
            "LOCUM_MODEL_BASE_URL": upstream.base_url,
            "LOCUM_BLOB_URL": f"s3://{BUCKET}/files",
            **own_database,
            **s3.env,
        }
        server = ServerProcess(tmp_path / "data", env=env)
        server.start()
        try:
            try_every_point(server, upstream, "code", database=None)
        finally:
            if server.is_running:
                server.stop()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_runs_survive_a_hundred_kills_at_random_moments(
    crashing: ServerProcess, upstream: ScriptedUpstream, own_database: dict[str, str]
) -> None:
    dice = random.Random(20261121)
    upstream.answer = lambda body: SCENARIOS[body["messages"][0]["content"]].answer(
        {**body, "messages": body["messages"][1:]}
    )
    assistant = make_assistant(crashing)
    for number in range(100):
        name = dice.choice(list(SCENARIOS))
        asked = len(upstream.requests)
        with crashing.openai() as api:
            thread = api.beta.threads.create(messages=[{"role": "user", "content": "go"}]).id
            api.beta.threads.runs.create(thread, assistant_id=assistant, instructions=name)
        with suppress(subprocess.TimeoutExpired):
            crashing.wait_until_dead(dice.uniform(0, 0.02 if name == "text" else 0.4))
        crashing.kill()
        crashing.start()
        check(crashing, upstream, SCENARIOS[name], thread, asked)
        if number % 20 == 19:
            assert_no_blob_is_lost_or_forgotten(crashing, own_database)
