"""What the boot probe makes of what it saw, and that it works for a user who is not root."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from locum.sandbox.host.probe import advise, judge
from tests.sandbox.conftest import start


def test_no_hole_is_the_full_isolation() -> None:
    assert judge("namespaces", {"open a socket": False}, Path("/data"), "python").tier == "namespaces"


def test_one_hole_is_enough_to_refuse() -> None:
    status = judge("weak", {"open a socket": True, "become root": False}, Path("/data"), "python")
    assert (status.tier, status.reason) == ("off", "the self-test could open a socket")
    assert status.fix


def test_a_python_that_sessions_cannot_read_is_named() -> None:
    status = judge("landlock", {"run without program files": True}, Path("/data"), "/opt/mine/bin/python")
    assert status.tier == "off"
    assert "/opt/mine/bin/python readable for others" in (status.fix or "")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "apparmor_restrict_unprivileged_userns=0"),
        ("proc/sys/kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
        ("proc/sys/user/max_user_namespaces", "0", "max_user_namespaces"),
        (".dockerenv", "", "--security-opt seccomp=deploy/seccomp.json"),
        ("unrelated", "", "as root"),
    ],
)
def test_the_advice_fits_the_machine(file: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert words in advise(errno.EPERM, tmp_path)


_AS_USER = """
import asyncio, os, sys

CODE = "open('out.txt', 'w').write(open('in.csv').read()); import os; os.getuid()"
from pathlib import Path
from locum.sandbox.client import Limits, Sandbox

async def pieces():
    yield b"1,2"

async def main():
    sandbox = Sandbox(Path(sys.argv[1]) / "sandbox", limits=Limits(cell_seconds=1, spare_sessions=1))
    status = await sandbox.start()
    print(os.getuid(), status.tier, status.reason)
    await sandbox.open("a")
    await sandbox.open("b")
    await sandbox.put("a", "in.csv", "tag", pieces())
    result = await sandbox.execute("a", "1", CODE)
    print(result.logs.strip(), [file.name for file in result.files])
    print((await sandbox.execute("b", "1", "import os; os.listdir('/mnt/data')")).logs.strip())
    print((await sandbox.execute("a", "2", "import plainly_absent")).error)
    killed = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\\nwhile True: pass"
    print((await sandbox.execute("a", "3", killed)).reset)
    print((await sandbox.execute("a", "4", "open('out.txt').read()")).logs.strip())
    await sandbox.close()

asyncio.run(main())
"""


def test_an_ordinary_user_gets_the_same(readable_python: Path, tmp_path: Path) -> None:
    start(tmp_path / "sandbox").close()
    data = readable_python.parents[2] / "data"
    data.mkdir()
    os.chown(data, 65534, 65534)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    result = subprocess.run(
        [*user, readable_python, "-c", _AS_USER, data], capture_output=True, text=True, env={}, cwd="/", check=False
    )
    words = "each session has its own namespaces and system call filter"
    assert result.stdout.splitlines() == [
        f"65534 namespaces {words}",
        "1000 ['out.txt']",
        "[]",
        "ModuleNotFoundError",
        "True",
        "'1,2'",
    ], result.stdout + result.stderr
