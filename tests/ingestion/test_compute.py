"""The process beside the server: real, killed, and told nonsense."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from locum.domain.vector_stores import Chunking
from locum.ingestion.chunk import Tokens, TooManyTokens
from locum.ingestion.compute import ComputeError, ComputeProcess
from locum.models.chat import ModelError
from tests.search.model_directory import make_model

TEXT = "A sentence about something. 한국어 문장.\n\n" * 500


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def cut_both_ways(bench: ComputeProcess) -> None:
    chunks, windows = await bench.cut(TEXT, Chunking(), windows=True)
    tokens = Tokens(TEXT)
    assert np.array_equal(chunks, tokens.chunks(Chunking()))
    assert np.array_equal(windows, tokens.windows())
    chunks, windows = await bench.cut("\ud800 a lone surrogate", None, windows=True)
    assert len(chunks) == 0
    assert windows.tolist() == [[0, 18]]


def run(scenario: object) -> None:
    async def go() -> None:
        bench = ComputeProcess()
        try:
            await scenario(bench)  # type: ignore[operator]
        finally:
            await bench.close()

    asyncio.run(go())


def test_it_cuts_as_the_server_would() -> None:
    run(cut_both_ways)


def test_a_process_that_hangs_is_replaced() -> None:
    async def go() -> None:
        bench = ComputeProcess(command_seconds=5)
        await cut_both_ways(bench)
        assert bench.pid is not None
        hanging = bench.pid
        os.kill(hanging, signal.SIGSTOP)
        await cut_both_ways(bench)
        assert bench.pid != hanging
        await bench.close()

    asyncio.run(go())


def test_a_text_that_is_too_long_is_said_to_be_so() -> None:
    async def scenario(bench: ComputeProcess) -> None:
        with pytest.raises(TooManyTokens):
            await bench.cut("a b c d e f g h " * 700_000, Chunking(), windows=True)
        assert await bench.cut("fine", Chunking(), windows=False)

    run(scenario)


def test_it_is_as_nice_as_who_has_it_and_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUM_API_KEY", "secret-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-2")

    async def scenario(bench: ComputeProcess) -> None:
        await bench.cut("text", Chunking(), windows=False)
        assert bench.pid is not None
        assert os.getpriority(os.PRIO_PROCESS, bench.pid) == os.getpriority(os.PRIO_PROCESS, 0)
        # Ctrl-C is not for it, and within the server's session it is weighed against the server.
        assert os.getpgid(bench.pid) != os.getpgid(0)
        assert os.getsid(bench.pid) == os.getsid(0)
        environment = environment_of(bench.pid)
        assert "secret" not in environment
        assert "LOCUM" not in environment

    run(scenario)


def test_a_command_is_given_again_when_the_process_dies_and_the_next_ones_are_served() -> None:
    async def scenario(bench: ComputeProcess) -> None:
        await bench.cut("text", Chunking(), windows=False)
        first = bench.pid
        assert first is not None
        cutting = asyncio.ensure_future(bench.cut(TEXT * 40, Chunking(), windows=True))
        await asyncio.sleep(0)  # it has been asked
        os.kill(first, signal.SIGKILL)
        chunks, _ = await cutting
        assert len(chunks) > 100
        assert bench.pid != first

    run(scenario)


def test_a_command_that_nobody_waits_for_any_more_does_not_confuse_the_next() -> None:
    async def scenario(bench: ComputeProcess) -> None:
        forgotten = asyncio.ensure_future(bench.cut(TEXT * 10, Chunking(), windows=True))
        await asyncio.sleep(0)  # it has been asked
        forgotten.cancel()
        chunks, windows = await bench.cut("short", Chunking(), windows=True)
        assert chunks.tolist() == windows.tolist() == [[0, 5]]

    run(scenario)


def test_a_command_that_fails_says_why_and_the_process_lives_on(tmp_path: Path) -> None:
    async def scenario(bench: ComputeProcess) -> None:
        await bench.cut("text", Chunking(), windows=False)
        pid = bench.pid
        with pytest.raises(ModelError, match=r"model\.onnx") as failure:
            await bench.embed(tmp_path / "absent", ["text"], "query")
        assert failure.value.kind == "misconfigured"
        await bench.cut("text", Chunking(), windows=False)
        assert bench.pid == pid

    run(scenario)


def test_it_embeds_with_a_model_of_a_directory(tmp_path: Path) -> None:
    directory = make_model(tmp_path / "model")

    async def scenario(bench: ComputeProcess) -> None:
        rows = await bench.embed(directory, ["apple", "pear", "engine"], "document")
        assert rows.shape == (3, 8)
        assert rows[0] @ rows[1] > 0.9 > rows[0] @ rows[2]

    run(scenario)


def test_it_dies_with_a_server_that_is_killed() -> None:
    program = (
        "import asyncio\n"
        "from locum.domain.vector_stores import Chunking\nfrom locum.ingestion.compute import ComputeProcess\n"
        "async def go():\n    bench = ComputeProcess()\n    await bench.cut('text', Chunking(), windows=False)\n"
        "    print(bench.pid, flush=True)\n    await asyncio.Event().wait()\nasyncio.run(go())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert is_alive(pid)
        server.kill()
    wait_until_gone(pid)


def test_closing_ends_it_in_the_middle_of_a_command() -> None:
    async def scenario(bench: ComputeProcess) -> None:
        await bench.cut("text", Chunking(), windows=False)
        pid = bench.pid
        assert pid is not None
        cutting = asyncio.ensure_future(bench.cut(TEXT * 100, Chunking(), windows=True))
        await asyncio.sleep(0)
        await bench.close()
        with pytest.raises(ComputeError):
            await cutting
        assert not is_alive(pid)

    run(scenario)
