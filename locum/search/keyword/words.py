"""A text as words, in small letters.

What is written without spaces between words is one, up to the next mark or space. A word is taken apart once, however
often it is in the texts: most words of a text have been in another.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import TypeVar

LONGEST = 64
"""Characters of a word; what is longer is no word."""

_REMEMBERED = 50_000

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"  # Hangul
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_MARKS = (  # within a word, though neither letters nor digits
    "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u0900-\u0963\u0966-\u0dff"  # vowels of the scripts of India
)
_SYMBOLS = (  # that stand for letters: ℃ № ㈜ ㎏
    "\u20a8\u2100-\u2106\u2109\u2116\u2120-\u2122\u213b\u249c-\u24e9\u2e9f\u2ef3\u2f00-\u2fd5\u3196-\u319f"
    "\u3200-\u33ff\ufdfc\uff3f\U0001f110-\U0001f251"
)
_WRITTEN = re.compile(rf"[\w{_SYMBOLS}][\w{_MARKS}{_UNSPACED}{_SYMBOLS}]*")
_WRITTEN_IN_ASCII = re.compile(r"\w+", re.ASCII)
_WORD = re.compile(rf"\w[\w{_MARKS}{_UNSPACED}]*")
_PIECE = re.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

T = TypeVar("T")


class Remembered(dict[str, T]):
    """What is made of words, made once for each. Not kept: that of a word that is too long to be one."""

    def __init__(self, make: Callable[[str], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, word: str) -> T:
        made = self._make(word)
        if len(word) <= LONGEST:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[word] = made
        return made


def words(text: str) -> list[str]:
    """The words of a text. Parts of names that are written together (`chunkSize`, `chunk_size`) are words too."""
    return [word for each in written(text) for word in WORDS_IN[each]]


def written(text: str) -> list[str]:
    """The words as they are written; WORDS_IN has what each consists of. text: in normal form C."""
    return (_WRITTEN_IN_ASCII if text.isascii() else _WRITTEN).findall(text)


def is_unspaced(word: str) -> bool:
    """Whether it belongs to a script that is written without spaces, or to Korean, whose words take endings."""
    return not word.isascii() and _IS_UNSPACED.match(word) is not None


def _words_in(written: str) -> Iterator[str]:
    for word in _WORD.findall(unicodedata.normalize("NFKC", written).replace("_", " ")):
        if word.isascii():
            if not (word.islower() or word.istitle() or word.isupper()):
                yield from (part.lower() for part in _HUMP.findall(word) if 1 < len(part) < len(word))
            yield word.lower()
        else:
            yield from (piece.casefold() for piece in _PIECE.findall(word))


WORDS_IN = Remembered(
    lambda written: tuple(word for word in _words_in(written) if len(word) <= LONGEST or is_unspaced(word))
)
"""Of what is written as one word."""
