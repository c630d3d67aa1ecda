"""Lives and deaths of sandboxd: it survives its server, dies with everything under it, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from locum.sandbox.client import Sandbox, end
from locum.sandbox.host.bounded_log import MAX_BYTES, rotate
from locum.sandbox.limits import Limits
from locum.sandbox.session import SandboxUnavailable, SessionLost
from tests.sandbox.conftest import BARE, SMALL, Box, Gate, folders_with, start, wait_until

ROOT = Path(__file__).parents[2]


def process_table(directory: Path) -> tuple[dict[int, int], set[int]]:
    """All processes with their parents; and those whose arguments name the folder, as sandboxd's do."""
    parents: dict[int, int] = {}
    named: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state == "Z":
                continue
            parents[int(entry.name)] = int(parent)
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if any(argument.split(b" ")[-1] == os.fsencode(directory) for argument in arguments):
                named.add(int(entry.name))
    return parents, named


def processes_of(directory: Path) -> set[int]:
    """sandboxd of that folder, and all that descends from it."""
    parents, found = process_table(directory)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def alive(pids: set[int]) -> set[int]:
    """Those that still run; a dead one may wait a while for its parent to look."""
    running = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                running.add(pid)
    return running


def environment(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_text()
    return ""


def daemon_of(directory: Path) -> int:
    """sandboxd itself. It need not have the lowest number (they start over); what it has just forked looks the same."""
    parents, named = process_table(directory)
    (daemon,) = (pid for pid in named if parents[pid] not in named)
    return daemon


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Box]:
    box = start(tmp_path / "sandbox")
    yield box
    box.close()


def test_close_leaves_no_process(tmp_path: Path) -> None:
    box = start(tmp_path / "sandbox")
    box.cell(box.session(), "import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True);")
    everyone = processes_of(tmp_path / "sandbox")
    assert len(everyone) >= 5
    box.close()
    wait_until(lambda: not alive(everyone))


def test_processes_return_to_where_they_were_after_20_sessions(own: Box, tmp_path: Path) -> None:
    own.cell(own.session(), "1")
    before = 4 + SMALL.spare_sessions  # sandboxd, launcher, zygote, one session
    wait_until(lambda: len(processes_of(tmp_path / "sandbox")) == before)
    keys = [own.session() for _ in range(20)]
    for key in keys:
        own.cell(key, "import subprocess; p = subprocess.Popen(['sleep', '60'])")
    assert len(processes_of(tmp_path / "sandbox")) >= before + 40
    descriptors = Path(f"/proc/{daemon_of(tmp_path / 'sandbox')}/fd")
    busy = len(list(descriptors.iterdir()))
    for key in keys:
        own.run(own.sandbox.delete(key))
    wait_until(lambda: len(processes_of(tmp_path / "sandbox")) == before)
    assert len(list(descriptors.iterdir())) <= busy - 4 * 20


def test_kill_of_sandboxd_takes_everything_along_and_the_next_call_starts_anew(own: Box, tmp_path: Path) -> None:
    key = own.session()
    everyone = processes_of(tmp_path / "sandbox")

    async def check() -> None:
        begun = asyncio.Event()
        code = "import subprocess\nsubprocess.Popen(['sleep', '60'], start_new_session=True)\nprint('begun')\ninput"
        code += "\nimport time; time.sleep(60)"
        cell = asyncio.create_task(own.sandbox.execute(key, "c", code, lambda piece: begun.set()))
        await begun.wait()
        everyone.update(processes_of(tmp_path / "sandbox"))
        os.kill(daemon_of(tmp_path / "sandbox"), signal.SIGKILL)
        with pytest.raises(SessionLost):
            await cell

    own.run(check())
    with pytest.raises(SessionLost):
        own.cell(key, "1")  # a new sandboxd is there, and knows no session
    assert own.open(key).fresh
    result = own.cell(key, "1 + 1")
    assert result.logs == "[This session is new: the variables of earlier calls are gone.]\n2\n"
    assert result.reset
    wait_until(lambda: not alive(everyone))


def test_a_dead_zygote_is_replaced(own: Box, tmp_path: Path) -> None:
    key = own.session()
    own.put(key, "a.txt", b"kept")
    daemon = daemon_of(tmp_path / "sandbox")
    (launcher,) = (int(pid) for pid in Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split())
    everyone = processes_of(tmp_path / "sandbox")
    os.kill(launcher, signal.SIGKILL)
    wait_until(lambda: alive(everyone) == {daemon})
    assert own.open(key).files == {"a.txt": "tag"}
    result = own.cell(key, "open('a.txt').read()")
    assert result.logs == (
        "[This session is new: the variables of earlier calls are gone. The files in /mnt/data were kept.]\n'kept'\n"
    )
    assert result.reset


