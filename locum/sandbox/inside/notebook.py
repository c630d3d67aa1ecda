"""The shell of a session: IPython without its terminal, history and colours, showing what a notebook would show.

Covered: nothing; see `shell`. Not covered: HTML, SVG and LaTeX as such; text and PNG are what an assistant's thread
can hold, so of what shows itself as a page only the words are shown.
"""

from __future__ import annotations

import base64
import inspect
import io
import os
import re
import subprocess
import sys
import traceback
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

from IPython.core.autocall import ExitAutocall
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.formatters import DisplayFormatter
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

from locum.sandbox.inside import shell
from locum.sandbox.isolation import jail

_WARM_UP = (
    "import json, math, re, datetime, collections\nx = 1 + 1\nx",
    "def f(n):\n    return n / 0\nf(1)",
    "an_undefined_name",
    """
import io
import numpy as np, pandas as pd
rows = "date,region,amount\\n2024-01-01,서울,3.5\\n2024-02-01,부산,4\\n2024-02-03,서울,\\n"
sales = pd.read_csv(io.StringIO(rows), parse_dates=["date"])
sales.info()
print(sales.describe(), sales.isna().sum(), sales.dtypes)
sales["amount"] = sales["amount"].fillna(0).astype(float)
sales["month"] = sales["date"].dt.strftime("%Y-%m")
sales["region"] = sales["region"].str.strip().replace({"서울": "Seoul"})
months = sales.groupby("month")["amount"].agg(["sum", "mean"]).sort_values("sum", ascending=False)
sales.pivot_table(index="month", columns="region", values="amount", aggfunc="sum", fill_value=0)
sales.merge(months, left_on="month", right_index=True).to_csv(io.StringIO(), index=False)
sales.set_index("date")["amount"].resample("MS").sum().rolling(2).mean()
sales[sales["amount"] > 1].drop_duplicates().value_counts("region")
np.random.default_rng().normal(size=10)
sales
""",
    """
book = io.BytesIO()
with pd.ExcelWriter(book) as writer:
    sales.to_excel(writer, sheet_name="sales", index=False)
pd.read_excel(book)
""",
    """
import matplotlib.pyplot as plt
figure, axes = plt.subplots(figsize=(6, 4))
axes.plot(sales["date"], sales["amount"], marker="o", label="매출 漢字 かな $x^2$")
axes.bar(sales["date"], [1, -2, 3], alpha=0.5)
axes.annotate("1", (sales["date"][0], 1))
axes.set(title="Amount", xlabel="date", ylabel="amount")
axes.tick_params(axis="x", rotation=45)
axes.grid(True)
axes.legend()
plt.tight_layout()
plt.show()
months["sum"].plot.bar(title="months")
""",
)
"""Whatever is slow the first time. What it costs here, once, is saved in every session."""
_REHEARSED = "import numpy as np, pandas as pd, matplotlib.pyplot as plt\nstr(np.arange(4).sum())"
_MEANT = (None, "ZeroDivisionError", "NameError", "ModuleNotFoundError")  # the last: this interpreter is without it


def show(data: dict[str, Any]) -> None:
    image = next((data[kind] for kind in ("image/png", "image/jpeg", "image/gif") if kind in data), None)
    if image is not None:
        shell.save_image(_as_png(base64.b64decode(image) if isinstance(image, str) else image))
    elif "text/plain" in data:
        sys.stdout.write(f"{data['text/plain']}\n")


def _as_png(image: bytes) -> bytes:
    if image.startswith(b"\x89PNG"):
        return image
    from PIL import Image

    picture = Image.open(io.BytesIO(image))
    buffer = io.BytesIO()
    (picture.convert("RGB") if picture.mode == "CMYK" else picture).save(buffer, "PNG")
    return buffer.getvalue()


