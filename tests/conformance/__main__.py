"""`make conformance`: run the suite, print what holds, write docs/conformance.md."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.conformance.behaviours import PAGE, SECTIONS, everything, page
from tests.conformance.selftest import number_of

HERE = Path(__file__).parent


class Outcomes:
    """A plugin that keeps how the tests of each behaviour ended."""

    def __init__(self) -> None:
        self.failed: set[int] = set()
        self.ran: set[int] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if (number := number_of(item)) is not None:
            if report.failed:
                self.failed.add(number)
            elif report.passed and report.when == "call":
                self.ran.add(number)
        return report

    def pytest_collection_finish(self) -> None:
        """The tests are read: what the page says of them is known."""
        PAGE.write_text(page())

    def of(self, number: int) -> str:
        return "FAILED" if number in self.failed else "passed" if number in self.ran else "not run"


def main(arguments: list[str]) -> int:
    outcomes = Outcomes()
    options = ["-q", "-m", "not long", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = int(pytest.main([*options, *arguments, str(HERE)], plugins=[outcomes]))
    listed = everything()
    for section in SECTIONS:
        print(f"\n{section.title}")
        for each in listed:
            if each.number in section.numbers:
                state = outcomes.of(each.number) if each.state == "checked" else "-"
                print(f"{each.number:>4}  {state:<7}  {each.sentence}" + (f" ({each.state})" if state == "-" else ""))
    checked = [each.number for each in listed if each.state == "checked"]
    passed = sum(outcomes.of(number) == "passed" for number in checked)
    print(f"\n{len(listed)} behaviours: {len(checked)} checked here, of which {passed} passed.")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
