"""From hits to a ranking. Pure.

Scores are absolute, 0 to 1: a threshold means the same in every search, and what several queries find is comparable.
By words, a chunk scores by how much of the query's information it holds; by meaning, by how much nearer it is than what
has nothing to do with the query. The two are added by weight. Why so: decision 11.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import NamedTuple

from locum.documents.types import Ranges, Span, Unit
from locum.search.keyword import terms
from locum.search.keyword.index import KeywordHit
from locum.search.keyword.languages import DEFAULT_LANGUAGE, said_by
from locum.search.keyword.words import written
from locum.search.vectors import VectorHit

MOST_OVERLAP = 0.5
"""Of the shorter of two chunks of a document: of two that share more, the better one stands for both."""
QUOTE_CHARACTERS = 600
MOST_SENTENCES = 12
"""Of a quote that no window gives. The second bound is that of the work: there are many short lines in a list."""


class Chunk(NamedTuple):
    unit: Unit
    ordinal: int


class Found(NamedTuple):
    """A chunk's score for a query. window: which of the document's windows in it is nearest in meaning, if one is."""

    score: float
    window: int | None = None


class Ranked(NamedTuple):
    """A chunk where it stands in the ranking. quote: the part that answers best; None where only words say so."""

    chunk: Chunk
    span: Span
    score: float
    quote: Span | None


def of_words(share: float) -> float:
    """The score of a chunk with this share of a query's information: 0.63 for one with every word once."""
    return 1 - math.exp(-share)


def of_meaning(cosine: float, unrelated: float) -> float:
    """The score of a cosine, where texts that have nothing in common have the cosine `unrelated`."""
    return min(1.0, max(0.0, (cosine - unrelated) / (1 - unrelated))) if unrelated < 1 else 0.0


def by_words(hits: Iterable[KeywordHit], units: Mapping[str, Unit]) -> dict[Chunk, float]:
    """Scores of chunks. units: key -> unit, of those that are searched; hits in others are none."""
    return {Chunk(units[hit.unit], hit.ordinal): of_words(hit.share) for hit in hits if hit.unit in units}


def by_meaning(
    hits: Iterable[VectorHit],
    units: Mapping[str, Iterable[Unit]],
    chunks: Mapping[Unit, Ranges],
    windows: Mapping[str, Ranges],
    *,
    unrelated: float,
) -> dict[Chunk, Found]:
    """Each chunk with the best window whose middle lies in it. units: of each document; hits: best first."""
    found: dict[Chunk, Found] = {}
    for hit in hits:
        ranges = windows.get(hit.document)
        if ranges is None or hit.window >= len(ranges):
            continue
        middle = sum(ranges[hit.window].tolist()) // 2
        each = Found(of_meaning(hit.cosine, unrelated), hit.window)
        for unit in units.get(hit.document, ()):
            if (of_unit := chunks.get(unit)) is not None:
                first, last = of_unit[:, 1].searchsorted(middle, "right"), of_unit[:, 0].searchsorted(middle, "right")
                for ordinal in range(first, last):
                    found.setdefault(Chunk(unit, ordinal), each)
    return found


def fuse(said: Mapping[Chunk, float], meant: Mapping[Chunk, Found], weight: float) -> dict[Chunk, Found]:
    """Both, where meaning counts for `weight` and words for the rest; of no weight, it finds nothing either."""
    if weight <= 0:
        return {chunk: Found(score) for chunk, score in said.items()}
    fused: dict[Chunk, Found] = {}
    for chunk, (score, window) in meant.items():
        fused[chunk] = Found(weight * score + (1 - weight) * said.get(chunk, 0.0), window)
    for chunk, score in said.items():
        if chunk not in meant:
            fused[chunk] = Found((1 - weight) * score)
    return fused


def merge(of_queries: Iterable[Mapping[Chunk, Found]]) -> dict[Chunk, Found]:
    """What several queries find, each chunk by its best score."""
    merged: dict[Chunk, Found] = {}
    for found in of_queries:
        for chunk, each in found.items():
            if chunk not in merged or merged[chunk].score < each.score:
                merged[chunk] = each
    return merged


