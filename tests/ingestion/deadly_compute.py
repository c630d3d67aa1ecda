"""A compute that dies of a text, whenever it is to index it."""

from __future__ import annotations

import os
from collections.abc import Iterable

from locum.documents.types import Ranges
from locum.ingestion import compute as compute
from locum.search.keyword import index as keyword

DEADLY = "whoever indexes this dies"


class DyingWriter(keyword.KeywordWriter):
    def apply(self, *, remove: Iterable[str], add: Iterable[tuple[str, str, Ranges]]) -> None:
        added = list(add)
        if any(DEADLY in text for _, text, _ in added):
            os._exit(1)
        super().apply(remove=remove, add=added)


def main() -> None:
    keyword.KeywordWriter = DyingWriter  # type: ignore[misc]
    compute.main()
