"""The ratchet of the language counts what it says, and its counts may only fall."""

from __future__ import annotations

import ast

import pytest

from checks.language import (
    Counts,
    Denied,
    complaint,
    complaints,
    count,
    docstrings,
    identifiers,
    lowered,
    opens_with_question,
    report,
)

DENIED = Denied(names=frozenset({"told", "found", "once"}), words=frozenset({"walls", "desk"}))


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("What a session has used so far.", True),
        ("Whether it is open.", True),
        ("\n    Who calls.", True),
        ("`Where` it is kept.", True),
        ("How, in one word.", True),
        ("Return what a session has used.", False),
        ("Whatever is missing.", False),
        ("Whole documents.", False),
        ("what begins in lower case", False),
        ("", False),
        ("...", False),
    ],
)
def test_docstring_opens_with_a_question_word(docstring: str, expected: bool) -> None:
    assert opens_with_question(docstring) is expected


def test_docstrings_of_modules_classes_functions_and_attributes_are_counted() -> None:
    source = '"Module."\nclass A:\n    "Class."\n    x = 1\n    "Attribute."\n    async def f(self):\n        "Method."'
    assert sorted(docstrings(ast.parse(source))) == ["Attribute.", "Class.", "Method.", "Module."]


def test_strings_that_are_values_are_not_docstrings() -> None:
    assert list(docstrings(ast.parse('x = "What?"\nprint("Who?")\nf"How {x}?"\nb"Why"'))) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def told(asked, *had, said=1, **hear): ...", ["asked", "had", "hear", "said", "told"]),
        ("async def f(): ...\nclass Found: ...", ["Found", "f"]),
        ("told = said\nself.told = 1\nx: int = 2", ["told", "told", "x"]),
        ("for each in told: each.said()", ["each"]),
        ("[each for each in told if (had := each)]", ["each", "had"]),
        ("with f() as found: ...", ["found"]),
        ("try: ...\nexcept E as told: ...", ["told"]),
        ("import a.said\nimport b as heard\nfrom c import told", ["heard"]),
        ("match x:\n case [1, *had]: ...\n case {**told}: ...\n case _: ...", ["had", "told"]),
        ("f(told=said)", []),
        ("def test_message_is_found_once_told(found): ...", ["found"]),
    ],
)
def test_bound_names_are_identifiers(source: str, expected: list[str]) -> None:
    assert sorted(identifiers(ast.parse(source))) == expected


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("told", True),
        ("_told", True),
        ("TOLD", True),
        ("told_before", False),
        ("NotFound", False),
        ("MAX_FILES_AT_ONCE", False),
        ("walls", True),
        ("_NO_WALLS", True),
        ("FrontDesk", True),
        ("HTTPDesk", True),
        ("desktop", False),
        ("wallet", False),
    ],
)
def test_names_are_denied_whole_and_words_anywhere(identifier: str, expected: bool) -> None:
    assert DENIED.covers(identifier) is expected


def test_a_file_is_counted_with_its_own_name() -> None:
    source = '"""What it is."""\ndef f(told): "Return."'
    assert count(source, "desk", DENIED) == Counts(docstrings=2, question_docstrings=1, denied_identifiers=2)
    assert count(source, "server", DENIED) == Counts(docstrings=2, question_docstrings=1, denied_identifiers=1)


@pytest.mark.parametrize(("recorded", "current", "words"), [(3, 4, "rose from 3 to 4"), (3, 1, "Lower the recorded")])
def test_a_count_that_differs_from_the_recorded_one_fails(recorded: int, current: int, words: str) -> None:
    assert words in str(complaint("docstrings", "locum", recorded, current))


def test_an_unchanged_count_passes() -> None:
    assert complaint("docstrings", "locum", 3, 3) is None


PYPROJECT = """
[tool.locum.language]
denied_names = []

[tool.locum.language.question_docstrings]  # a comment
locum = 30
tests = 7

[tool.locum.language.denied_identifiers]
locum = 300
tests = 70
"""


def test_writing_lowers_counts_and_never_raises_them() -> None:
    current = {
        "locum": Counts(docstrings=50, question_docstrings=29, denied_identifiers=301),
        "tests": Counts(docstrings=50, question_docstrings=8, denied_identifiers=0),
    }
    expected = PYPROJECT.replace("locum = 30\n", "locum = 29\n").replace("tests = 70\n", "tests = 0\n")
    assert lowered(PYPROJECT, current) == expected
    assert lowered(expected, current) == expected


def test_every_tree_is_compared_with_its_recorded_counts() -> None:
    settings = {"question_docstrings": {"locum": 1, "tests": 2}, "denied_identifiers": {"locum": 3, "tests": 4}}
    assert complaints(settings, {"locum": Counts(9, 1, 3), "tests": Counts(9, 2, 4)}) == []
    assert len(complaints(settings, {"locum": Counts(9, 2, 3), "tests": Counts(9, 2, 3)})) == 2


def test_the_report_prints_counts_and_a_percentage() -> None:
    line = report({"locum": Counts(docstrings=200, question_docstrings=25, denied_identifiers=7), "docs": Counts()})
    assert "25 of  200" in line
    assert "12.5 %" in line
    assert " 0.0 %" in line
    assert "7 denied identifiers" in line
