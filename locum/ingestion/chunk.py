"""A file's text cut into chunks, which are found, and into windows, which are embedded. Pure.

Sizes are in tokens of o200k_base and exact: no chunk has more than it may. Ranges are in code points, end exclusive, as
rows of an int32 array (n, 2). Where a paragraph, a sentence, a line or at least a word ends near the size, the cut is
there; no cut is inside a code point, though tokens may end there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from locum.documents.types import Ranges
from locum.domain.vector_stores import Chunking
from locum.models.vocabulary import byte_lengths, encode

MAX_TOKENS = 5_000_000
"""Of one file: the hosted service's limit."""
WINDOW_TOKENS = 250

_PIECE = 1 << 20
"""Code points that are given to the tokenizer at a time, and about what that costs in memory."""
_FARTHEST_PIECE = 4 * _PIECE
_NEAR = 8
"""The eighth part of a size is near its end."""
_CACHED_WORDS = 200_000
_NEWLINE = 10
_SPACE, _STOP, _WIDE_STOP = 1, 2, 3
_KINDS = np.zeros(1 << 16, np.uint8)
"""Of code points; those beyond are of none, as the last one here is."""
_KINDS[[9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x2028, 0x2029, 0x3000]] = _SPACE
_KINDS[[ord(each) for each in ".!?…"]] = _STOP
_KINDS[[ord(each) for each in "。！？"]] = _WIDE_STOP
_WORD, _LINE, _SENTENCE, _PARAGRAPH = 1, 2, 3, 4


class TooManyTokens(Exception):
    """The text has more than MAX_TOKENS."""


class Tokens:
    """Where a text can be cut.

    Cut i is before token `number[i]` and code point `offset[i]`; `strength[i]` says what ends there, a paragraph being
    more than a sentence. Tokens that end inside a code point are not among them.
    """

    def __init__(self, text: str, limit: int = MAX_TOKENS) -> None:
        self._text = text
        numbers, offsets, self.count = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], 0
        for start, end in _pieces(text):
            tokens, ends = _token_ends(text[start:end])
            numbers.append(tokens + self.count)
            offsets.append(ends + start)
            self.count = int(numbers[-1][-1])
            if self.count > limit:
                raise TooManyTokens
        self.number = np.concatenate(numbers)
        self.offset = np.concatenate(offsets)
        self.strength = _strengths(text, self.offset)

    def chunks(self, chunking: Chunking) -> Ranges:
        """Each begins about `chunk_overlap_tokens` before the end of the one before it."""
        return self._ranges(chunking.max_chunk_size_tokens, chunking.chunk_overlap_tokens)

    def windows(self, size: int = WINDOW_TOKENS) -> Ranges:
        """They lie side by side."""
        return self._ranges(size, 0)

    def _ranges(self, size: int, overlap: int) -> Ranges:
        """Without those that are nothing but white space."""
        spans = self._spans(size, overlap)
        ranges = [(begin, end) for begin, end in spans if not self._text[begin:end].isspace()]
        return np.array(ranges, dtype=np.int32).reshape(-1, 2)

    def _spans(self, size: int, overlap: int) -> Iterator[tuple[int, int]]:
        begin, end, last = 0, 0, len(self.number) - 1
        while end < last:
            if self._at_most(self.number[begin] + size) <= end:  # with the overlap, not one letter more would fit
                begin = end
            end = self._end(begin, end, size)
            yield int(self.offset[begin]), int(self.offset[end])
            begin = self._begin(begin, end, overlap)

    def _end(self, begin: int, before: int, size: int) -> int:
        """The best cut behind `before` that is not farther than `size` tokens; among equals the last."""
        # One letter may have more tokens than `size`.
        farthest = max(self._at_most(self.number[begin] + size), before + 1)
        if farthest == len(self.number) - 1:
            return farthest
        nearest = max(before + 1, self._at_most(self.number[farthest] - size // _NEAR))
        among = self.strength[nearest : farthest + 1]
        return farthest - int(np.argmax(among[::-1]))

    def _begin(self, begin: int, end: int, overlap: int) -> int:
        """The best cut that is about `overlap` tokens before `end`, and not more; among equals the first."""
        if overlap == 0:
            return end
        earliest = max(begin + 1, int(self.number.searchsorted(self.number[end] - overlap)))
        latest = self._at_most(self.number[earliest] + overlap // _NEAR)
        latest = max(earliest, min(latest, end))
        return earliest + int(np.argmax(self.strength[earliest : latest + 1]))

    def _at_most(self, number: int) -> int:
        """The last cut that is not behind that token."""
        return int(self.number.searchsorted(number, "right")) - 1


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Pieces whose tokens are those of the whole: a token that has a newline never goes on with a letter or digit. Of a
    text that has no such place for millions of code points, tokens at the seams may be others."""
    start = 0
    while start < len(text):
        end = _seam(text, start + _PIECE, start + _FARTHEST_PIECE)
        yield start, end
        start = end


def _seam(text: str, nearest: int, farthest: int) -> int:
    at = text.find("\n", nearest, farthest)
    while 0 <= at < len(text) - 1:
        if text[at + 1].isalnum():
            return at + 1
        at = text.find("\n", at + 1, farthest)
    return min(farthest, len(text))


def _token_ends(piece: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers (from 1) of the tokens that end where a code point ends, and the code points (from 1) they end with."""
    data = piece.encode(errors="replace")
    ids = np.frombuffer(encode(data.decode(), cached_words=_CACHED_WORDS), dtype=np.uint32)
    ends = np.cumsum(_lengths()[ids])
    if len(ends) == 0 or ends[-1] != len(data):
        raise AssertionError("the tokens of a text do not make up the text")
    begins_letter = (np.frombuffer(data, dtype=np.uint8) & 0xC0) != 0x80
    letters = np.concatenate((np.cumsum(begins_letter), [0]))  # letters begun up to and with each byte
    is_clean = np.concatenate((begins_letter, [True]))[ends]
    return np.flatnonzero(is_clean) + 1, letters[ends - 1][is_clean]


@lru_cache(maxsize=1)
def _lengths() -> NDArray[np.int64]:
    """Bytes of each token."""
    return np.array(byte_lengths(), dtype=np.int64)


def _strengths(text: str, offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """What ends before each offset."""
    if not text:
        return np.zeros(len(offsets), np.uint8)
    letters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    last = len(letters) - 1
    after = letters[np.minimum(offsets, last)]
    before = letters[np.maximum(offsets - 1, 0)]
    second = letters[np.maximum(offsets - 2, 0)]
    in_space, ended = _kinds(after) == _SPACE, _kinds(before)
    ends_line = (before == _NEWLINE) & (after != _NEWLINE)
    ends_sentence = ((ended == _STOP) & in_space) | (ended == _WIDE_STOP)
    strengths = np.zeros(len(offsets), np.uint8)
    strengths[in_space | (ended == _SPACE)] = _WORD
    strengths[ends_line] = _LINE
    strengths[ends_sentence] = _SENTENCE
    strengths[ends_line & (second == _NEWLINE)] = _PARAGRAPH
    return strengths


def _kinds(letters: NDArray[np.uint32]) -> NDArray[np.uint8]:
    return _KINDS[np.minimum(letters, len(_KINDS) - 1)]
