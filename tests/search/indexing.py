"""Units of a keyword index: put in by their chunks, and looked at."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import numpy as np
from tantivy import Index, Query

from locum.documents.types import Ranges


def unit(key: str, chunks: list[str]) -> tuple[str, str, Ranges]:
    """A unit of a document that has nothing but these chunks."""
    starts = accumulate((len(each) + 1 for each in chunks), initial=0)
    ranges = [(start, start + len(each)) for start, each in zip(starts, chunks, strict=False)]
    return key, "\n".join(chunks), np.array(ranges, np.int32)


def units(directory: Path) -> dict[str, list[int]]:
    """Unit -> the ordinals of its chunks, of all that the index has."""
    if not (directory / "meta.json").exists():
        return {}
    searcher = Index.open(str(directory)).searcher()
    addresses = [address for _, address in searcher.search(Query.all_query(), max(1, searcher.num_docs)).hits]
    ordinals = searcher.fast_field_values("ordinal", addresses)
    found: dict[str, list[int]] = {}
    for address, ordinal in zip(addresses, ordinals, strict=True):
        found.setdefault(str(searcher.doc(address).get_first("unit")), []).append(int(ordinal or 0))
    return {key: sorted(of_unit) for key, of_unit in found.items()}
