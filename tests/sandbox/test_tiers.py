"""The tiers for machines that refuse namespaces, each by its name: sessions that work, and end with all they began."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from locum.sandbox.isolation import landlock
from locum.sandbox.isolation.jail import SLOTS, first_uid
from locum.sandbox.limits import MIB
from tests.sandbox.conftest import SMALL, Box, start, system_python, wait_until


@pytest.mark.parametrize(
    ("id_map", "share", "first"),
    [
        ("         0          0 4294967295\n", 0, 1_900_000_000),
        ("         0          0 4294967295\n", 3, 1_900_000_000 + 3 * SLOTS),
        ("0 100000 65536\n", 0, 65536 - SLOTS),
        ("0 100000 65536\n", 1, 65536 - 2 * SLOTS),
        ("0 100000 65536\n", 15, 65536 - SLOTS),
        ("0 1000 1\n1 100000 65535\n", 0, 65536 - SLOTS),
        ("0 1000 1\n", 0, None),
        ("0 100000 8000\n", 0, None),
        ("", 0, None),
    ],
)
def test_user_ids_for_sessions_are_those_that_nobody_else_has(id_map: str, share: int, first: int | None) -> None:
    assert first_uid(id_map, share) == first


LIMITS = msgspec.structs.replace(SMALL, cell_seconds=20.0)


@pytest.fixture(scope="module", params=["landlock", "weak"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Python is the system's: sessions have users that cannot read what is in root's home."""
    if not landlock.version().number:
        pytest.skip("this kernel has no Landlock")
    if request.param == "landlock" and os.geteuid() != 0:
        pytest.skip("only root can give sessions users of their own")
    box = start(tmp_path_factory.mktemp("data") / "sandbox", LIMITS, mode=request.param, python=system_python())
    assert box.sandbox.status.tier == request.param
    yield box
    box.close()
    assert not _homes()


def _homes() -> list[Path]:
    return [path for path in Path(tempfile.gettempdir()).glob("locum-sandbox-*") if _is_ours(path)]


def _is_ours(path: Path) -> bool:
    """Made by a sandboxd that this process started."""
    pid = path.name.split("-")[3]
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
    return False


def test_files_have_the_names_they_have_elsewhere(shared: Box) -> None:
    key = shared.session()
    shared.put(key, "in.csv", b"1,2\n")
    code = (
        "import glob, os, subprocess\n"
        "print(open('/mnt/data/in.csv').read().strip(), os.getcwd(), glob.glob('/mnt/data/*'))\n"
        "subprocess.run('pwd; cat /mnt/data/in.csv', shell=True)\n"
        "open('/mnt/data/out.txt', 'w').write(os.path.abspath('out.txt'))\n"
        "open('/mnt/data/missing')"
    )
    result = shared.cell(key, code)
    assert result.logs.startswith("1,2 /mnt/data ['/mnt/data/in.csv']\n/mnt/data\n1,2\n")
    assert "No such file or directory: '/mnt/data/missing'" in result.logs
    assert [file.name for file in result.files] == ["out.txt"]


def test_state_stays_and_a_time_out_keeps_it(shared: Box) -> None:
    key = shared.session()
    shared.cell(key, "x = 41")
    assert shared.cell(key, "x + 1").logs == "42\n"


def test_a_session_that_dies_takes_along_what_it_began_and_its_files_are_kept(shared: Box) -> None:
    key = shared.session()
    daemon = (
        "import os, time\nfor _ in range(2):\n    if os.fork(): os._exit(0)\n    os.setsid()\ntime.sleep(600)  # mark"
    )
    code = (
        f"import subprocess, sys\nopen('a.txt', 'w').write('kept')\nsubprocess.run([sys.executable, '-c', {daemon!r}])"
    )
    shared.cell(key, code)
    wait_until(lambda: _running("# mark"))
    assert shared.cell(key, "import os; os._exit(7)").reset
    wait_until(lambda: not _running("# mark"))
    assert shared.cell(key, "open('a.txt').read()").logs == "'kept'\n"


def test_all_ends_with_the_zygote_also_where_some_of_it_has_just_ended(tmp_path: Path, shared: Box) -> None:
    tier = shared.sandbox.status.tier
    box = start(tmp_path / "sandbox", LIMITS, mode=tier, python=system_python())
    last = "import time; time.sleep(600)  # last mark"
    code = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {last!r}], start_new_session=True);"
    for _ in range(8):
        assert box.cell(box.session(), code).ok
    box.close()
    wait_until(lambda: not _running("# last mark"))
    assert "Traceback" not in (tmp_path / "sandbox/sandboxd.log").read_text()


def test_what_is_left_behind_does_not_run_between_cells(shared: Box) -> None:
    key = shared.session()
    busy = "import time\nwhile True: time.sleep(0.001)  # busy mark"
    shared.cell(key, f"import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', {busy!r}])")
    wait_until(lambda: set(_running("# busy mark").values()) == {"T"})
    shared.run(shared.sandbox.delete(key))
    wait_until(lambda: not _running("# busy mark"))


def test_the_folders_of_a_session_go_with_it(shared: Box) -> None:
    key = shared.session()
    shared.cell(key, "import os\nos.makedirs('a/b/c')\nopen('a/b/c/mark-of-this-session', 'w').close()")
    home = next(path for path in Path(tempfile.gettempdir()).glob("locum-sandbox-*/*/data/a/b/c/mark-of-this-session"))
    shared.run(shared.sandbox.delete(key))
    wait_until(lambda: not home.parents[4].exists())


def test_two_sandboxds_of_one_machine_share_no_user(tmp_path: Path, shared: Box) -> None:
    tier = shared.sandbox.status.tier
    box = start(tmp_path / "sandbox", LIMITS, mode=tier, python=system_python())
    try:
        users = [each.cell(each.session(), "import os; print(os.getuid())").logs for each in (shared, box)]
        assert (users[0] == users[1]) == (tier == "weak")
    finally:
        box.close()


