"""Word: paragraphs, headings, items, rows of tables and notes, in the order of the document.

Headings, items and rows are written as in Markdown, notes where they are referred to. Left out: headers and footers,
comments, what was deleted or moved away in tracked changes.
"""

from __future__ import annotations

import re

from locum.documents.text import Text
from locum.ingestion.extract.parsers.package import Elements, Package, attribute

_UNSEEN = frozenset(("Fallback", "moveFrom", "del", "pPrChange", "rPrChange", "instrText"))
"""`Fallback` repeats what is before it for older programs."""
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_NOTES = {"footnoteReference": "footnotes", "endnoteReference": "endnotes"}
_DEEPEST_HEADING = 6
_BODY_TEXT = 9  # the outline's number for what is no heading


def parse(package: Package, main: str, text: Text) -> None:
    parts = {link.kind: link.part for link in package.links(main).values()}
    styles = _Styles()
    if package.has(parts.get("styles", "")):
        package.read(parts["styles"], styles)
    notes: dict[tuple[str, str], str] = {}
    for kind in _NOTES.values():
        if package.has(parts.get(kind, "")):
            package.read(parts[kind], _NoteTexts(kind, notes))
    package.read(main, _Body(text, styles, notes))


class _Styles(Elements):
    """By the id of a style: the level of its headings, from 1, and whether its paragraphs are items of a list."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: dict[str, int] = {}
        self.items: set[str] = set()
        self._style = ""

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        value = attribute(attributes, "val") or ""
        match name:
            case "style":
                self._style = attribute(attributes, "styleId") or ""
            case "name" if value.lower() == "title":
                self.levels[self._style] = 1
            case "name" if found := _HEADING.fullmatch(value):
                self.levels[self._style] = int(found[1])
            case "outlineLvl" if level := _level(value):
                self.levels.setdefault(self._style, level)
            case "numPr" if self._style not in self.levels:
                self.items.add(self._style)


def _level(outline: str) -> int:
    """Of a heading, from 1; 0 for what is none."""
    return int(outline) + 1 if outline.isdecimal() and int(outline) < _BODY_TEXT else 0


class _NoteTexts(Elements):
    """What footnotes (or endnotes) say, by their ids."""

    def __init__(self, kind: str, notes: dict[tuple[str, str], str]) -> None:
        super().__init__()
        self._kind = kind
        self._notes = notes
        self._note = ""
        self._words: list[str] = []
        self._is_text = False

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        if name in ("footnote", "endnote"):
            self._note, self._words = attribute(attributes, "id") or "", []
        self._is_text = name == "t"

    def data(self, data: str) -> None:
        if self._is_text:
            self._words.append(data)

    def finish(self, name: str) -> None:
        self._is_text = False
        match name:
            case "p":
                self._words.append(" ")
            case "footnote" | "endnote":
                self._notes[self._kind, self._note] = " ".join("".join(self._words).split())


class _Paragraph:
    def __init__(self) -> None:
        self.words: list[str] = []
        self.level = 0
        self.is_item = False
        self.depth = 0

    def __str__(self) -> str:
        words = "".join(self.words).strip()
        if self.level and words:
            return f"{'#' * min(self.level, _DEEPEST_HEADING)} {' '.join(words.split())}"
        return f"{'  ' * min(self.depth, 8)}- {words}" if self.is_item and words else words


class _Body(Elements):
    """Paragraphs may be within one another (text boxes), and tables within cells: all belongs to the last one."""

    unseen = _UNSEEN

    def __init__(self, text: Text, styles: _Styles, notes: dict[tuple[str, str], str]) -> None:
        super().__init__()
        self._text = text
        self._styles = styles
        self._notes = notes
        self._runs = 0
        self._is_text = False
        self._paragraphs: list[_Paragraph] = []
        self._rows: list[list[str]] = []
        self._cells: list[list[str]] = []

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        match name:
            case "p":
                self._paragraphs.append(_Paragraph())
            case "r":
                self._runs += 1
            case "t":
                self._is_text = True
            case "tr":
                self._rows.append([])
            case "tc":
                self._cells.append([])
            case _ if self._paragraphs:
                self._add_to(self._paragraphs[-1], name, attributes)

    def _add_to(self, paragraph: _Paragraph, name: str, attributes: dict[str, str]) -> None:
        value = attribute(attributes, "val") or ""
        match name:
            case "pStyle":
                paragraph.level = self._styles.levels.get(value, 0)
                paragraph.is_item = value in self._styles.items
            case "outlineLvl":
                paragraph.level = paragraph.level or _level(value)
            case "numPr":
                paragraph.is_item = True
            case "ilvl" if value.isdecimal():
                paragraph.depth = int(value)
            case "tab" if self._runs:  # elsewhere it says where tabs lead to
                paragraph.words.append("\t")
            case "br" | "cr":
                paragraph.words.append("\n")
            case "noBreakHyphen":
                paragraph.words.append("-")
            case "footnoteReference" | "endnoteReference":
                note = self._notes.get((_NOTES[name], attribute(attributes, "id") or ""))
                paragraph.words.append(f" ^[{note}]" if note else "")

    def data(self, data: str) -> None:
        if self._is_text and self._paragraphs:
            self._paragraphs[-1].words.append(data)

    def finish(self, name: str) -> None:
        match name:
            case "t":
                self._is_text = False
            case "r":
                self._runs -= 1
            case "p":
                self._tell(str(self._paragraphs.pop()))
            case "tc":
                cell = " ".join(" ".join(self._cells.pop()).split())
                if self._rows:
                    self._rows[-1].append(cell)
            case "tr":
                self._tell(" | ".join(self._rows.pop()))
            case "tbl":
                self._tell("")

    def _tell(self, line: str) -> None:
        if self._cells:
            self._cells[-1].append(line)
        else:
            self._text.add(f"{line}\n")
