"""Another Python for the sessions than the server's own: where it is, and whether it will do.

Covered: it reports its version before anything is built on it, and loads none of its packages for that: `-I -S` skips
`.pth` files and `sitecustomize`. Not covered: the program itself and its standard library run as the server's user.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from locum.errors import LocumError

OLDEST = (3, 10)
"""`zygote` and what it imports needs this much, and nothing but the standard library."""

_QUESTION = "import ctypes, json, select, socket, sys; print(*sys.version_info[:2])"
_SECONDS = 20.0


class NoInterpreter(LocumError):
    """What was named is not a Python that sessions can use; the message says why."""


def executable(path: Path) -> Path:
    """The program behind a path to one, or to a virtual environment. Links stay: through them a Python finds its own
    packages."""
    path = path.absolute()
    return path / "bin" / "python" if path.is_dir() else path


def examine(python: Path) -> None:
    """NoInterpreter unless sessions can run with it."""
    if not python.exists():
        raise NoInterpreter(f"{python} does not exist")
    if not os.access(python, os.X_OK):
        raise NoInterpreter(f"{python} is not a program that can be run")
    try:
        asked = subprocess.run(  # noqa: S603
            [python, "-I", "-S", "-c", _QUESTION],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env={},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise NoInterpreter(f"{python} cannot be run: {failure}") from None
    version = asked.stdout.split()
    if asked.returncode or not all(part.isdigit() for part in version) or len(version) != 2:
        last = (asked.stderr.strip() or asked.stdout.strip()).splitlines()[-1:]
        raise NoInterpreter(f"{python} is no Python{': ' if last else ''}{''.join(last)[:200]}")
    if tuple(map(int, version)) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise NoInterpreter(f"{python} is Python {'.'.join(version)}, and sessions need {oldest} or newer")