def test_a_folder_so_deep_that_it_cannot_be_named_goes_with_its_session_too(shared: Box) -> None:
    key = shared.session()
    code = "import os\nopen('deep-mark', 'w').close()\nfor _ in range(1900):\n    os.mkdir('d'); os.chdir('d')"
    shared.cell(key, code)
    home = next(path for path in Path(tempfile.gettempdir()).glob("locum-sandbox-*/*/data/deep-mark")).parents[1]
    shared.run(shared.sandbox.delete(key))
    wait_until(lambda: not home.exists())


def test_the_watchdog_is_the_quota(shared: Box) -> None:
    key = shared.session()
    code = "import time\nfor n in range(9):\n    open(f'{n}', 'wb').write(bytes(8 << 20))\ntime.sleep(60)"
    result = shared.cell(key, code)
    assert result.error == "SessionDied"
    assert f"more than {LIMITS.disk_bytes // MIB} MiB of disk" in result.logs
    unlinked = (
        "import os, time\nheld = []\nfor n in range(9):\n    held.append(open('x', 'wb', buffering=0))\n"
        "    held[-1].write(bytes(8 << 20)); os.unlink('x')\ntime.sleep(60)"
    )
    result = shared.cell(shared.session(), unlinked)
    assert f"more than {LIMITS.disk_bytes // MIB} MiB of disk" in result.logs
    nested = "import os, time\nfor _ in range(100):\n    os.mkdir('d'); os.chdir('d')\ntime.sleep(60)"
    result = shared.cell(shared.session(), nested)
    assert f"more than {LIMITS.inodes} files" in result.logs


def test_memory_of_all_processes_is_watched(shared: Box) -> None:
    code = (
        "import os, time\nfor _ in range(6):\n    if os.fork() == 0:\n        b = bytearray(120 << 20)\n"
        "        time.sleep(60)\ntime.sleep(60)"
    )
    result = shared.cell(shared.session(), code)
    assert "more than 320 MiB of memory" in result.logs


def test_a_child_that_forked_and_did_nothing_costs_nothing(shared: Box) -> None:
    code = "import os, time\nfor _ in range(20):\n    if os.fork() == 0: time.sleep(60)\ntime.sleep(0.6)"
    assert shared.cell(shared.session(), code).ok


def test_kill_of_sandboxd_leaves_nobody_behind(tmp_path: Path, shared: Box) -> None:
    tier = shared.sandbox.status.tier
    others = _homes()
    box = start(tmp_path / "sandbox", LIMITS, mode=tier, python=system_python())
    key = box.session()
    lone = "import time; time.sleep(600)  # lone mark"
    box.cell(key, f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {lone!r}], start_new_session=True)")
    assert _running("# lone mark")
    process = box.sandbox._process
    assert process is not None
    process.kill()
    wait_until(lambda: not _running("# lone mark"))
    box.run(box.sandbox.start())  # the next one clears away what that one left
    box.close()
    assert _homes() == others


def _running(words: str) -> dict[int, str]:
    """The state of every process on this machine whose arguments hold `words`."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if words.encode() in (process / "cmdline").read_bytes():
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found[int(process.name)] = state
    return found


_AS_USER = """
import asyncio, os, sys
from pathlib import Path
from locum.sandbox.client import Sandbox

async def main():
    sandbox = Sandbox(Path(sys.argv[1]) / "sandbox", mode=sys.argv[2], accepts_weak=True)
    status = await sandbox.start()
    print(status.tier)
    await sandbox.open("a")
    print((await sandbox.execute("a", "1", "import os; os.path.exists('/etc/passwd')")).ok)
    secret = f"open({str(Path(sys.argv[1]) / 'secret')!r}).read()"
    print((await sandbox.execute("a", "2", secret)).error)
    print((await sandbox.execute("a", "3", f"import os; os.kill({os.getpid()}, 0)")).error)
    print((await sandbox.execute("a", "4", f"import os; os.listdir('/proc/{os.getpid()}/fd')")).error)
    await sandbox.close()

asyncio.run(main())
"""


def test_an_ordinary_user_s_own_files_and_processes_are_out_of_reach(readable_python: Path) -> None:
    data = Path(tempfile.mkdtemp(prefix="locum-weak-"))
    (data / "secret").write_text("secret")
    for path in (data, data / "secret"):
        os.chown(path, 65534, 65534)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    result = subprocess.run(
        [*user, readable_python, "-c", _AS_USER, data, "weak"],
        capture_output=True,
        text=True,
        env={},
        cwd="/",
        check=False,
    )
    assert result.stdout.split() == ["weak", "True", "PermissionError", "PermissionError", "PermissionError"], (
        result.stdout + result.stderr + sys.version
    )


def test_the_end_of_a_session_is_nothing_to_those_of_another_server(tmp_path: Path, shared: Box) -> None:
    """Processes are ended by user id; no other sandboxd of this machine gives out the same ones."""
    tier = shared.sandbox.status.tier
    with contextlib.ExitStack() as stack:
        mine, theirs = (start(tmp_path / name, LIMITS, mode=tier, python=system_python()) for name in ("a", "b"))
        stack.callback(mine.close)
        stack.callback(theirs.close)
        keys = [[box.session() for _ in range(3)] for box in (mine, theirs)]
        for box, own in zip((mine, theirs), keys, strict=True):
            for key in own:
                assert box.cell(key, "x = 41").ok
        for key in keys[0]:
            mine.cell(key, "import os; os._exit(0)")
        assert [theirs.cell(key, "x + 1").logs for key in keys[1]] == ["42\n"] * 3
