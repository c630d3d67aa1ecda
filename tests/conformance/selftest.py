"""Does the suite notice what is wrong? `python -m tests.conformance.selftest [-k name ...]`

The whole suite runs once through a proxy that changes nothing, and must be green. Then, for each way of falsifying
answers (`corruption.py`), the tests of the behaviours it concerns run again, and one of them must turn red.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.conformance.corruption import CORRUPTIONS, Corruption, Proxy

HERE = Path(__file__).parent
NAME = "conformance-selftest"


def number_of(item: pytest.Item) -> int | None:
    marker = item.get_closest_marker("behaviour")
    return marker.args[0] if marker else None


class SelfTest:
    """A plugin: it runs each test once for every corruption it has to notice, and keeps what noticed which."""

    def __init__(self) -> None:
        self._proxy = Proxy()
        self._noticed: dict[str, set[int]] = defaultdict(set)
        self._ran: set[str] = set()
        self._unprovoked: list[str] = []

    def in_front_of(self, endpoint: str) -> str:
        return self._proxy.in_front_of(endpoint)

    @pytest.fixture(autouse=True)
    def corruption(self, request: pytest.FixtureRequest) -> Iterator[None]:
        self._proxy.corrupt(getattr(request, "param", None))
        yield
        self._proxy.corrupt(None)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        marker = next(metafunc.definition.iter_markers("behaviour"), None)
        if marker is not None:
            ways = [way for way in CORRUPTIONS if marker.args[0] in way.noticed_by]
            metafunc.parametrize(
                "corruption", [None, *ways], ids=["as it is", *(way.name for way in ways)], indirect=True
            )

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Of a corrupted test's parameters the first will do, Azure's where only Azure has what is corrupted."""
        kept, chosen = [], set()
        for item in items:
            way, key = way_of(item), (way_of(item), number_of(item))
            if way is None or key not in chosen:
                kept.append(item)
                chosen.add(key)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        way = way_of(item)
        if way is None:
            if report.failed:
                self._unprovoked.append(report.nodeid)
            return report
        self._ran.add(way.name)
        if report.failed:
            self._noticed[way.name].add(number_of(item) or 0)
            report.outcome, report.longrepr = "passed", None
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._proxy.close()
        if not session.config.option.collectonly:
            missed = [name for name in self._ran if not self._noticed[name]]
            wrong = missed or self._unprovoked or self._proxy.crashes or not self._ran
            session.exitstatus = 1 if wrong else 0

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        write = terminalreporter.write_line
        width = max(len(way.name) for way in CORRUPTIONS)
        write("")
        for way in CORRUPTIONS:
            if way.name in self._ran:
                by = ", ".join(str(number) for number in sorted(self._noticed[way.name]))
                write(f"{way.name.ljust(width)}  {'noticed by ' + by if by else 'NOT NOTICED'}")
        noticed = sum(bool(self._noticed[name]) for name in self._ran)
        write(f"{noticed} of {len(self._ran)} falsified answers were noticed.")
        for crash in dict.fromkeys(self._proxy.crashes):
            write(f"not carried out: {crash}")
        for nodeid in self._unprovoked:
            write(f"red without any corruption: {nodeid}")


def way_of(item: pytest.Item) -> Corruption | None:
    way = (
        item.callspec.params.get("corruption")
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else None
    )
    return way if isinstance(way, Corruption) else None


class Registration:
    """Gives the plugin the name that the fixtures look for."""

    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(SelfTest(), NAME)


def main(arguments: list[str]) -> int:
    options = ["-q", "-rN", "-p", "no:cacheprovider", "-m", "not long", "--timeout", "60"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    options += ["-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning"]
    options += ["--ignore", str(HERE / "test_page.py")]
    return int(pytest.main([*options, *arguments, str(HERE)], plugins=[Registration()]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
