"""Execute cells: variables stay, the last expression is shown, figures become images.

Covered: nothing here protects anybody. The code of a cell shares this process and can do to it what it likes.
"""

from __future__ import annotations

import ast
import asyncio
import linecache
import socket
import sys
import traceback
import types
from pathlib import Path
from typing import Any, Protocol

from locum.sandbox.isolation import jail


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
        figures = sys.modules.get("locum.sandbox.inside.figures")
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
    """Return the output of a cell that ended with `exit()` or `sys.exit()`."""
    code = "" if leave.code is None else f": {leave.code}"
    return f"SystemExit{code}\nThe cell ended here. The session goes on, with its variables.\n"


def hint(error: BaseException) -> str:
    """Return advice to the model on an error that no change of its code's details will mend; "" for all others."""
    if wants_network(error):
        return "[There is no network access in this sandbox. Work with the files in /mnt/data.]\n"
    if isinstance(error, ModuleNotFoundError):
        return f"[{jail.no_internet()}]\n"
    if isinstance(error, EOFError) and "when reading a line" in str(error):
        return "[Nobody can type anything into a cell: write the value into the code instead.]\n"
    return ""


def wants_network(error: BaseException | None) -> bool:
    """Return True if the error was caused by a failed name lookup or a forbidden socket."""
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
    if figures := sys.modules.get("locum.sandbox.inside.figures"):
        figures.show()
