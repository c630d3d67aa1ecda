"""Filters by the attributes of files: which files are searched."""

from __future__ import annotations

import pytest

from locum.domain.search import Comparison, Compound, Filter, condition

FILE = {"year": 2024, "team": "sales", "draft": False, "share": 0.5}


def compare(kind: str, key: str, value: object) -> Comparison:
    return Comparison(type=kind, key=key, value=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filter_", "is_searched"),
    [
        (None, True),
        (compare("eq", "team", "sales"), True),
        (compare("eq", "team", "Sales"), False),
        (compare("ne", "team", "sales"), False),
        (compare("ne", "team", "law"), True),
        (compare("gt", "year", 2023), True),
        (compare("gt", "year", 2024), False),
        (compare("gte", "year", 2024.0), True),
        (compare("lt", "share", 1), True),
        (compare("lte", "share", 0.4), False),
        (compare("lt", "team", "t"), True),
        (compare("in", "team", ("law", "sales")), True),
        (compare("nin", "team", ("law", "sales")), False),
        (compare("eq", "missing", "x"), False),
        (compare("gt", "missing", 1), False),
        (compare("ne", "missing", "x"), True),
        (compare("nin", "missing", ("x",)), True),
        (compare("eq", "draft", False), True),
        (compare("eq", "draft", 0), False),
        (compare("gt", "team", 1), False),
        (compare("ne", "year", "2024"), True),
        (compare("in", "year", ("2024",)), False),
        (compare("in", "year", (2024.0,)), True),
        (compare("in", "draft", (0, "")), False),
        (compare("nin", "draft", (0, True)), True),
        (Compound(type="and", filters=(compare("gt", "year", 2023), compare("eq", "team", "sales"))), True),
        (Compound(type="and", filters=(compare("gt", "year", 2023), compare("eq", "team", "law"))), False),
        (Compound(type="or", filters=(compare("gt", "year", 2030), compare("eq", "team", "sales"))), True),
        (Compound(type="or", filters=()), False),
    ],
)
def test_a_filter_lets_the_files_through_that_it_describes(filter_: Filter | None, is_searched: bool) -> None:
    assert condition(filter_)(FILE) is is_searched
