"""Pages of a list: keyset paging, never OFFSET."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec

T = TypeVar("T")


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What part of a list is asked for: `after` and `before` are ids of objects of that list."""

    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None


class Listing(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list, in the order asked for."""

    data: tuple[T, ...]
    has_more: bool
