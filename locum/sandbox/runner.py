"""Runs cells inside a session as a notebook does: variables stay, the last expression is shown, figures are saved.

Covered: nothing here protects anybody. The code of a cell shares this process and can do to it what it likes; whoever
listens on the other end of the channel treats each byte as hostile.

Not covered: background threads and child processes of a cell are left alone; the host stops them when the cell ends.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import json
import linecache
import os
import random
import signal
import socket
import sys
import traceback
import types
import warnings
from typing import Any, NoReturn, Protocol

from locum.sandbox import jail, linux

_MESSAGE_BYTES = 256 * 1024
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "USER": "sandbox",
    "MPLBACKEND": "Agg",
    "PIP_NO_INDEX": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Shell(Protocol):
    """Runs one cell; everything to be seen goes to standard output and error. Returns the exception's name, if any."""

    def run(self, code: str) -> str | None: ...


class PlainShell:
    """For an interpreter without IPython, and for the boot probe, which must not wait for it."""

    def __init__(self) -> None:
        self._module = types.ModuleType("__main__")
        self._count = 0

    def run(self, code: str) -> str | None:
        self._count += 1
        name = f"Cell In[{self._count}]"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        try:
            self._execute(code, name)
        except SystemExit as leave:
            sys.stdout.write(f"SystemExit: {leave}\n")
            return "SystemExit"
        except BaseException as error:
            own = error.__traceback__
            while own and own.tb_frame.f_code.co_filename in (__file__, ast.__file__):
                own = own.tb_next
            text = "".join(traceback.format_exception(type(error), error, own))
            sys.stderr.write(jail.forget_host_paths(text))
            return type(error).__name__
        return None

    def _execute(self, code: str, name: str) -> None:
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._evaluate(compile(tree, name, "exec", flags))
        if isinstance(last, ast.Expr):
            value = self._evaluate(compile(ast.Expression(last.value), name, "eval", flags))
            if value is not None:
                sys.stdout.write(f"{value!r}\n")

    def _evaluate(self, code: types.CodeType) -> Any:
        value = eval(code, self._module.__dict__)  # noqa: S307
        return asyncio.run(value) if code.co_flags & 0x80 else value  # 0x80: the cell awaits something


def make_shell() -> Shell:
    try:
        from locum.sandbox.notebook import NotebookShell
    except ImportError:
        return PlainShell()
    return NotebookShell()


def open_text_streams() -> None:
    """Line by line, so that a long cell is seen while it runs; never an error about what cannot be encoded."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        raw = io.BufferedWriter(io.FileIO(fd, "w", closefd=False))
        stream = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


class _Interrupts:
    """SIGINT ends the cell that runs, and is nothing between two cells."""

    def __init__(self) -> None:
        self.armed = False

    def __call__(self, number: int, frame: object) -> None:
        if self.armed:
            raise KeyboardInterrupt

    def arm(self) -> None:
        signal.signal(signal.SIGINT, self)  # again before every cell: the last one may have changed it
        self.armed = True


def serve(channel: socket.socket, shell: Shell) -> NoReturn:
    """Obey until the other end goes away."""
    _settle()
    interrupts = _Interrupts()
    signal.signal(signal.SIGINT, interrupts)
    code = ""
    while data := channel.recv(_MESSAGE_BYTES):
        message = json.loads(data)
        code += message["code"]
        if message["more"]:
            continue
        error = _run(shell, code, interrupts)
        code = ""
        channel.send(json.dumps({"id": message["id"], "error": error}).encode())
    os._exit(0)


def _run(shell: Shell, code: str, interrupts: _Interrupts) -> str | None:
    error: str | None = "KeyboardInterrupt"
    try:
        interrupts.arm()
        error = shell.run(code)
        interrupts.armed = False
    except KeyboardInterrupt:
        interrupts.armed = False
        with contextlib.suppress(Exception):
            sys.stderr.write("KeyboardInterrupt\n")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    linux.flush_stdio()
    return error


def _settle() -> None:
    """What must not be the same in every session, and what the zygote's environment lacks."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    place = jail.here()
    os.environ.update(_ENVIRONMENT, HOME=place.scratch, TMPDIR=place.scratch)
    os.environ["MPLCONFIGDIR"] = f"{place.scratch}/matplotlib"
    binaries = os.path.dirname(sys.executable)  # noqa: PTH120
    os.environ["PATH"] = f"{place.tools}:{binaries}:/usr/local/bin:/usr/bin:/bin"
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    warnings.formatwarning = _format_warning
    sys.argv = [""]
    sys.path[:] = ["", *(path for path in sys.path if path and os.path.isdir(path))]  # noqa: PTH112


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return jail.forget_host_paths(f"{filename}:{lineno}: {category.__name__}: {message}\n")
