"""What is promised: the list of behaviours, which of them a test checks, and the page that says so.

A test is bound to its behaviour by `@behaviour(number, sentence)`; the rest are named here with what they wait for.
`docs/conformance.md` is made from both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.conformance.spec import DEVIATIONS

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


@dataclass(frozen=True)
class Section:
    title: str
    numbers: Sequence[int]
    module: str


SECTIONS = (
    Section("Routing, authentication, versions", range(1, 20), "test_routing.py"),
    Section("Assistants", range(20, 42), "test_assistants.py"),
    Section("Threads and messages", range(42, 62), "test_threads_and_messages.py"),
    Section("Runs", range(62, 86), "test_runs.py"),
    Section("Function calling", range(86, 99), "test_functions.py"),
    Section("Streaming", range(99, 119), "test_streaming.py"),
    Section("Context and budgets", range(119, 128), "test_context_and_budgets.py"),
    Section("Files and uploads", range(128, 138), "test_files_and_uploads.py"),
    Section("Code interpreter", range(138, 146), "test_code_interpreter.py"),
    Section("Vector stores", (146, 147, 148, 149, 150, 153, 154, 155), "test_vector_stores.py"),
    Section("File search in runs", (151, 152, 156), "test_file_search.py"),
    Section("Real clients", range(157, 161), "test_sdk_quirks.py"),
)


@dataclass(frozen=True)
class Behaviour:
    number: int
    sentence: str
    state: str = "checked"
    """`checked` by a test here, or where else it is checked, or what it waits for."""


ELSEWHERE = (Behaviour(157, "SDKs of every generation run their samples unmodified", "checked by `make sdk-matrix`"),)

CHECKED: dict[int, Behaviour] = {}
"""Filled as the test modules are imported."""

F = TypeVar("F", bound=Callable[..., Any])


def behaviour(number: int, sentence: str) -> Callable[[F], F]:
    """Bind a test to the behaviour it checks. A behaviour has one test, with parameters where it needs them."""

    def bind(test: F) -> F:
        if number in CHECKED and CHECKED[number].sentence != sentence:
            raise ValueError(f"behaviour {number} has two tests")
        CHECKED[number] = Behaviour(number, sentence)
        bound: F = pytest.mark.behaviour(number)(test)
        return bound

    return bind


def everything() -> list[Behaviour]:
    """All behaviours in order."""
    for each in SECTIONS:
        if each.module.startswith("test_"):
            import_module(f"tests.conformance.{each.module.removesuffix('.py')}")
    known = {each.number: each for each in (*ELSEWHERE, *CHECKED.values())}
    return [known[number] for number in sorted(known)]


def page() -> str:
    """The text of docs/conformance.md."""
    listed = everything()
    checked = sum(each.state == "checked" for each in listed)
    lines = [
        "# Conformance",
        "",
        "What a client of the Assistants API may rely on, one sentence each, and where it is checked.",
        "`make conformance` runs the suite in `tests/conformance/` against a real server with the unmodified SDK and",
        "raw HTTP, prints which of these hold, and writes this page. Every response and every event of the suite is",
        "also validated against the SDK's own types, against the fields and rules of the contract, and (where",
        "`LOCUM_SPEC_DIR` names a folder with the published OpenAPI files) against those.",
        "`make conformance-selftest` falsifies the answers of a server in many ways, one at a time, and fails unless",
        "the suite notices each.",
        "",
        f"{len(listed)} behaviours; {checked} are checked by this suite.",
    ]
    for section in SECTIONS:
        lines += ["", f"## {section.title}", "", "| | behaviour | state in this release |", "|---:|---|---|"]
        rows = [each for each in listed if each.number in section.numbers]
        lines += [f"| {each.number} | {each.sentence.replace('|', chr(92) + '|')} | {each.state} |" for each in rows]
    return "\n".join([*lines, *_corrections(), ""])


def _corrections() -> list[str]:
    """Where Locum is not what the published files say."""
    specs: dict[tuple[str, str], list[str]] = {}
    for each in DEVIATIONS:
        found = specs.setdefault((each.what, each.reason), [])
        found += [each.spec] if each.spec not in found else []
    return [
        "",
        "## Where the published files are not followed",
        "",
        "They contradict the service they describe, or each other, in a few places. v1 is OpenAI's file of 2024-04-15,",
        "v2 that of 2026-08-21, azure Azure's of 2024-05-01-preview.",
        "",
        "| what | in | why |",
        "|---|---|---|",
        *(f"| {what} | {', '.join(found)} | {reason} |" for (what, reason), found in specs.items()),
    ]
