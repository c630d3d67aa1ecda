"""The commands of `locum` in processes of their own, as an owner types them."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

from tests.serving import clean_environment, run_command


def locum(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, env=clean_environment(**env), cwd=cwd)


def said(*arguments: str, cwd: Path, **env: str) -> str:
    """What a command that succeeds prints."""
    done = locum(*arguments, cwd=cwd, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    for word in words:
        assert word in line


def processes_naming(path: Path) -> list[str]:
    """Command lines of processes that were given this path."""
    lines = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(each.read_text().replace("\0", " "))
    return [line for line in lines if str(path) in line]
