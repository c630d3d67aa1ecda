"""What a file contributes to a store, and where its text and vectors come from.

A unit is a document in one chunking: the same document in the same chunks is the same unit, whatever files and stores
it is of. Positions are in code points of the document's text, ends exclusive.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from locum.domain.vector_stores import Chunking

Ranges = NDArray[np.int32]
"""(n, 2): start and end of each; neither gets less from one to the next."""


def ranges_to_bytes(ranges: Ranges) -> bytes:
    return np.ascontiguousarray(ranges, np.int32).tobytes()


def ranges_of_bytes(data: bytes) -> Ranges:
    return np.frombuffer(data, np.int32).reshape(-1, 2)


class Unit(NamedTuple):
    """document: key of its text in the derived data."""

    document: str
    chunking: Chunking

    @property
    def key(self) -> str:
        return f"{self.document}:{self.chunking.max_chunk_size_tokens}:{self.chunking.chunk_overlap_tokens}"

    @classmethod
    def of_key(cls, key: str) -> Unit:
        document, max_tokens, overlap_tokens = key.rsplit(":", 2)
        return cls(document, Chunking(max_chunk_size_tokens=int(max_tokens), chunk_overlap_tokens=int(overlap_tokens)))


class Span(NamedTuple):
    """A part of a document's text."""

    document: str
    start: int
    end: int


class Part(NamedTuple):
    """The text of a span. pages: where each page of the document begins, if it has pages."""

    text: str
    pages: tuple[int, ...] = ()


class Windows(NamedTuple):
    """What of a document was embedded, as vectors.quantise gives it: ranges (n, 2), codes (n, d), scales (n,)."""

    ranges: Ranges
    codes: NDArray[np.int8]
    scales: NDArray[np.float32]


class Derived(Protocol):
    """The derived data as search reads it. What is not there is left out of the answers, and made again by others."""

    async def chunks(self, units: Collection[Unit]) -> dict[Unit, Ranges]:
        """Where the chunks of units are, in their order."""
        ...

    async def windows(self, documents: Collection[str], embedder: str) -> dict[str, Windows]:
        """Windows and vectors of documents. A caller asks for as many as its memory has room for."""
        ...

    async def parts(self, spans: Collection[Span]) -> dict[Span, Part]:
        """Parts of documents."""
        ...