def test_a_zygote_that_has_served_for_long_is_replaced_and_its_sessions_live_on(tmp_path: Path) -> None:
    directory = tmp_path / "sandbox"
    limits = msgspec.structs.replace(SMALL, zygote_sessions=4, spare_sessions=0)
    box = start(directory, limits)
    try:
        first = box.session()
        box.cell(first, "x = 41")
        (old,) = launchers(directory)
        others = [box.session() for _ in range(6)]
        wait_until(lambda: len(launchers(directory)) == 2)  # the worn one stays for its sessions
        assert box.cell(first, "x + 1").logs == "42\n"
        assert box.cell(others[0], "1 + 1").logs == "2\n"
        for key in (first, *others):
            box.run(box.sandbox.delete(key))
        wait_until(lambda: old not in launchers(directory))
    finally:
        box.close()


def test_there_can_be_more_sessions_than_one_of_them_may_have_files_open(tmp_path: Path) -> None:
    box = start(tmp_path / "sandbox", msgspec.structs.replace(SMALL, open_files=32, max_sessions=40, spare_sessions=0))
    try:
        keys = [box.session() for _ in range(40)]
        assert box.cell(keys[-1], "1 + 1").logs == "2\n"
    finally:
        box.close()


def launchers(directory: Path) -> set[int]:
    """The children of sandboxd, one for each zygote."""
    daemon = daemon_of(directory)
    return alive(set(map(int, Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split())))


_SERVER = """
import asyncio, sys
from pathlib import Path
import msgspec
from locum.sandbox.client import Limits, Sandbox
from locum.sandbox.profile import Profile

async def main():
    limits = msgspec.json.decode(sys.argv[2], type=Limits)
    sandbox = Sandbox(Path(sys.argv[1]), limits=limits, profile=Profile(notebook=True))
    await sandbox.start()
    await sandbox.open("thread")
    await sandbox.put("thread", "a.txt", "tag", pieces())
    code = "x = 41\\nprint('begun')\\nimport os, time\\nwhile not os.path.exists('go'): time.sleep(0.01)\\nprint(x + 1)"
    await sandbox.execute("thread", "call", code, lambda piece: print(piece, flush=True))

async def pieces():
    yield b"data"

asyncio.run(main())
"""


def _killed_server(directory: Path, limits: Limits) -> None:
    """A server that is killed while a cell runs."""
    arguments = [sys.executable, "-c", _SERVER, str(directory), msgspec.json.encode(limits).decode()]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=ROOT) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"begun\n"
        server.kill()


def test_a_killed_server_finds_its_running_cell_again(tmp_path: Path) -> None:
    _needs_sandbox(tmp_path)
    directory = tmp_path / "sandbox"
    _killed_server(directory, SMALL)
    before = daemon_of(directory)
    box = start(directory)
    try:
        opened = box.run(_open_and_let_go(box))
        assert opened == {"a.txt": "tag"}
        result = box.cell("thread", "", call_id="call")
        assert (result.logs, result.ok) == ("begun\n42\n", True)
        assert box.cell("thread", "x").logs == "41\n"
        assert daemon_of(directory) == before
    finally:
        box.close()
    wait_until(lambda: not alive({before}))


async def _open_and_let_go(box: Box) -> dict[str, str]:
    """The session is busy with the cell that the dead server began: tell the cell to go on by its own channel."""
    cell = asyncio.create_task(box.sandbox.execute("thread", "call", ""))
    (data,) = folders_with("a.txt", b"data")
    (data / "go").touch()
    assert (await cell).logs == "begun\n42\n"
    return (await box.sandbox.open("thread")).files


_LEAVING = """
import asyncio, sys
from pathlib import Path
import msgspec
from locum.sandbox.client import Limits, Sandbox
from locum.sandbox.profile import Profile

async def main():
    limits = msgspec.json.decode(sys.argv[2], type=Limits)
    sandbox = Sandbox(Path(sys.argv[1]), limits=limits, profile=Profile(notebook=True))
    await sandbox.start()
    await sandbox.open("thread")
    begun = asyncio.Event()
    cell = asyncio.create_task(sandbox.execute("thread", "call", sys.argv[3], lambda piece: begun.set()))
    await begun.wait()
    sandbox.leave()
    cell.cancel()
    await asyncio.wait([cell])
    await sandbox.hang_up()

asyncio.run(main())
"""