def ranking(
    found: Mapping[Chunk, Found],
    chunks: Mapping[Unit, Ranges],
    windows: Mapping[str, Ranges],
    *,
    limit: int,
    threshold: float = 0.0,
) -> list[Ranked]:
    """The best chunks, best first: none below the threshold or of no score, none that repeats a better one."""
    ranked: list[Ranked] = []
    taken: dict[str, list[Span]] = {}
    for chunk, each in sorted(found.items(), key=_place):
        if len(ranked) == limit or each.score < threshold or each.score <= 0:
            break
        if chunk.unit not in chunks or chunk.ordinal >= len(chunks[chunk.unit]):
            continue
        document = chunk.unit.document
        span = Span(document, *map(int, chunks[chunk.unit][chunk.ordinal]))
        of_document = taken.setdefault(document, [])
        if any(repeats(span, better) for better in of_document):
            continue
        of_document.append(span)
        ranked.append(Ranked(chunk, span, each.score, _quote(span, each.window, windows.get(document))))
    return ranked


def _place(item: tuple[Chunk, Found]) -> tuple[float, str, int, int]:
    """By score; of what scores the same, in the same order every time."""
    (unit, ordinal), (score, _) = item
    return -score, unit.document, ordinal, unit.chunking.max_chunk_size_tokens


def repeats(span: Span, better: Span) -> bool:
    """Whether two parts of a document share so much that one of them is enough."""
    shared = min(span.end, better.end) - max(span.start, better.start)
    return shared > MOST_OVERLAP * min(span.end - span.start, better.end - better.start)


def _quote(span: Span, window: int | None, windows: Ranges | None) -> Span | None:
    if window is None or windows is None:
        return None
    start, end = map(int, windows[window])
    return Span(span.document, max(start, span.start), min(end, span.end))


_STOP = re.compile(r"[.!?…](?=\s)|[。！？\n]")
_BEGINNING = re.compile(r"\S")
_MOST_SENTENCES = 400
_TELLING_WORDS = 200
"""So many of a chunk say what language it is in."""
_PIECE = re.compile(rf"\S.{{0,{QUOTE_CHARACTERS // 2}}}(?!\S)|\S.{{0,{QUOTE_CHARACTERS - 1}}}", re.DOTALL)


class Quotes:
    """Looks for the part of a chunk that answers one of these queries; for all that one search has found."""

    def __init__(self, queries: Iterable[str]) -> None:
        self._queries = tuple(queries)
        self._asked: dict[str, list[frozenset[str]]] = {}

    def best_part(self, text: str) -> tuple[int, int]:
        """Start and end of the sentences of a chunk, few and short enough for a quote, with the most words of a query.

        Of several such parts the shortest, of those the first; where no word is found, the beginning.
        """
        sentences = list(_sentences(text))
        said = [written(text[start:end]) for start, end in sentences]
        language = said_by(islice(chain.from_iterable(said), _TELLING_WORDS)).language or DEFAULT_LANGUAGE
        asked = self._asked_in(language)
        wanted = frozenset[str]().union(*asked)
        terms_of = terms.of_words(language).__getitem__
        held = [wanted.intersection(" ".join(map(terms_of, each)).split()) for each in said]
        best, found = (0, 0, 0), sentences[0] if sentences else (0, len(text))
        for first, (start, _) in enumerate(sentences):
            if not held[first]:  # the same without this one is shorter
                continue
            together: set[str] = set()
            few = slice(first, first + MOST_SENTENCES)
            for (_, end), those in zip(sentences[few], held[few], strict=True):
                if end - start > QUOTE_CHARACTERS:
                    break
                together |= those
                rank = (max(len(together & each) for each in asked), start - end, -start)
                if rank > best:
                    best, found = rank, (start, end)
        return found

    def _asked_in(self, language: str) -> list[frozenset[str]]:
        """The terms of each query in documents of a language."""
        if language not in self._asked:
            asked = (terms.query_terms(query, [language]) for query in self._queries)
            self._asked[language] = [frozenset(chain.from_iterable(each)) for each in asked]
        return self._asked[language]


def _sentences(text: str) -> Iterable[tuple[int, int]]:
    """Start and end of each; what is longer than a quote may be, or cut too finely to be prose, comes in pieces."""
    sentences, at = [], 0
    while beginning := _BEGINNING.search(text, at):
        stop = _STOP.search(text, beginning.end())
        at = stop.end() if stop else len(text)
        sentences.append((beginning.start(), at))
    if len(sentences) > _MOST_SENTENCES:
        sentences = [(0, len(text))]
    for start, end in sentences:
        if end - start <= QUOTE_CHARACTERS:
            yield start, start + len(text[start:end].rstrip())
        else:
            for piece in _PIECE.finditer(text, start, end):
                yield piece.span()
