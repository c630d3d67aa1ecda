"""Child processes of ours: spawned with pipes, ended with their parent, spoken to in frames.

A child runs `main` of a module with its parent's interpreter and modules. It dies with its parent and ignores Ctrl-C.
Whatever a library prints in it goes to standard error, never among the frames.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from typing import BinaryIO

from setproctitle import setproctitle

_START = "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); from {module} import main; main()"


async def spawn(module: str, *, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start `main` of the module in a child with pipes to its standard input and output."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-c",
        _START.format(module=module),
        "\n".join(path for path in sys.path if path),
        str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=dict(env),
    )


def enter(title: str) -> tuple[BinaryIO, BinaryIO] | None:
    """Prepare this child process; return the pipes from and to its parent, or None when the parent has died already.

    title: shown by `ps` and `top` instead of the command line.
    """
    parent = int(sys.argv[1])
    setproctitle(title)
    if hasattr(os, "setpgid"):
        # Ctrl-C is for the parent, which ends this process. A group and no session: Linux may give every session the
        # same weight (autogroups), and niceness counts within one.
        os.setpgid(0, 0)
    if sys.platform == "linux":
        from locum.sandbox.isolation.linux import die_with_parent

        die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            return None
    frames_out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, frames_out