class _Formatter(DisplayFormatter):
    """Objects that show themselves to a browser only, such as HTML, Markdown or a styled table, are put into words."""

    _POINTLESS = re.compile(r"<[\w.]+(?: object)?(?: at 0x[0-9a-f]+)?>")
    _MARKUP = (("text/markdown", "_repr_markdown_"), ("text/latex", "_repr_latex_"), ("text/html", "_repr_html_"))

    def format(self, obj: Any, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = cast(Any, super()).format(obj, include=include, exclude=exclude)
        if any(kind.startswith("image/") for kind in data):
            return data, metadata
        if hasattr(type(obj), "_repr_jpeg_"):  # a picture that PNG has no colours for
            data["image/jpeg"] = obj._repr_jpeg_()
        elif self._POINTLESS.fullmatch(data.get("text/plain", "")):
            data["text/plain"] = self._in_words(obj, data) or data["text/plain"]
        return data, metadata

    def _in_words(self, obj: Any, data: dict[str, Any]) -> str:
        for kind, method in self._MARKUP:
            source = data.get(kind)
            if source is None and hasattr(type(obj), method):
                source = getattr(obj, method)()
            if isinstance(source, str):
                return source if kind != "text/html" else _words(source) or _only_a_page(obj)
        return ""


def _only_a_page(obj: object) -> str:
    return (
        f"[{type(obj).__name__}: only a browser can show this. To give it to the user, write it to a file in /mnt/data "
        "(it may have a method such as to_html, write_html or save), or draw it with matplotlib.]"
    )


def _words(html: str) -> str:
    reader = _Words()
    reader.feed(html)
    lines = (re.sub(r" *\t *", "\t", line).strip() for line in "".join(reader.said).splitlines())
    return "\n".join(line for line in lines if line)


class _Words(HTMLParser):
    """The text that a page shows; cells of a table are set apart by tabs."""

    _SILENT = ("script", "style", "head", "svg", "template")
    _ENDS_A_LINE = ("tr", "p", "div", "li", "h1", "h2", "h3", "h4", "pre", "caption")

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._silent += tag in self._SILENT
        if tag == "br":
            self.said.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in self._SILENT
        if tag in ("td", "th"):
            self.said.append("\t")
        elif tag in self._ENDS_A_LINE:
            self.said.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.said.append(re.sub(r"\s+", " ", data))


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


class _Leave(ExitAutocall):
    """`exit`, `exit()` and `quit(1)` end the cell, not the session."""

    def __call__(self, code: object = None) -> None:
        raise SystemExit(code)


class _Shell(InteractiveShell):
    displayhook_class = Type(_Result)
    display_pub_class = Type(_Publisher)

    def init_display_formatter(self) -> None:
        self.display_formatter = formatter = cast(Any, _Formatter(parent=self))
        self.configurables.append(formatter)

    def init_user_ns(self) -> None:
        cast(Any, super()).init_user_ns()
        mine = dict.fromkeys(("exit", "quit"), cast(Any, _Leave)(self))
        self.user_ns_hidden.update(mine)
        self.user_ns.update(mine)

    def enable_gui(self, gui: str | None = None) -> None:
        pass

    def enable_matplotlib(self, gui: str | None = None) -> tuple[str, str]:
        """`%matplotlib inline` asks for what is done anyway."""
        return "inline", "inline"

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        if isinstance(evalue, SystemExit):
            text = shell.left(evalue)
        elif shell.wants_network(evalue):  # the way through the libraries is long and tells nothing
            text = f"{_line_of_cell(evalue)}{etype.__name__}: {str(evalue)[:500]}\n"
        else:
            text = self.InteractiveTB.stb2text(stb) + "\n"
        sys.stdout.write(jail.forget_host_paths(text) + shell.hint(evalue))

    def run_in_system(self, command: str) -> None:
        """`!command`: straight into the session's output; the base class would want a terminal."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.user_ns["_exit_code"] = subprocess.run(command, shell=True, check=False).returncode  # noqa: S602

    system = run_in_system


def _line_of_cell(error: BaseException) -> str:
    for frame, line in traceback.walk_tb(error.__traceback__):
        if cell := re.match(r"<ipython-input-(\d+)-", frame.f_code.co_filename):
            return f"Cell In[{cell[1]}], line {line}\n"
    return ""


_module_of = inspect.getmodule


def _module_of_file(thing: Any, _filename: str | None = None) -> Any:
    """Of a cell's own lines there is no module. inspect would go through all of the thousands that are loaded, four
    times for each frame of a traceback: half a minute for an endless recursion."""
    frame = getattr(thing, "tb_frame", thing)
    name = str(_filename or getattr(getattr(frame, "f_code", frame), "co_filename", ""))
    return None if name.startswith("<ipython-input-") else _module_of(thing, _filename)


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
        self._shell.db = {}  # what %cd and others remember; the default is a folder that cannot be written
        self._shell.display_formatter.active_types = ["text/plain", "image/png"]
        for name in ("pip", "conda", "mamba", "micromamba", "uv"):
            self._shell.register_magic_function(_pip, "line", name)
        warnings.filterwarnings("ignore", message="To exit: use")
        warnings.filterwarnings("ignore", message="Output cache limit")  # every 1,000 values; nobody uses Out[n]
        inspect.getmodule = cast(Any, _module_of_file)
        _prepare_tables()
        if figures := sys.modules.get("locum.sandbox.inside.figures"):
            self._shell.display_formatter.formatters["image/png"].for_type(figures.Figure, figures.take)
        self._warm_up()

    def run(self, code: str) -> str | None:
        result = self._shell.run_cell(code, store_history=True, silent=False)
        error = result.error_before_exec or result.error_in_exec
        try:
            shell.show_figures()
        except Exception as failure:  # the figure's own fault: wrong mathtext, no room on the disk
            self._shell.showtraceback()
            error = error or failure
        return None if error is None else type(error).__name__

    def rehearse(self) -> None:
        """With what most first cells do, where it is loaded; in a namespace of its own, so that no name is left."""
        is_loaded = {"numpy", "pandas", "matplotlib.pyplot"} <= sys.modules.keys()
        cell = f"exec({_REHEARSED!r}, {{}})" if is_loaded else "pass"
        self._shell.run_cell(cell, store_history=False, silent=True)

    def _warm_up(self) -> None:
        """The first of everything is slow: do it here, with nobody looking."""
        for folder in (jail.here().images, jail.here().scratch):
            Path(folder).mkdir(parents=True, exist_ok=True)
        kept_out, kept_err = sys.stdout, sys.stderr
        try:
            with Path(os.devnull).open("w") as nowhere:
                sys.stdout = sys.stderr = nowhere
                for cell in _WARM_UP:
                    if (error := self.run(cell)) not in _MEANT:
                        kept_err.write(f"{error} in a cell that warms up: {cell.strip().splitlines()[-1]}\n")
        finally:
            sys.stdout, sys.stderr = kept_out, kept_err
        self._shell.reset(new_session=True)
        self._shell.execution_count = 1


def _pip(line: str) -> None:
    """Says why `%pip install` cannot work, in the words the model needs to go on."""
    sys.stdout.write(jail.no_internet() + "\n")


def _prepare_tables() -> None:
    """As wide as a notebook shows them, and with columns that stand below each other in Korean too."""
    if "pandas" in sys.modules:
        set_option = sys.modules["pandas"].set_option
        set_option("display.max_columns", 20)
        set_option("display.width", 120)
        set_option("display.unicode.east_asian_width", True)
