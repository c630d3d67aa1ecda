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
import re
import signal
import socket
import sys
import tempfile
import traceback
import types
import warnings
from pathlib import Path
from typing import Any, NoReturn, Protocol

from locum.sandbox import jail, linux

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


class Shell(Protocol):
    """Runs one cell; everything to be seen goes to standard output and error. Returns the exception's name, if any."""

    def run(self, code: str) -> str | None: ...

    def rehearse(self) -> None:
        """Do what every cell does and leave no trace. After a fork, the first to write to a page has it copied."""


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
            show_figures()
        except SystemExit as leave:
            sys.stdout.write(left(leave))
            return "SystemExit"
        except BaseException as error:
            own = error.__traceback__
            while own and own.tb_frame.f_code.co_filename in (__file__, ast.__file__):
                own = own.tb_next
            text = "".join(traceback.format_exception(type(error), error, own))
            sys.stderr.write(jail.forget_host_paths(text) + hint(error))
            return type(error).__name__
        return None

    def rehearse(self) -> None:
        compile("pass", "", "exec")

    def _execute(self, code: str, name: str) -> None:
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._evaluate(compile(tree, name, "exec", flags))
        if isinstance(last, ast.Expr):
            value = self._evaluate(compile(ast.Expression(last.value), name, "eval", flags))
            if value is not None:
                self._display(value)

    def _display(self, value: Any) -> None:
        figures = sys.modules.get("locum.sandbox.figures")
        if figures and isinstance(value, figures.Figure):
            save_image(figures.take(value))
        elif hasattr(type(value), "_repr_png_") and isinstance(png := value._repr_png_(), bytes):
            save_image(png)
        else:
            sys.stdout.write(f"{value!r}\n")

    def _evaluate(self, code: types.CodeType) -> Any:
        value = eval(code, self._module.__dict__)  # noqa: S307
        return asyncio.run(value) if code.co_flags & 0x80 else value  # 0x80: the cell awaits something


def left(leave: SystemExit) -> str:
    """What a cell says that ended with `exit()` or `sys.exit()`."""
    code = "" if leave.code is None else f": {leave.code}"
    return f"SystemExit{code}\nThe cell ended here. The session goes on, with its variables.\n"


def hint(error: BaseException) -> str:
    """What the model should know about an error that no change of its code's details will mend; "" for all others."""
    if wants_network(error):
        return "[There is no network access in this sandbox. Work with the files in /mnt/data.]\n"
    if isinstance(error, ModuleNotFoundError):
        return f"[{jail.no_internet()}]\n"
    if isinstance(error, EOFError) and "when reading a line" in str(error):
        return "[Nobody can type anything into a cell: write the value into the code instead.]\n"
    return ""


def wants_network(error: BaseException | None) -> bool:
    """Whether a name that could not be looked up, or a socket that could not be had, is at the bottom of it."""
    for _ in range(20):
        if error is None:
            return False
        if isinstance(error, socket.gaierror):
            return True
        if isinstance(error, PermissionError) and any(
            frame.f_code.co_filename == socket.__file__ for frame, _ in traceback.walk_tb(error.__traceback__)
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def save_image(png: bytes) -> None:
    """Leave an image where the host looks for it after the cell; the numbers keep the order."""
    folder = Path(jail.here().images)
    number = sum(1 for _ in folder.iterdir()) + 1
    (folder / f"image-{number}.png").write_bytes(png)


def show_figures() -> None:
    """Every open figure becomes an image and is closed, as at the end of a notebook's cell."""
    if figures := sys.modules.get("locum.sandbox.figures"):
        figures.show()


def make_shell() -> Shell:
    """The best one for what this interpreter has. What is there and does not fit is told to sandboxd's log."""
    try:
        from locum.sandbox import figures

        figures.prepare()
    except ImportError:
        pass
    except Exception:
        traceback.print_exc()
    try:
        from locum.sandbox.notebook import NotebookShell

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
    sys.argv = [""]
    sys.path[:] = [path for path in sys.path if path and os.path.isdir(path)]  # noqa: PTH112


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
