"""The vectors of a store, in memory: searched by their signs, and the nearest of those by 8-bit numbers.

Every search reads the signs of every vector that is allowed (48 bytes of 384 dimensions), so that filters and removals
are exact and nothing has to be built. Rows are kept by document; those of a removed one are dead until enough are.

Searches run in any number of threads beside one that adds and removes: a search works on the arrays as it found them,
in which only rows beyond its end are ever written, and marks of documents that were removed meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]

_BLOCK = 131_072
"""Rows whose signs are compared at a time: what stays in the processor's cache."""
_WORDS_OF_A_BYTE = 3
"""Words of 64 bits whose bits can be counted in 8 bits: adding these is quicker than adding in 16."""
_FEWEST_RESCORED = 600
_RESCORED_OF = 30_000
_SPARSE = 8
"""Where fewer than one row in so many is allowed, these are copied before they are compared."""
_SAMPLED = 16_384
_MOST_DEAD = 8192
"""Dead rows that an index may have, or as many as it has living ones."""
_NOBODY = -1


class VectorHit(NamedTuple):
    """A window of a document."""

    document: str
    window: int
    cosine: float


def quantise(vectors: Floats) -> tuple[Codes, Floats]:
    """Vectors (n, d) at length 1 as 8-bit codes (n, d) and scales (n,): vector = code * scale. A zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors, dtype=np.float32), where=lengths > 0)
    scales = np.abs(unit).max(axis=1, initial=0.0) / 127
    codes = np.rint(np.divide(unit, scales[:, None], out=np.zeros_like(unit), where=scales[:, None] > 0))
    return codes.astype(np.int8), scales.astype(np.float32)


def candidates_of(rows: int, limit: int) -> int:
    """How many of the nearest by signs are compared exactly: enough that 98 of 100 of the truly nearest are among them
    (see decision 11), which takes the more the more rows there are."""
    return max(_FEWEST_RESCORED, int(_FEWEST_RESCORED * (rows / _RESCORED_OF) ** 0.5), 5 * limit)


class _Rows(NamedTuple):
    """signs: (words of 64 bits, capacity); of which `used` rows mean something. document_of: the number of
    the row's document, _NOBODY of one that was removed."""

    signs: NDArray[np.uint64]
    codes: Codes
    scales: Floats
    document_of: NDArray[np.int32]
    window_of: NDArray[np.int32]
    used: int

    @classmethod
    def empty(cls, dimensions: int, capacity: int) -> _Rows:
        return cls(
            signs=np.zeros((-(-dimensions // 64), capacity), np.uint64),
            codes=np.zeros((capacity, dimensions), np.int8),
            scales=np.zeros(capacity, np.float32),
            document_of=np.full(capacity, _NOBODY, np.int32),
            window_of=np.zeros(capacity, np.int32),
            used=0,
        )

    def selected(self, rows: NDArray[np.intp] | slice, capacity: int) -> _Rows:
        """These rows in arrays of their own."""
        count = len(self.scales[rows])
        copy = _Rows.empty(self.codes.shape[1], capacity)._replace(used=count)
        copy.signs[:, :count] = self.signs[:, rows]
        copy.codes[:count] = self.codes[rows]
        copy.scales[:count] = self.scales[rows]
        copy.document_of[:count] = self.document_of[rows]
        copy.window_of[:count] = self.window_of[rows]
        return copy


class VectorIndex:
    """The windows of a store's documents as one embedder sees them."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self._changing = threading.Lock()
        self._rows = _Rows.empty(dimensions, 0)
        self._names: list[str] = []
        self._spans: dict[str, tuple[int, int]] = {}
        self._dead = 0

    def __len__(self) -> int:
        return self._rows.used - self._dead

    @property
    def documents(self) -> frozenset[str]:
        return frozenset(self._spans)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, with what is kept free in them."""
        return sum(array.nbytes for array in self._rows[:-1])

    def reserve(self, rows: int) -> None:
        """Make room for so many rows more at once: they are about to be added."""
        with self._changing:
            self._rows = self._with_room_for(rows)

    def add(self, document: str, codes: Codes, scales: Floats) -> None:
        """The windows of a document in their order, quantised. One that is in already is replaced."""
        with self._changing:
            self._remove(document)
            rows = self._with_room_for(len(codes))
            start, end = rows.used, rows.used + len(codes)
            rows.signs[:, start:end] = _signs(codes)
            rows.codes[start:end] = codes
            rows.scales[start:end] = scales
            rows.document_of[start:end] = len(self._names)
            rows.window_of[start:end] = np.arange(len(codes))
            self._names.append(document)
            self._spans[document] = (start, end)
            self._rows = rows._replace(used=end)

    def remove(self, document: str) -> None:
        """No search that begins from now on finds it; one that is not there is removed already."""
        with self._changing:
            self._remove(document)
            if self._dead > max(len(self), _MOST_DEAD):
                self._compact()

    def search(self, query: Floats, limit: int, allowed: Collection[str] | None = None) -> list[VectorHit]:
        """The windows nearest to a vector, nearest first. allowed: of these documents alone; None is of all."""
        with self._changing:
            rows, names = self._rows, self._names
            spans = None if allowed is None else [self._spans[each] for each in self._spans.keys() & set(allowed)]
            dead = self._dead
        query = _normalised(query)
        chosen = _nearest_by_signs(rows, query, limit, spans, is_whole=not dead)
        if not len(chosen):
            return []
        cosines = _cosines(rows, chosen, query)
        best = np.argsort(-cosines, kind="stable")[:limit]
        found = zip(rows.document_of[chosen[best]], rows.window_of[chosen[best]], cosines[best], strict=True)
        return [
            VectorHit(names[number], int(window), float(cosine))
            for number, window, cosine in found
            if number != _NOBODY  # removed meanwhile
        ]

    def _remove(self, document: str) -> None:
        start, end = self._spans.pop(document, (0, 0))
        self._rows.document_of[start:end] = _NOBODY
        self._dead += end - start

    def _with_room_for(self, count: int) -> _Rows:
        rows = self._rows
        if rows.used + count <= len(rows.scales):
            return rows
        capacity = rows.used + count + (rows.used + count) // 8
        return rows.selected(slice(0, rows.used), capacity)

    def _compact(self) -> None:
        """Arrays, and numbers of documents, without those that were removed."""
        living = np.flatnonzero(self._rows.document_of[: self._rows.used] != _NOBODY)
        rows = self._rows.selected(living, len(living) + len(living) // 8)
        spans: dict[str, tuple[int, int]] = {}
        at = 0
        for number, (document, (start, end)) in enumerate(self._spans.items()):
            spans[document] = (at, at + end - start)
            rows.document_of[at : at + end - start] = number
            at += end - start
        self._rows, self._spans, self._names, self._dead = rows, spans, list(spans), 0


def _signs(codes: Codes) -> NDArray[np.uint64]:
    """(words of 64 bits, rows): what is compared is read in one go."""
    missing = -codes.shape[1] % 64
    bits = np.packbits(np.pad(codes > 0, ((0, 0), (0, missing))), axis=1)
    return np.ascontiguousarray(bits.view(np.uint64).T)


def _normalised(query: Floats) -> Floats:
    length = float(np.linalg.norm(query))
    return query.astype(np.float32) / np.float32(length or 1.0)


def _cosines(rows: _Rows, at: NDArray[np.intp], query: Floats) -> Floats:
    """Not by matrix product: for one query that is slower, and keeps a second processor busy."""
    found: Floats = np.einsum("ij,j->i", rows.codes[at], query) * rows.scales[at]
    return found


def _nearest_by_signs(
    rows: _Rows, query: Floats, limit: int, spans: list[tuple[int, int]] | None, *, is_whole: bool
) -> NDArray[np.intp]:
    """The rows that are to be compared exactly, of those that are allowed and alive."""
    asked = _signs((query > 0)[None].astype(np.int8))[:, 0]
    signs = rows.signs[:, : rows.used]
    if spans is None and is_whole:
        return _smallest(_distances(signs, asked), candidates_of(rows.used, limit))
    allowed = rows.document_of[: rows.used] != _NOBODY
    if spans is not None:
        of_spans = np.zeros(rows.used, bool)
        for start, end in spans:
            of_spans[start:end] = True
        allowed &= of_spans
    count = int(np.count_nonzero(allowed))
    wanted = min(count, candidates_of(count, limit))
    if count == wanted:
        return np.flatnonzero(allowed)
    if count * _SPARSE < rows.used:
        among = np.flatnonzero(allowed)
        return among[_smallest(_distances(signs[:, among], asked), wanted)]
    distances = _distances(signs, asked)
    distances[~allowed] = np.iinfo(np.uint16).max
    return _smallest(distances, wanted)


def _distances(signs: NDArray[np.uint64], asked: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """In how many dimensions each row's sign is another."""
    count = signs.shape[1]
    distances = np.zeros(count, np.uint16)
    differing = np.empty(min(count, _BLOCK), np.uint64)
    bits, some = np.empty((2, len(differing)), np.uint8)
    for start in range(0, count, _BLOCK):
        sums = distances[start : start + _BLOCK]
        size = len(sums)
        for first in range(0, len(signs), _WORDS_OF_A_BYTE):
            some[:size] = 0
            for word in range(first, min(first + _WORDS_OF_A_BYTE, len(signs))):
                np.bitwise_xor(signs[word, start : start + size], asked[word], out=differing[:size])
                np.bitwise_count(differing[:size], out=bits[:size])
                np.add(some[:size], bits[:size], out=some[:size])
            np.add(sums, some[:size], out=sums)
    return distances


def _smallest(distances: NDArray[np.uint16], wanted: int) -> NDArray[np.intp]:
    """Where the `wanted` smallest are, in the order of the rows: memory is read forwards.

    A sample tells below which distance about half as many more lie: only those have to be put in order.
    """
    if len(distances) <= wanted:
        return np.arange(len(distances))
    sample = np.sort(distances[:: max(1, len(distances) // _SAMPLED)])
    bound = sample[min(len(sample) - 1, 10 + 3 * wanted * len(sample) // (2 * len(distances)))]
    near = np.flatnonzero(distances <= bound)
    if len(near) < wanted:
        near = np.arange(len(distances))
    return np.sort(near[np.argpartition(distances[near], wanted - 1)[:wanted]])
