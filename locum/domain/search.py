"""What is asked of file search and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from locum.domain.vector_stores import Attribute

MAX_RESULTS = 50
DEFAULT_RESULTS = 20
MAX_CONDITIONS = 100
"""In one filter: each is asked of every file of a store."""


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
    configured is asked. rewrite: whether the texts may be put into other words before the search. quotes: whether it
    is to be found out what of each passage answers best.
    """

    texts: tuple[str, ...]
    limit: int = DEFAULT_RESULTS
    score_threshold: float = 0.0
    filter: Filter | None = None
    rerank: bool = True
    rewrite: bool = False
    quotes: bool = True


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk of a file that was found.

    score: 0 to 1, comparable between searches. start, end: where in the file's text `text` stands, in code points,
    end exclusive. quote: of `text`, what answers best; a part of it, word for word; all of it where the query asks for
    no quotes. page: of a file that has pages, where the quote begins, from 1.
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


Condition = Callable[[Mapping[str, Attribute]], bool]


def condition(filter_: Filter | None) -> Condition:
    """What says whether a file with such attributes is searched. Values of different kinds are unequal, and neither is
    more."""
    match filter_:
        case None:
            return lambda attributes: True
        case Compound(type=kind, filters=filters):
            decide, parts = (all if kind == "and" else any), [condition(each) for each in filters]
            return lambda attributes: decide(part(attributes) for part in parts)
        case Comparison(type=kind, key=key):
            holds = _comparison(kind, filter_.value)
            return lambda attributes: holds(attributes[key]) if key in attributes else kind in ("ne", "nin")


def _comparison(kind: str, value: Attribute | tuple[Attribute, ...]) -> Callable[[Attribute], bool]:
    if not isinstance(value, tuple):
        return lambda own: _compares(kind, own, value)
    listed = frozenset((_kind(each), each) for each in value)
    return lambda own: ((_kind(own), own) in listed) == (kind in ("in", "eq"))


def _compares(kind: str, own: Attribute, value: Attribute) -> bool:
    if _kind(own) is not _kind(value):
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


def _kind(value: Attribute) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
