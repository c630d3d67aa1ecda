"""`retrieval`, v1's word for file search. The only place that knows both words."""

from __future__ import annotations

from typing import Any, Final

V1: Final = "retrieval"
V2: Final = "file_search"


def in_v1(shown: dict[str, Any]) -> dict[str, Any]:
    """A tool, a tool choice, a tool call or the delta of one, in v2's wire form, as v1 shows it.

    A call keeps its `id` and `index`. What was searched for and found is not shown: in v1 that is an empty object.
    """
    if shown["type"] != V2:
        return shown
    place = {name: value for name, value in shown.items() if name in ("index", "id")}
    return {**place, "type": V1, V1: {}} if place else {"type": V1}