def test_a_server_that_leaves_does_not_interrupt_its_cells(tmp_path: Path) -> None:
    _needs_sandbox(tmp_path)
    directory, gate = tmp_path / "sandbox", Gate()
    arguments = [sys.executable, "-c", _LEAVING, str(directory), msgspec.json.encode(SMALL).decode(), gate.code]
    subprocess.run(arguments, cwd=ROOT, check=True)
    box = start(directory)
    try:

        async def attach() -> str:
            begun = asyncio.Event()
            cell = asyncio.create_task(box.sandbox.execute("thread", "call", "", lambda piece: begun.set()))
            await begun.wait()
            gate.open()
            return (await cell).logs

        assert box.run(attach()) == "begun\nended\n"
    finally:
        box.close()


def test_who_throws_the_folder_away_can_end_its_sandboxd(tmp_path: Path) -> None:
    _needs_sandbox(tmp_path)
    directory = tmp_path / "sandbox"
    end(directory)  # there is none
    _killed_server(directory, SMALL)
    everyone = processes_of(directory)
    end(directory)
    wait_until(lambda: not alive(everyone))
    end(directory)


def test_sandboxd_ends_by_itself_when_no_server_comes_back(tmp_path: Path) -> None:
    _needs_sandbox(tmp_path)
    directory = tmp_path / "sandbox"
    _killed_server(directory, msgspec.structs.replace(SMALL, linger_seconds=0.5))
    everyone = processes_of(directory)
    wait_until(lambda: not alive(everyone))
    assert not (directory / "sandboxd.sock").exists()


def test_other_settings_take_another_sandboxd(own: Box, tmp_path: Path) -> None:
    own.session()
    before = processes_of(tmp_path / "sandbox")
    other = start(tmp_path / "sandbox", msgspec.structs.replace(SMALL, processes=20))
    try:
        assert (
            other.cell(other.session(), "import resource; resource.getrlimit(resource.RLIMIT_NPROC)").logs
            == "(20, 20)\n"
        )
        wait_until(lambda: not alive(before))
    finally:
        other.close()


def test_two_servers_of_one_folder_share_one_sandboxd(own: Box, tmp_path: Path) -> None:
    key = own.session()
    own.cell(key, "x = 1")
    other = Box(Sandbox(tmp_path / "sandbox", limits=SMALL, profile=BARE))
    other.run(other.sandbox.start())
    assert other.cell(key, "x", call_id="the other server's").logs == "1\n"
    other.close()


def test_two_servers_that_start_at_once_start_one(tmp_path: Path) -> None:
    _needs_sandbox(tmp_path)

    async def check() -> None:
        both = [Sandbox(tmp_path / "sandbox", limits=SMALL, profile=BARE) for _ in range(2)]
        await asyncio.gather(*(sandbox.start() for sandbox in both))
        await both[0].open("a")
        await both[0].execute("a", "c", "1")
        assert not (await both[1].open("a")).fresh
        for sandbox in both:
            await sandbox.close()

    asyncio.run(check())


def test_a_long_folder_name_is_no_problem(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 30) / "sandbox"
    box = start(directory)
    assert box.cell(box.session(), "1 + 1").logs == "2\n"
    box.close()


def test_the_folder_and_the_socket_are_for_their_owner_only(own: Box, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "sandbox").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "sandbox/sandboxd.sock").stat().st_mode) == 0o600


def test_sandboxd_holds_no_secret_of_the_server(own: Box, tmp_path: Path) -> None:
    for pid in processes_of(tmp_path / "sandbox"):
        names = {line.split("=")[0] for line in environment(pid).split("\0") if line}
        assert names <= {
            "PATH", "LANG", "HOME", "LC_CTYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
            "MALLOC_ARENA_MAX",
        }  # fmt: skip


def test_the_session_that_was_idle_longest_makes_room(tmp_path: Path) -> None:
    box = start(tmp_path / "sandbox", msgspec.structs.replace(SMALL, max_sessions=2))
    try:
        for key in ("a", "b", "c"):
            box.open(key)
            box.cell(key, "x = 1")
        with pytest.raises(SessionLost):
            box.cell("a", "x")
        opened = box.open("a")
        assert opened.fresh
        result = box.cell("a", "'x' in globals()")
        assert result.logs == "[This session is new: the variables of earlier calls are gone.]\nFalse\n"
        assert result.reset
        assert not box.cell("a", "1").reset
    finally:
        box.close()


