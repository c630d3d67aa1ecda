"""PowerPoint: the slides in their order, each a page, with titles, paragraphs, rows of tables, diagrams and notes.

A slide's title is written as a heading in Markdown, its notes follow the slide. Left out: numbers, dates and footers of
slides, what their layouts say, comments.
"""

from __future__ import annotations

from locum.documents.text import Text
from locum.ingestion.extract.parsers.package import Elements, Package, attribute, local
from locum.ingestion.extract.parsers.refusal import CannotParse

MOST_SLIDES = 20_000
_TITLES = ("title", "ctrTitle")
_BY_THE_WAY = ("sldNum", "dt", "ftr", "hdr")


def parse(package: Package, main: str, text: Text) -> None:
    slides = _SlideList()
    package.read(main, slides)
    if len(slides.ids) > MOST_SLIDES:
        raise CannotParse(f"The file has {len(slides.ids)} slides, and at most {MOST_SLIDES} are read.")
    links = package.links(main)
    for slide in (links[each].part for each in slides.ids if each in links):
        text.page()
        if package.has(slide):
            _read_slide(package, slide, text)


def _read_slide(package: Package, slide: str, text: Text) -> None:
    package.read(slide, _Shapes(text))
    others = [link for link in package.links(slide).values() if package.has(link.part)]
    for link in others:
        if link.kind == "diagramData":
            package.read(link.part, _Shapes(text))
    for link in others:
        if link.kind == "notesSlide":
            package.read(link.part, _Shapes(text))
    text.add("\n")


class _SlideList(Elements):
    """Ids of the links to the slides, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        if name == "sldId":  # its own id has no namespace
            self.ids += [value for key, value in attributes.items() if local(key) == "id" and key != "id"]


class _Shapes(Elements):
    """Paragraphs of everything that stands on a slide, in the order of the file."""

    unseen = frozenset(("Fallback",))  # repeats what is before it for older programs

    def __init__(self, text: Text) -> None:
        super().__init__()
        self._text = text
        self._placeholder = ""
        self._words: list[str] = []
        self._is_text = False
        self._row: list[str] | None = None
        self._cell: list[str] | None = None

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        match name:
            case "sp":
                self._placeholder = ""
            case "ph":
                self._placeholder = attribute(attributes, "type") or ""
            case "t":
                self._is_text = True
            case "br":
                self._words.append("\n")
            case "tr":
                self._row = []
            case "tc":
                self._cell = []

    def data(self, data: str) -> None:
        if self._is_text:
            self._words.append(data)

    def finish(self, name: str) -> None:
        match name:
            case "t":
                self._is_text = False
            case "p":
                self._end_paragraph()
            case "tc":
                if self._row is not None and self._cell is not None:
                    self._row.append(" ".join(" ".join(self._cell).split()))
                self._cell = None
            case "tr":
                if self._row is not None:
                    self._text.add(f"{' | '.join(self._row)}\n")
                self._row = None
            case "sp":
                self._placeholder = ""

    def _end_paragraph(self) -> None:
        words = "".join(self._words).strip()
        self._words = []
        if not words or self._placeholder in _BY_THE_WAY:
            return
        if self._cell is not None:
            self._cell.append(words)
        elif self._placeholder in _TITLES:
            self._text.add(f"# {' '.join(words.split())}\n")
        else:
            self._text.add(f"{words}\n")
