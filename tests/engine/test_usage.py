"""What runs of code are metered as, through the unmodified SDK and the real sandbox."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from locum.admin import client as admin
from locum.admin.protocol import SumUsage, UsageSums
from locum.domain.usage import UsageSum
from locum.sandbox import protocol
from tests.engine.test_code_interpreter import Conversation
from tests.engine.test_runs import wait_for
from tests.models.upstream import Call, ScriptedUpstream
from tests.sandbox.conftest import wait_until
from tests.serving import ServerProcess

RUNS_CODE = True


@pytest.fixture
def conversation(api: openai.AzureOpenAI, upstream: ScriptedUpstream, assistant: str) -> Conversation:
    return Conversation(api, upstream, assistant)


def metered(server: ServerProcess, thread: str) -> UsageSum | None:
    reply = asyncio.run(admin.ask(server.data_dir, SumUsage(by="thread", resource=None, since=0)))
    assert isinstance(reply, UsageSums)
    return next((row for row in reply.rows if row.thread_id == thread), None)


def cells_begun(server: ServerProcess, thread: str) -> int:
    """What sandboxd says of the thread's session."""

    async def ask() -> protocol.Reply | bytes:
        with socket_folder(server.data_dir / "sandbox") as folder:
            reader, writer = await asyncio.open_unix_connection(f"{folder}/sandboxd.sock")
        writer.write(protocol.frame(protocol.GetUsage(thread)))
        reply = await protocol.read_reply(reader)
        writer.close()
        return reply

    reply = asyncio.run(ask())
    assert isinstance(reply, protocol.Used)
    return reply.usage.cells if reply.usage else 0


@contextmanager
def socket_folder(folder: Path) -> Iterator[str]:
    """A short way to it: a socket's whole path may be too long for the kernel."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def test_a_thread_whose_runs_call_no_code_is_not_metered(
    conversation: Conversation, scripted_server: ServerProcess
) -> None:
    assert metered(scripted_server, conversation.thread) is None


def test_all_runs_of_a_thread_within_the_hour_are_one_session_and_one_hour(
    conversation: Conversation, scripted_server: ServerProcess
) -> None:
    conversation.run("1")
    conversation.run("1 / 0")
    total = metered(scripted_server, conversation.thread)
    assert total is not None
    assert (total.resource, total.sessions, total.hours, total.cells) == ("default", 1, 1, 2)


def test_a_cell_whose_run_was_cancelled_is_metered_all_the_same(
    conversation: Conversation, scripted_server: ServerProcess, upstream: ScriptedUpstream
) -> None:
    upstream.script([Call("code_interpreter", {"code": "while True: pass"})])
    api = conversation.api
    run = api.beta.threads.runs.create(conversation.thread, assistant_id=conversation.assistant)
    wait_until(lambda: cells_begun(scripted_server, conversation.thread) == 1)
    api.beta.threads.runs.cancel(run.id, thread_id=conversation.thread)
    wait_for(api, run, "cancelled")
    total = metered(scripted_server, conversation.thread)
    assert total is not None
    assert (total.sessions, total.hours, total.cells) == (1, 1, 1)


def test_what_a_deleted_thread_used_stays(conversation: Conversation, scripted_server: ServerProcess) -> None:
    conversation.run("1")
    before = metered(scripted_server, conversation.thread)
    conversation.api.beta.threads.delete(conversation.thread)
    assert before is not None
    assert metered(scripted_server, conversation.thread) == before
