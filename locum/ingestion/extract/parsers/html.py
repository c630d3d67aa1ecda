"""HTML: the title and what a reader sees, a block to a line, without a tree of the page in memory.

Headings, items and rows are written as in Markdown. libxml2 tells element after element (as it mends what is broken),
so that what is kept is one line and a depth, however the elements are nested.
"""

from __future__ import annotations

import re
from pathlib import Path

from lxml import etree

from locum.documents.text import Text
from locum.ingestion.extract.parsers.refusal import CannotParse
from locum.ingestion.extract.parsers.text import decode, pieces

MOST_DEPTH = 2000
"""Finding the element that an end tag belongs to takes time by the depth."""
_DECLARED = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{1,40})""", re.IGNORECASE)
_DECLARED_WITHIN = 4096
_UNSEEN = frozenset(("script", "style", "noscript", "template", "svg", "iframe", "object", "canvas", "audio", "video"))
_BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "div"),
        *("dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "legend", "li"),
        *("main", "menu", "nav", "ol", "option", "p", "pre", "section", "select", "summary", "table", "tbody"),
        *("tfoot", "thead", "title", "tr", "ul", "h1", "h2", "h3", "h4", "h5", "h6"),
    )
)
_CELLS = ("td", "th")


def parse(path: str, text: Text) -> None:
    data = Path(path).read_bytes()
    declared = _DECLARED.search(data[:_DECLARED_WITHIN])
    markup = decode(data, declared[1].decode() if declared else None).replace("\0", "")
    if not markup.strip():
        return
    parser = etree.HTMLParser(target=_Page(text))
    for piece in pieces(markup):
        parser.feed(piece)
    parser.close()


class _Page:
    """Told of every start and end of an element and of what is between them."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._line: list[str] = []
        self._mark = ""
        self._depth = 0
        self._unseen = 0
        self._verbatim = 0
        self._cells = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise CannotParse(f"The page has elements nested more than {MOST_DEPTH} deep.")
        if self._unseen or tag in _UNSEEN:
            self._unseen += 1
        elif tag in _CELLS:
            self._cells += 1
            if self._line:
                self._line.append(" | ")
        elif tag == "br":
            self._line.append("\n" if self._verbatim else " ")
            self._end_block(tag)
        elif tag in _BLOCKS:
            self._end_block(tag)
            self._verbatim += tag == "pre"
            self._mark = _mark(tag) or self._mark

    def end(self, tag: str) -> None:
        self._depth -= 1
        if self._unseen:
            self._unseen -= 1
        elif tag in _CELLS:
            self._cells = max(0, self._cells - 1)
        elif tag in _BLOCKS:
            self._end_block(tag)
            if tag == "pre":
                self._verbatim = max(0, self._verbatim - 1)
            if _mark(tag):
                self._mark = ""

    def data(self, data: str) -> None:
        if not self._unseen:
            self._line.append(data)

    def close(self) -> None:
        self._end_line()

    def _end_block(self, tag: str) -> None:
        """In a cell of a table, only another row ends the line."""
        if self._cells and tag not in ("tr", "table"):
            self._line.append(" ")
        elif not (self._verbatim and tag == "br"):
            self._end_line()

    def _end_line(self) -> None:
        line = "".join(self._line)
        self._line.clear()
        if not self._verbatim:
            line = " ".join(line.split())
        if line.strip():
            self._text.add(f"{self._mark}{line.rstrip()}\n")
            self._mark = ""


def _mark(tag: str) -> str:
    if tag in ("h1", "title"):
        return "# "
    if tag[0] == "h" and tag[1:].isdigit():
        return f"{'#' * int(tag[1:])} "
    return "- " if tag == "li" else ""