def test_what_is_off_says_why_and_what_to_do(tmp_path: Path) -> None:
    async def check() -> None:
        sandbox = Sandbox(tmp_path / "sandbox", mode="off")
        status = await sandbox.start()
        assert (status.tier, status.fix) == ("off", "set LOCUM_SANDBOX=auto")
        with pytest.raises(SandboxUnavailable, match="LOCUM_SANDBOX=auto"):
            await sandbox.open("a")
        await sandbox.close()

    asyncio.run(check())


def test_an_interpreter_that_does_not_run_turns_the_sandbox_off(tmp_path: Path) -> None:
    async def check() -> None:
        sandbox = Sandbox(tmp_path / "sandbox", limits=SMALL, python="/bin/false")
        status = await sandbox.start()
        assert status.tier == "off"
        with pytest.raises(SandboxUnavailable):
            await sandbox.open("a")
        await sandbox.close()

    asyncio.run(check())


def test_another_interpreter_without_any_package_runs_cells(tmp_path: Path) -> None:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("there is no /usr/bin/python3")
    box = start(tmp_path / "sandbox", python="/usr/bin/python3")
    try:
        key = box.session()
        result = box.cell(key, "import sys\nx = 1\nprint(sys.prefix)\nx + 1")
        assert (result.logs, result.ok) == ("/usr\n2\n", True)
        failed = box.cell(key, "x\n1 / 0")
        assert failed.error == "ZeroDivisionError"
        assert 'File "Cell In[2]", line 2' in failed.logs
    finally:
        box.close()


def test_a_data_folder_inside_the_python_installation_turns_the_sandbox_off(tmp_path: Path) -> None:
    _needs_sandbox(tmp_path)
    if not os.access(sys.prefix, os.W_OK):
        pytest.skip(f"{sys.prefix} cannot be written by this user")
    inside = Path(tempfile.mkdtemp(dir=sys.prefix))
    try:
        inside.chmod(0o755)

        async def check() -> None:
            sandbox = Sandbox(inside / "sandbox", limits=SMALL, profile=BARE)
            status = await sandbox.start()
            await sandbox.close()
            assert (status.tier, "inside the folders of the Python installation" in status.reason) == ("off", True)

        asyncio.run(check())
    finally:
        shutil.rmtree(inside)


def test_nothing_heavy_is_loaded_into_the_server_or_sandboxd() -> None:
    code = "import sys, locum.sandbox.client, locum.sandbox.host.daemon; print([m for m in HEAVY if m in sys.modules])"
    heavy = ["numpy", "pandas", "matplotlib", "IPython", "sqlalchemy", "pydantic", "starlette"]
    result = subprocess.run(
        [sys.executable, "-c", code.replace("HEAVY", repr(heavy))], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


def _needs_sandbox(tmp_path: Path) -> None:
    start(tmp_path / "needed").close()


# ---- the log


def test_log_begins_anew_after_its_size_and_keeps_the_end_of_the_one_before(tmp_path: Path) -> None:
    log = tmp_path / "sandbox/sandboxd.log"
    log.parent.mkdir()
    log.write_bytes(b"old\n" * 1024**2 * 5 + b"the last line\n")
    box = start(tmp_path / "sandbox")
    try:
        assert b"tier " in log.with_name("sandboxd.log.1").read_bytes() + log.read_bytes()
        assert log.stat().st_size < MAX_BYTES
        before = log.with_name("sandboxd.log.1")
        assert b"the last line\n" in before.read_bytes()
        assert before.stat().st_size == MAX_BYTES
        assert stat.S_IMODE(before.stat().st_mode) == 0o600
    finally:
        box.close()


def test_every_writer_goes_on_in_the_log_that_begins_anew(tmp_path: Path) -> None:
    log = tmp_path / "sandboxd.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    own, zygote = os.open(log, flags), os.open(log, flags)
    os.write(zygote, b"x" * 100)
    rotate(own, log, 100)
    assert log.read_bytes() == b"x" * 100
    os.write(own, b"end")
    rotate(own, log, 100)
    os.write(zygote, b"more")
    assert log.read_bytes() == b"more"
    assert log.with_name("sandboxd.log.1").read_bytes() == b"x" * 97 + b"end"
    for fd in (own, zygote):
        os.close(fd)


def test_log_elsewhere_than_standard_error_is_left_alone(tmp_path: Path) -> None:
    log, other = tmp_path / "sandboxd.log", tmp_path / "other"
    log.write_bytes(b"x" * 200)
    with other.open("wb") as file:
        file.write(b"y" * 200)
        file.flush()
        rotate(file.fileno(), log, 100)
    assert (log.stat().st_size, other.stat().st_size) == (200, 200)
