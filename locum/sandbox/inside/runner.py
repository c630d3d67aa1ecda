"""Runs cells inside a session as a notebook does: variables stay, the last expression is shown, figures are saved.

Covered: nothing here protects anybody. The code of a cell shares this process and can do to it what it likes; whoever
listens on the other end of the channel treats each byte as hostile.

Not covered: background threads and child processes of a cell are left alone; the host stops them when the cell ends.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import signal
import socket
import sys
import tempfile
import traceback
import warnings
from typing import Any, NoReturn

from locum.sandbox.inside.shell import PlainShell, Shell
from locum.sandbox.isolation import jail, linux

_MESSAGE_BYTES = 256 * 1024
_NICENESS = 10
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
_MISSING_GLYPH = re.compile(r"Glyph (\d+) \(.*\) missing from ")
_CELL_FILE = re.compile(r"<ipython-input-(\d+)-\w+>")
_NO_FONT = (
    "[No font on this server has letters such as {}: the figure shows boxes in their place. Draw it again with labels "
    "in English, and tell the user that the server's owner can add a font; `locum doctor` says how.]\n"
)


def make_shell() -> Shell:
    """The best one for what this interpreter has. What is there and does not fit is told to sandboxd's log."""
    try:
        from locum.sandbox.inside import figures

        figures.prepare()
    except ImportError:
        pass
    except Exception:
        traceback.print_exc()
    try:
        from locum.sandbox.inside.notebook import NotebookShell

        return NotebookShell()
    except ImportError:
        pass
    except Exception:
        traceback.print_exc()
    return PlainShell()


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


def prepare() -> None:
    """What is the same in every session, done before the fork."""
    os.environ.update(_ENVIRONMENT)
    warnings.formatwarning = _Warnings()
    # Code that chose matplotlib's Agg itself calls `plt.show()` all the same; its figures are taken when the cell ends.
    warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
    sys.breakpointhook = lambda *args, **kwargs: None  # nobody is there to step on
    if sys.version_info >= (3, 14):
        fork_by_default()
    sys.argv = [""]
    sys.path[:] = [path for path in sys.path if path and os.path.isdir(path)]  # noqa: PTH112


def fork_by_default() -> None:
    """Let multiprocessing fork unless a cell chooses another start method.

    Python 3.14 prefers forkserver, which needs a socket, and sessions are refused sockets. `set_start_method` would
    not do: a cell that calls it afterwards gets an error.
    """
    import multiprocessing.context

    default: Any = multiprocessing.context._default_context
    default._default_context = multiprocessing.get_context("fork")


def serve(channel: socket.socket, shell: Shell, *, spare: bool) -> NoReturn:
    """Obey until the other end goes away. A spare session has time to rehearse; for another somebody waits."""
    _settle()
    if spare:
        shell.rehearse()
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
    # Sixty busy processes of a session, and the server is still answering. What sandboxd has of it, a session has too.
    os.nice(max(0, _NICENESS - os.nice(0)))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    place = jail.here()
    for name in [name for name in os.environ if name not in _ENVIRONMENT]:
        del os.environ[name]
    # One by one: `update` asks what a mapping is, and the answer is written to 200 pages, each then copied.
    os.environ["HOME"] = os.environ["TMPDIR"] = place.scratch
    os.environ["MPLCONFIGDIR"] = f"{place.scratch}/matplotlib"
    modules = os.environ["PYTHONPATH"] = f"{place.tools}/{jail.MODULES}"
    binaries = os.path.dirname(sys.executable)  # noqa: PTH120
    os.environ["PATH"] = f"{place.tools}:{binaries}:/usr/local/bin:/usr/bin:/bin"
    tempfile.tempdir = None  # the zygote's may have been asked for, and remembered
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    sys.path[:0] = ["", modules]


class _Warnings:
    """How a warning is written: without host paths, and without a line for every letter that no font has."""

    def __init__(self) -> None:
        self._told = False

    def __call__(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if missing := _MISSING_GLYPH.match(str(message)):
            told, self._told = self._told, True
            return "" if told else _NO_FONT.format(chr(int(missing[1])))
        place = _CELL_FILE.sub(r"Cell In[\1]", filename)
        return jail.forget_host_paths(f"{place}:{lineno}: {category.__name__}: {message}\n")
