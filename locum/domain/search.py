"""What is asked of file search and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from locum.domain.vector_stores import Attribute

MAX_RESULTS = 50
DEFAULT_RESULTS = 20


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A file passes whose attribute compares like this. One without the attribute passes only `ne` and `nin`."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: str
    value: Attribute | tuple[Attribute, ...]


class Compound(msgspec.Struct, frozen=True, kw_only=True):
    """All of the filters (`and`), or one of them (`or`)."""

    type: Literal["and", "or"]
    filters: tuple[Filter, ...]


Filter = Comparison | Compound


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A search: what each text finds is merged, the better score of a passage counts.

    At most `limit` passages, none with a score below `score_threshold` (0 to 1). rerank: whether a reranker that is
    configured is asked. rewrite: whether the texts may be put into other words before the search.
    """

    texts: tuple[str, ...]
    limit: int = DEFAULT_RESULTS
    score_threshold: float = 0.0
    filter: Filter | None = None
    rerank: bool = True
    rewrite: bool = False


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk of a file that was found.

    score: 0 to 1, comparable between searches. start, end: where in the file's text `text` stands, in code points,
    end exclusive. quote: of `text`, what answers best; a part of it, word for word. page: of a file that has pages,
    where the quote begins, from 1.
    """

    vector_store_id: str
    file_id: str
    filename: str
    score: float
    text: str
    quote: str
    start: int
    end: int
    page: int | None = None
    attributes: dict[str, Attribute] = {}


class Search(Protocol):
    """Who finds passages."""

    async def search(self, resource: str, store_ids: Sequence[str], query: Query) -> tuple[Passage, ...]:
        """Best first. InvalidRequest for a store that has expired, NotFound for one that does not exist."""
        ...


class Rewriter(Protocol):
    """Who puts queries into other words."""

    async def rewrite(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Queries that find more than these, one at least; the same ones where it cannot. Raises nothing."""
        ...


class Texts(Protocol):
    """Who keeps the text of files that can be searched."""

    async def text(self, document: str) -> str | None:
        """The text of a `VectorStoreFile.document`; None where it is not there (any more)."""
        ...


def passes(filter_: Filter | None, attributes: dict[str, Attribute]) -> bool:
    """Whether a file with these attributes is searched. Values of different kinds are unequal, and neither is more."""
    match filter_:
        case None:
            return True
        case Compound(type="and", filters=filters):
            return all(passes(each, attributes) for each in filters)
        case Compound(filters=filters):
            return any(passes(each, attributes) for each in filters)
        case Comparison(type=kind, key=key, value=value):
            if key not in attributes:
                return kind in ("ne", "nin")
            return _compares(kind, attributes[key], value)


def _compares(kind: str, own: Attribute, value: Attribute | tuple[Attribute, ...]) -> bool:
    if isinstance(value, tuple):
        among = any(_are_alike(own, each) and own == each for each in value)
        return among if kind in ("in", "eq") else not among
    if not _are_alike(own, value):
        return kind in ("ne", "nin")
    match kind:
        case "eq" | "in":
            return own == value
        case "ne" | "nin":
            return own != value
        case "gt":
            return own > value  # type: ignore[operator]
        case "gte":
            return own >= value  # type: ignore[operator]
        case "lt":
            return own < value  # type: ignore[operator]
        case _:
            return own <= value  # type: ignore[operator]


def _are_alike(one: Attribute, other: Attribute) -> bool:
    def kind(value: Attribute) -> type:
        return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)

    return kind(one) is kind(other)
