"""Lists: the query that asks for a page, and the envelope it comes in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from locum.api.validation import supported_values
from locum.domain.pages import Listing, Page
from locum.errors import InvalidRequest

T = TypeVar("T")


def page_of(query: Mapping[str, str], *, default: int = 20, maximum: int = 100) -> Page:
    """What part of a list is asked for. An empty value is an absent one."""
    order = query.get("order") or "desc"
    if order not in ("asc", "desc"):
        raise InvalidRequest(
            f"Invalid value: '{order}'. {supported_values(('asc', 'desc'))}", param="order", code="invalid_value"
        )
    return Page(
        limit=_limit(query.get("limit") or str(default), maximum),
        order="asc" if order == "asc" else "desc",
        after=query.get("after") or None,
        before=query.get("before") or None,
    )


def listing(page: Listing[T], render: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    """The envelope."""
    rows = [render(each) for each in page.data]
    return {
        "object": "list",
        "data": rows,
        "first_id": rows[0]["id"] if rows else None,
        "last_id": rows[-1]["id"] if rows else None,
        "has_more": page.has_more,
    }


def _limit(said: str, maximum: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", said):
        raise InvalidRequest(
            "Invalid type for 'limit': expected an integer, but got a string instead.",
            param="limit",
            code="invalid_type",
        )
    limit = int(said)
    if limit > maximum:
        raise InvalidRequest(
            f"Invalid 'limit': integer above maximum value. Expected a value <= {maximum}, but got {limit} instead.",
            param="limit",
            code="integer_above_max_value",
        )
    if limit < 1:
        raise InvalidRequest(
            f"Invalid 'limit': integer below minimum value. Expected a value >= 1, but got {limit} instead.",
            param="limit",
            code="integer_below_min_value",
        )
    return limit
