"""Letters for every script: which fonts there are for Chinese, Japanese and Korean, and that every figure uses them.

Covered: nothing; see `runner`. Not covered: other scripts than those matplotlib's own DejaVu Sans and these fonts have;
text in pictures that are drawn without matplotlib.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib import font_manager, get_cachedir
from matplotlib.mathtext import MathTextParser

SCRIPTS = {"Korean": "한글", "Japanese": "かカ", "Chinese": "汉漢"}
"""Scripts that matplotlib brings no font for, and letters that a font for them has."""

_OWN = "DejaVu Sans"
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
    """Every text of every figure falls back on the fonts found here, whatever a style, seaborn or the code chooses."""
    manager = font_manager.fontManager
    _bring_up_to_date(manager)
    families = [_OWN]
    for name in _installed(manager):
        if scripts := [script for script in _scripts_of(name) if script not in _drawn]:
            families.append(name)
            _drawn.extend(scripts)
    _fall_back_on(families)
    if _drawn:
        _mix_with_formulas(families[1])
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
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties(family=[family])))
    return [script for script, letters in SCRIPTS.items() if all(font.get_char_index(ord(each)) for each in letters)]


def _fall_back_on(families: list[str]) -> None:
    """`set_theme`, `style.use` and `rcParams` replace the families; what every text's font passes is this setter."""
    properties: Any = font_manager.FontProperties
    set_family = properties.set_family

    def set_family_and_more(self: Any, family: str | Sequence[str] | None) -> None:
        set_family(self, family)
        named = list(self.get_family())
        set_family(self, [*named, *(name for name in families if name not in named)])

    properties.set_family = properties.set_name = set_family_and_more


def _mix_with_formulas(family: str) -> None:
    """A text with a formula (also `$` twice, in a sum of money) takes all other letters from one font only."""
    parser: Any = MathTextParser
    parse = parser.parse

    def parse_with_letters(self: Any, s: str, dpi: float = 72, prop: Any = None, **options: Any) -> Any:
        if prop is not None and _LETTERS.search(s):
            prop = prop.copy()
            prop.set_family([family])
        return parse(self, s, dpi, prop, **options)

    parser.parse = parse_with_letters
