"""Plain text that is not UTF-8, UTF-16 or ASCII, or not quite: in which encoding it is, as well as can be told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import charset_normalizer

from locum.documents.text import Text, encoding_of
from locum.ingestion.extract.parsers.refusal import CannotParse

_PIECE = 64 * 1024
_SAMPLE_BYTES = 512 * 1024
_WIDESPREAD = "cp1252"
_MOST_WRONG = 0.005
"""Of the characters beyond ASCII: a text in UTF-8 may have been cut, or mended by hand."""
_BEYOND_ASCII = re.compile("[^\x00-\x7f]")
_NO_TEXT = (
    "The content of the file is no text in any encoding that is known here. Text is best in UTF-8; a document, a table "
    "or a picture has to keep its own ending."
)


def parse(path: str, text: Text) -> None:
    if not text.pour(pieces(decode(Path(path).read_bytes()))):
        raise CannotParse(_NO_TEXT)


def decode(data: bytes, declared: str | None = None) -> str:
    """declared: the encoding that the file itself names. CannotParse when the bytes are no text."""
    encoding, mark = encoding_of(data)
    if encoding is None:
        encoding = _unmarked_utf16(data)
        if encoding is None:
            raise CannotParse(_NO_TEXT)
    for candidate in filter(None, (encoding, declared)):
        if (found := _decoded(data[len(mark) :], candidate)) is not None:
            return found
    guess = _guess(data[:_SAMPLE_BYTES])
    found = _decoded(data, guess) if guess is not None else None
    if found is None:
        raise CannotParse(_NO_TEXT)
    return found


def _guess(data: bytes) -> str | None:
    """The encoding that fits best; the one that is most widespread, where it fits about as well."""
    matches = charset_normalizer.from_bytes(data)
    if (best := matches.best()) is None:
        return None
    for match in matches:
        if match.encoding == _WIDESPREAD and match.chaos <= best.chaos and match.coherence >= best.coherence - 0.1:
            return _WIDESPREAD
    return best.encoding


def _decoded(data: bytes, encoding: str) -> str | None:
    """None when too much of it is not in that encoding, or there is none of that name."""
    try:
        found = data.decode(encoding, "replace")
    except (LookupError, UnicodeError):  # some are for no text, or cannot do without being right
        return None
    wrong = found.count("\ufffd")
    beyond_ascii = len(_BEYOND_ASCII.findall(found)) if wrong else 0
    return found if wrong <= _MOST_WRONG * beyond_ascii else None


def _unmarked_utf16(data: bytes) -> str | None:
    """Spaces and line ends have a zero in one of their two bytes, which is always the same one."""
    zeros = {"utf-16-be": data[0::2].count(0), "utf-16-le": data[1::2].count(0)}
    few, many = sorted(zeros, key=lambda each: zeros[each])
    is_text = zeros[many] * 40 >= len(data) // 2 and zeros[few] * 100 <= zeros[many]
    return many if is_text else None


def pieces(text: str) -> Iterator[str]:
    for at in range(0, len(text), _PIECE):
        yield text[at : at + _PIECE]
