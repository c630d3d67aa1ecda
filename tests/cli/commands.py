"""The commands of `locum` in processes of their own, as an owner types them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def environment(**env: str) -> dict[str, str]:
    """This process's, without settings that were made for it."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("LOCUM_")}, **env}


def locum(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "locum", *arguments],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


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
