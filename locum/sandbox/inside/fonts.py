"""Letters for every script: which fonts there are for Chinese, Japanese and Korean, and that every figure uses them.

Covered: nothing; see `shell`. Not covered: other scripts than those matplotlib's own DejaVu Sans and these fonts have;
text in pictures that are drawn without matplotlib.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from matplotlib import font_manager, get_cachedir
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_pdf import RendererPdf
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.font_manager import FontProperties

SCRIPTS = {"Korean": "한글", "Japanese": "かカ", "Chinese": "汉漢"}
"""Scripts that matplotlib brings no font for, and letters that a font for them has."""

_FAMILIES = (
    "Noto Sans CJK KR",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans KR",
    "Noto Sans JP",
    "Noto Sans SC",
    "Source Han Sans",
    "Source Han Sans KR",
    "NanumGothic",
    "Nanum Gothic",
    "Malgun Gothic",
    "IPAexGothic",
    "VL Gothic",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "UnDotum",
    "Baekmuk Dotum",
    "Unifont",
)
"""Best first. A figure takes each letter from the first font that has it."""
_PACKAGES = (
    "noto_cjk_sans_otc",
    "koreanize_matplotlib",
    "japanize_matplotlib",
    "matplotlib_fontja",
    "manimgx_fonts_cjk",
)
"""Packages of PyPI that carry such fonts."""


_LETTERS = re.compile("[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef]")

_drawn: list[str] = []


def prepare() -> None:
    """Every text of every figure takes letters it lacks from the fonts found here, whatever family is chosen for it."""
    manager = font_manager.fontManager
    _bring_up_to_date(manager)
    families = []
    for name in _installed(manager):
        if scripts := [script for script in _scripts_of(name) if script not in _drawn]:
            families.append(name)
            _drawn.extend(scripts)
    if families:
        _lend(families)
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # about fonts that others stand in for


def drawn() -> list[str]:
    """The scripts of SCRIPTS that figures have letters for."""
    return [script for script in SCRIPTS if script in _drawn]


def _bring_up_to_date(manager: Any) -> None:
    """matplotlib trusts its list for ever: a font that was installed after the list was made would never be found."""
    there = {*font_manager.findSystemFonts(font_manager.X11FontDirectories), *_packaged()}
    known = {font.fname for font in manager.ttflist}
    gone = {name for name in known if not Path(name).exists()}
    manager.ttflist[:] = [font for font in manager.ttflist if font.fname not in gone]
    for path in sorted(there - known):
        try:
            manager.addfont(path)
        except Exception:  # noqa: S112  a broken font is nobody's trouble here
            continue
    if gone or there - known:
        font_manager.json_dump(manager, Path(get_cachedir()) / f"fontlist-v{manager.__version__}.json")


def _packaged() -> Iterator[str]:
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield from (str(path) for path in Path(folder).rglob("*.[to]t[fc]"))


def _installed(manager: Any) -> list[str]:
    there = {font.name for font in manager.ttflist}
    return [name for name in _FAMILIES if name in there]


def _scripts_of(family: str) -> list[str]:
    font = font_manager.get_font(font_manager.findfont(FontProperties(family=[family])))
    return [script for script, letters in SCRIPTS.items() if all(font.get_char_index(ord(each)) for each in letters)]


def _lend(families: list[str]) -> None:
    """Styles, seaborn and code replace the families of fonts as they like. What they cannot get around is where a text
    and its font are handed to be measured and drawn: there, and only for texts that need it (opening a font of 65,000
    letters takes a session 10 ms and 8 MiB), further families are put behind the chosen ones."""

    def lent(chosen: FontProperties, text: str) -> FontProperties:
        more = chosen.copy()
        named = list(chosen.get_family())
        # A formula's words (also `$` twice, in a sum of money) are drawn with the first font alone.
        more.set_family([*families, *named] if text.count("$") > 1 else [*named, *families])
        return more

    def lending(method: Callable[..., Any]) -> Callable[..., Any]:
        def with_letters(*args: Any, **kwargs: Any) -> Any:
            text = next((value for value in args if isinstance(value, str)), "")
            if _LETTERS.search(text):
                args = tuple(lent(value, text) if isinstance(value, FontProperties) else value for value in args)
            return method(*args, **kwargs)

        return with_letters

    for drawing in (RendererAgg, RendererPdf, RendererSVG):
        for name in ("draw_text", "get_text_width_height_descent"):
            setattr(drawing, name, lending(getattr(drawing, name)))
