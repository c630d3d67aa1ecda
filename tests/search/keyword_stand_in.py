"""A keyword index small enough to look into, for the tests of who writes it: a directory with one JSON file, committed
by renaming. A workbench that is started with `main` finds it under the real one's name."""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Iterable
from pathlib import Path

FILE = "index.json"
DEADLY = "whoever indexes this dies"


class IndexUnusable(Exception):
    """The file is spoiled."""


class KeywordWriter:
    def __init__(self, directory: Path) -> None:
        self._file = directory / FILE

    def apply(self, *, remove: Iterable[str], add: Iterable[tuple[str, list[str]]]) -> None:
        units = read(self._file.parent)
        for unit in remove:
            units.pop(unit, None)
        for unit, texts in add:
            if any(DEADLY in text for text in texts):
                os._exit(1)
            units.pop(unit, None)
            units[unit] = texts
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(units))
        draft.replace(self._file)


def read(directory: Path) -> dict[str, list[str]]:
    """Unit -> the texts of its chunks."""
    try:
        found: dict[str, list[str]] = json.loads((directory / FILE).read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise IndexUnusable(str(error)) from error
    return found


def main() -> None:
    module = types.ModuleType("locum.search.keyword")
    module.KeywordWriter = KeywordWriter  # type: ignore[attr-defined]
    sys.modules["locum.search.keyword"] = module
    from locum.search.workbench import main as serve

    serve()
