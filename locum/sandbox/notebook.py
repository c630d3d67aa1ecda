"""The shell of a session: IPython without its terminal, history and colours, showing what a notebook would show.

Covered: nothing; see `runner`. Not covered: HTML, SVG and LaTeX representations; text and PNG are what an assistant's
thread can hold.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, cast

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

from locum.sandbox import jail

_WARM_UP = (
    "import json, math, re, datetime, collections\nx = 1 + 1\nx",
    "def f(n):\n    return n / 0\nf(1)",
    "import pandas as pd, io\npd.read_csv(io.StringIO('a,b\\n1,2\\n3,4')).describe()",
    "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2], [3, 4], label='a')\n"
    "ax.hist([1, 2, 2])\nax.set_title('title')\nax.legend()\nplt.tight_layout()\nplt.show()",
)
# In front of these, matplotlib's own DejaVu Sans, which has no Chinese, Japanese or Korean.
_CJK_FONTS = (
    "Noto Sans CJK KR",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "NanumGothic",
    "Malgun Gothic",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "IPAexGothic",
    "UnDotum",
)


def save_image(png: bytes) -> None:
    """Leave an image where the host looks for it after the cell; the numbers keep the order."""
    folder = Path(jail.here().images)
    number = sum(1 for _ in folder.iterdir()) + 1
    (folder / f"image-{number}.png").write_bytes(png)


def show(data: dict[str, Any]) -> None:
    png = data.get("image/png")
    if isinstance(png, bytes):
        save_image(png)
    elif "text/plain" in data:
        sys.stdout.write(f"{data['text/plain']}\n")


class _Result(DisplayHook):
    """The last expression, without `Out[1]:`."""

    def write_output_prompt(self) -> None:
        pass

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        show(format_dict)

    def finish_displayhook(self) -> None:
        sys.stdout.flush()


class _Publisher(DisplayPublisher):
    """What `display()` is given."""

    def publish(self, data: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        show(data)

    def clear_output(self, wait: bool = False) -> None:
        pass


class _Shell(InteractiveShell):
    displayhook_class = Type(_Result)
    display_pub_class = Type(_Publisher)

    def enable_gui(self, gui: str | None = None) -> None:
        pass

    def enable_matplotlib(self, gui: str | None = None) -> tuple[str, str]:
        """`%matplotlib inline` asks for what is done anyway."""
        return "inline", "inline"

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        sys.stdout.write(jail.forget_host_paths(self.InteractiveTB.stb2text(stb)) + "\n")

    def run_in_system(self, command: str) -> None:
        """`!command`: straight into the session's output; the base class would want a terminal."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.user_ns["_exit_code"] = subprocess.run(command, shell=True, check=False).returncode  # noqa: S602

    system = run_in_system


class NotebookShell:
    """One IPython, warmed up before the first fork so that no session pays for it."""

    def __init__(self) -> None:
        os.environ["IPYTHONDIR"] = f"{os.environ['XDG_CACHE_HOME']}/ipython"
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        config.InteractiveShell.xmode = "Context"
        config.InteractiveShell.autocall = 0
        self._shell = cast(Any, _Shell.instance(config=config))
        formatter = self._shell.display_formatter
        formatter.active_types = ["text/plain", "image/png"]
        for name in ("pip", "conda"):
            self._shell.register_magic_function(_pip, "line", name)
        warnings.filterwarnings("ignore", message="To exit: use")
        _prepare_figures(self._shell)
        self._warm_up()

    def run(self, code: str) -> str | None:
        result = self._shell.run_cell(code, store_history=True, silent=False)
        error = result.error_before_exec or result.error_in_exec
        try:
            show_figures()
        except Exception as failure:  # the figure's own fault: wrong mathtext, no room on the disk
            self._shell.showtraceback()
            error = error or failure
        return None if error is None else type(error).__name__

    def _warm_up(self) -> None:
        """The first of everything is slow: do it here, with nobody looking."""
        Path(jail.here().images).mkdir(parents=True, exist_ok=True)
        kept_out, kept_err = sys.stdout, sys.stderr
        try:
            with Path(os.devnull).open("w") as nowhere:
                sys.stdout = sys.stderr = nowhere
                for cell in _WARM_UP:
                    self.run(cell)
        finally:
            sys.stdout, sys.stderr = kept_out, kept_err
        self._shell.reset(new_session=True)
        self._shell.execution_count = 1


def _pip(line: str) -> None:
    """Says why `%pip install` cannot work, in the words the model needs to go on."""
    sys.stdout.write(jail.no_internet() + "\n")


def _prepare_figures(shell: Any) -> None:
    """PNG for a figure that is a cell's last expression, and letters for every language the machine has a font for."""
    try:
        import matplotlib as mpl
        from matplotlib import font_manager
        from matplotlib.figure import Figure

        from locum.sandbox import figures
    except ImportError:
        return
    mpl.use("module://locum.sandbox.figures")
    shell.display_formatter.formatters["image/png"].for_type(Figure, figures.take)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    mpl.rcParams["font.family"] = ["DejaVu Sans", *(name for name in _CJK_FONTS if name in installed)]
    mpl.rcParams["axes.unicode_minus"] = False


def show_figures() -> None:
    """Every open figure becomes an image and is closed, as at the end of a notebook's cell."""
    if "locum.sandbox.figures" in sys.modules:
        sys.modules["locum.sandbox.figures"].show()
