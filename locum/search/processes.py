"""Processes of ours beside the one that starts them, and how they hear and speak: messages, each behind its length.

A process runs `main` of a module with the interpreter and the modules of the one that starts it. It dies with it, is
not in the way of Ctrl-C, and what a library prints in it goes to standard error, not among the messages.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
from collections.abc import Mapping
from typing import BinaryIO

_START = "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); from {module} import main; main()"
_LENGTH = struct.Struct(">Q")


async def start(module: str, *, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Run `main` of the module, with pipes to it and from it."""
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


def settle() -> tuple[BinaryIO, BinaryIO] | None:
    """At the beginning of such a process: what it hears and what it says. None where nobody wants it any more."""
    if hasattr(os, "setpgid"):
        # Ctrl-C is for the one who started this, who ends it. A group and no session: Linux may give every session the
        # same weight (autogroups), and niceness counts within one.
        os.setpgid(0, 0)
    if sys.platform == "linux":
        from locum.sandbox.linux import die_with_parent

        die_with_parent(signal.SIGKILL)
        if os.getppid() != int(sys.argv[1]):
            return None  # it has died meanwhile
    said = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, said


def say(to: asyncio.StreamWriter | BinaryIO, message: bytes) -> None:
    """Write a message; the caller drains or flushes."""
    to.write(_LENGTH.pack(len(message)))
    to.write(message)


async def hear(source: asyncio.StreamReader) -> bytes:
    """The next message; IncompleteReadError at the end."""
    (length,) = _LENGTH.unpack(await source.readexactly(_LENGTH.size))
    return await source.readexactly(length)


def read(source: BinaryIO) -> bytes | None:
    """The same for who has nothing else to do: None at the end."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    message = source.read(length)
    return message if len(message) == length else None
