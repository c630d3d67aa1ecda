"""Plain text: how the bytes of a text file become it, and how every text is made alike before it is cut and searched.

Standard library only: this runs in the server for plain text, and behind the sandbox's walls for all else. Long texts
are worked through in pieces, so that a thread that does it gives way to others.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from functools import cache

_PIECE = 64 * 1024
_LOOK_BACK = 1024
_COMPOSED = 3
"""So many characters may become one, which only then is composed with the next: the letters of a Korean syllable."""
_NEWLINES = re.compile("\r\n?|[\f\v\x85\u2028\u2029]")
_IN_NEWLINES = "\r\f\v\x85\u2028\u2029"
"""Most texts have none of these, and to see that takes a fortieth of what it takes to look for the expression."""
# But for tab and newline: of no use to anybody, and PostgreSQL keeps no NUL. U+FEFF is a byte order mark gone astray.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ufffe\uffff\ud800-\udfff]")
_MOST_CONTROLS = 0.1
"""Of all characters of a text; bytes that are no text have more of them."""
_MOST_MARKS = 30
"""One after the other: Unicode's own bound for texts that are normalised in a stream (UAX 15)."""
_LAST_MARK = 0x20000
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with that of UTF-16
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class TooMuchText(Exception):
    """More than the bytes allowed, in UTF-8."""


def clean(text: str) -> str:
    """In normal form C, with "\\n" for every end of a line, without control characters, and without more marks on a
    letter than anybody writes: normalising takes time by the square of their number. What is clean stays so."""
    return _cleaned(text)[0]


def _cleaned(text: str) -> tuple[str, int]:
    """The clean text, and how many control characters were in it."""
    if _has_other_newlines(text):
        text = _NEWLINES.sub("\n", text)
    text, controls = _CONTROLS.subn("", text)
    if not _is_normal(text):
        text = unicodedata.normalize("NFC", _many_marks().sub(r"\1", text))
    return text, controls


def is_clean(text: str) -> bool:
    return all(_is_clean(piece) for piece in _pieces(text))


def _is_clean(piece: str) -> bool:
    return _is_normal(piece) and not _CONTROLS.search(piece) and not _has_other_newlines(piece)


def _has_other_newlines(text: str) -> bool:
    return any(each in text for each in _IN_NEWLINES)


def _is_normal(text: str) -> bool:
    return text.isascii() or unicodedata.is_normalized("NFC", text)


@cache
def _many_marks() -> re.Pattern[str]:
    marks = "".join(filter(unicodedata.combining, map(chr, range(_LAST_MARK))))
    return re.compile(f"([{marks}][{marks}]{{{_MOST_MARKS - 1}}})[{marks}]+")


class Text:
    """A text as it is put together, block by block, and where its pages begin (offsets in characters)."""

    def __init__(self, most_bytes: int) -> None:
        self.blocks: list[str] = []
        self.pages = array("i")
        self.is_blank = True
        self._most_bytes = most_bytes
        self._length = self._bytes = 0

    def page(self) -> None:
        """What is added from here on stands on the next page."""
        self.pages.append(self._length)

    def add(self, block: str) -> None:
        """A block that no character is composed with across its ends: a paragraph, a page, lines. TooMuchText."""
        self._keep(clean(block))

    def _keep(self, block: str) -> None:
        self._length += len(block)
        self._bytes += len(block) if block.isascii() else len(block.encode())
        if self._bytes > self._most_bytes:
            raise TooMuchText
        self.is_blank = self.is_blank and not block.strip()
        self.blocks.append(block)

    def pour(self, pieces: Iterable[str]) -> bool:
        """Add pieces that are cut anywhere. False when there are so many control characters that this is no text."""
        length = controls = 0
        for piece in _recut(pieces):
            block, removed = _cleaned(piece)
            self._keep(block)
            length += len(piece)
            controls += removed
        return controls <= _MOST_CONTROLS * length

    def __str__(self) -> str:
        return "".join(self.blocks)


def decode(data: bytes, most_bytes: int) -> str | None:
    """The clean text of bytes in UTF-8, UTF-16 or ASCII, or None when they are in neither. TooMuchText."""
    encoding, mark = encoding_of(data)
    if encoding is None:
        return None
    text = Text(most_bytes)
    try:
        return str(text) if text.pour(_decoded(data, encoding, len(mark))) else None
    except UnicodeDecodeError:
        return None


def decode_clean(data: bytes) -> str:
    """What has been made clean already, and is UTF-8; ValueError where it is not so."""
    text = "".join(_decoded(data, "utf-8", 0))
    if not is_clean(text):
        raise ValueError("a text that was to be clean is not")
    return text


def encoding_of(data: bytes) -> tuple[str | None, bytes]:
    """As the byte order mark says, which is returned too; UTF-8 without one. None: what would be UTF-8 has NULs, which
    no text has, so it is UTF-16 without a mark, or no text."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return encoding, mark
    return (None if b"\0" in data else "utf-8"), b""


def _decoded(data: bytes, encoding: str, start: int) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    view = memoryview(data)
    for at in range(start, len(data), _PIECE):
        yield decoder.decode(view[at : at + _PIECE], at + _PIECE >= len(data))


def _recut(pieces: Iterable[str]) -> Iterator[str]:
    """The same text, cut where no character is composed and no end of a line is torn."""
    held = ""
    for piece in pieces:
        held += piece
        if len(held) > _PIECE:
            at = _cut(held, len(held) - 1)
            yield held[:at]
            held = held[at:]
    yield held


def _pieces(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        end = _cut(text, at + _PIECE) if len(text) - at > _PIECE else len(text)
        yield text[at:end]
        at = end


def _cut(text: str, at: int) -> int:
    """The last place, up to `at`, where the text can be cut and each side normalised by itself. In a text that has
    none for long (a thousand accents on one letter), `at`."""
    for place in range(at, max(at - _LOOK_BACK, 0), -1):
        left, right = text[max(place - _COMPOSED, 0) : place], text[place]
        if left[-1] != "\r" and not unicodedata.combining(right) and _stay_apart(left, right):
            return place
    return at


def _stay_apart(left: str, right: str) -> bool:
    normalize = unicodedata.normalize
    return normalize("NFC", left + right) == normalize("NFC", left) + normalize("NFC", right)
