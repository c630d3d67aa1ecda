"""What a session has used is told with each of its cells: CPU time, memory, and which session it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from locum.domain.usage import SessionUsage
from locum.sandbox.client import Sandbox
from locum.sandbox.host.machine import Machine
from locum.sandbox.host.processes import ProcessTree
from locum.sandbox.host.sessions import Sessions
from locum.sandbox.host.zygote import Zygote
from locum.sandbox.limits import MIB
from locum.sandbox.session import CellResult
from locum.sandbox.stats import Stats
from tests.sandbox.conftest import SMALL, Box, start

BUSY = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"


def used(result: CellResult) -> SessionUsage:
    assert result.usage is not None, result.logs
    return result.usage


def test_a_busy_cell_has_the_cpu_seconds_that_it_took_and_a_sleeping_one_none(box: Box, key: str) -> None:
    idle = used(box.cell(key, "1")).cpu_seconds
    busy = used(box.cell(key, BUSY.format(seconds=0.5))).cpu_seconds
    asleep = used(box.cell(key, "time.sleep(0.5)")).cpu_seconds
    own = float(box.cell(key, "print(time.process_time())").logs)  # it knows how much that was
    assert 0.5 <= busy - idle < 0.7
    assert abs(asleep - busy) < 0.1
    assert abs(own - asleep) < 0.1


def test_child_processes_count_whether_they_run_are_waited_for_or_are_orphans(box: Box, key: str) -> None:
    before = used(box.cell(key, "import os, subprocess, sys")).cpu_seconds
    burn = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    waited = used(box.cell(key, f"burn = {burn!r}\nsubprocess.run([sys.executable, '-c', burn]);")).cpu_seconds
    assert 0.2 <= waited - before < 0.6
    orphan = (
        "ours, theirs = os.pipe()\nif os.fork() == 0:\n"
        "    subprocess.Popen([sys.executable, '-c', burn], pass_fds=[theirs]); os._exit(0)\n"
        "os.close(theirs); os.read(ours, 1)  # until the orphan has ended"
    )
    orphaned = used(box.cell(key, orphan)).cpu_seconds
    assert 0.2 <= orphaned - waited < 0.6


def test_the_peak_of_memory_is_at_least_what_a_cell_allocated_and_stays_when_it_is_freed(box: Box, key: str) -> None:
    small = used(box.cell(key, "1")).peak_memory_bytes
    large = used(box.cell(key, f"data = b'x' * {100 * MIB}")).peak_memory_bytes
    assert small < 40 * MIB
    assert 100 * MIB <= large < 100 * MIB + small + 40 * MIB
    assert used(box.cell(key, "del data")).peak_memory_bytes == large


def test_files_count_as_memory(box: Box, key: str) -> None:
    result = box.cell(key, f"open('data.bin', 'wb').write(b'x' * {20 * MIB});")
    assert used(result).peak_memory_bytes >= 20 * MIB


def test_cells_are_counted_and_one_that_is_asked_for_again_is_the_same_one(box: Box, key: str) -> None:
    first = used(box.cell(key, "1", call_id="again"))
    second = used(box.cell(key, "1 / 0"))
    assert (first.cells, second.cells) == (1, 2)
    assert used(box.cell(key, "1", call_id="again")) == first


def test_a_session_keeps_its_name_when_its_process_dies_and_goes_on_counting(box: Box, key: str) -> None:
    before = used(box.cell(key, f"{BUSY.format(seconds=0.3)}\ndata = b'x' * {60 * MIB}"))
    died = used(box.cell(key, "import os; os._exit(1)"))
    after = used(box.cell(key, "1"))
    assert before.instance == died.instance == after.instance
    assert before.opened_at == died.opened_at == after.opened_at
    assert (before.cells, died.cells, after.cells) == (1, 2, 3)
    assert before.cpu_seconds <= died.cpu_seconds <= after.cpu_seconds
    assert before.peak_memory_bytes == after.peak_memory_bytes >= 60 * MIB


def test_another_session_of_the_same_key_has_another_name(box: Box, key: str) -> None:
    before = used(box.cell(key, "1"))
    box.run(box.sandbox.delete(key))
    box.open(key)
    after = used(box.cell(key, "1"))
    assert after.instance != before.instance
    assert after.cells == 1


def test_the_time_of_its_opening_is_the_time_of_day(box: Box) -> None:
    before = int(time.time())
    usage = used(box.cell(box.session(), "1"))
    assert before <= usage.opened_at <= usage.last_used_at <= time.time()


@pytest.mark.long
def test_what_a_cell_used_that_was_killed_or_cancelled_is_in_the_next_ones_figures(hasty: Box) -> None:
    key = hasty.session()
    deaf = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    killed = used(hasty.cell(key, deaf))
    assert killed.cells == 1
    assert killed.cpu_seconds > 0.05  # of the second and a half that it ran, what a busy machine left it

    async def cancelled() -> None:
        computed = asyncio.Event()
        code = f"{BUSY.format(seconds=0.1)}\nprint('computed')\nwhile True: pass"

        def hear(piece: str) -> None:  # the first says that the session is new
            if "computed" in piece:
                computed.set()

        cell = asyncio.create_task(hasty.sandbox.execute(key, "c", code, hear))
        await computed.wait()
        cell.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await cell

    hasty.run(cancelled())
    after = used(hasty.cell(key, "1"))
    assert after.cells == 3
    assert after.cpu_seconds > killed.cpu_seconds + 0.05


def test_a_session_is_told_about_while_it_runs_a_cell(box: Box, key: str) -> None:
    async def check() -> SessionUsage | None:
        computed = asyncio.Event()
        code = f"{BUSY.format(seconds=0.2)}\nprint('computed')\nwhile True: pass"
        cell = asyncio.create_task(box.sandbox.execute(key, "running", code, lambda piece: computed.set()))
        await computed.wait()
        usage = await box.sandbox.usage(key)
        cell.cancel()
        await asyncio.gather(cell, return_exceptions=True)
        return usage

    during = box.run(check())
    assert during is not None
    assert during.cells == 1
    assert during.cpu_seconds > 0.05
    after = used(box.cell(key, "1"))
    assert after.instance == during.instance
    assert after.cpu_seconds >= during.cpu_seconds


def test_nothing_is_told_of_a_session_that_is_not_there(box: Box) -> None:
    assert box.run(box.sandbox.usage("nobody's")) is None


@pytest.mark.long
def test_everything_that_happens_to_sessions_is_tallied(tmp_path: Path) -> None:
    box = start(tmp_path / "sandbox", msgspec.structs.replace(SMALL, cell_seconds=0.5, max_sessions=2))
    try:
        for key in ("deleted", "evicted", "kept"):
            box.open(key)
            box.cell(key, f"data = b'x' * {10 * MIB}")
            if key == "deleted":
                box.run(box.sandbox.delete(key))
        box.cell("kept", "1 / 0")
        box.cell("kept", "while True: pass")
        box.cell("kept", "import os; os._exit(1)")
        box.open("one more")
        box.cell("kept", "1")
        stats = box.run(box.sandbox.stats())
    finally:
        box.close()
    assert stats is not None
    assert (stats.sessions, stats.busy_sessions, stats.opened) == (2, 0, 4)
    assert stats.ended == {"idle": 0, "evicted": 1, "died": 1, "deleted": 1}
    assert stats.cells == {"ok": 4, "error": 1, "timeout": 1, "interrupted": 0, "died": 1}
    assert sum(stats.cell_seconds.counts) == 7
    assert stats.cell_seconds.sum > 0.5
    assert sum(stats.start_seconds.counts) == 5  # the one that died was given a new process
    assert stats.cpu_seconds > 0.02  # a busy machine leaves it little of the half second


@pytest.mark.long
def test_a_session_that_nobody_used_any_more_is_tallied_as_idle(tmp_path: Path) -> None:
    async def scenario() -> Stats:
        now = 0.0
        limits = msgspec.structs.replace(SMALL, idle_seconds=100, spare_sessions=0)
        folder = tmp_path / "sandbox"
        folder.mkdir()
        machine = Machine()
        zygote = Zygote(folder, sys.executable, limits, "namespaces", machine)
        sessions = Sessions(limits, lambda tier: zygote, clock=lambda: now)
        try:
            await zygote.start()
            sessions.begin(zygote)
            await sessions.open("idle", lost=False)
            now = 99.0
            assert sessions.expire_idle() == []
            now = 101.0
            assert sessions.expire_idle() == ["idle"]
            return sessions.stats()
        finally:
            await sessions.close()
            await machine.close()

    start(tmp_path / "probe").close()
    stats = asyncio.run(scenario())
    assert (stats.sessions, stats.opened, stats.ended["idle"]) == (0, 1, 1)


def test_without_sandboxd_there_is_no_tally(tmp_path: Path) -> None:
    async def check() -> None:
        sandbox = Sandbox(tmp_path / "sandbox", mode="off")
        assert await sandbox.stats() is None
        await sandbox.start()
        assert await sandbox.stats() is None
        assert await sandbox.usage("any") is None

    asyncio.run(check())


BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
KEEPER = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}])  # what it inherited, and waited for
code = {BURN!r} + "print(flush=True); input()"
first = subprocess.Popen([sys.executable, "-c", code], stdin=0, stdout=subprocess.PIPE)
first.stdout.readline()
print(first.pid, flush=True)
first.wait()
"""


def test_where_there_are_no_control_groups_cpu_time_is_added_up_from_the_processes() -> None:
    command = [sys.executable, "-c", KEEPER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        first = os.pidfd_open(int(keeper.stdout.readline()))
        alone, kept = ProcessTree(first), ProcessTree(first, keeper=keeper.pid)
        assert 0.25 < alone.cpu_seconds() < 0.5
        assert 0.55 < kept.cpu_seconds() < 1.2
        keeper.communicate("")
        assert alone.cpu_seconds() == 0.0
        os.close(first)
