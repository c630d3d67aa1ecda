"""Rules of the house that import-linter cannot say."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from tests.conftest import LONGEST_FIRST

ROOT = Path(__file__).parents[1] / "locum"
MAX_LINES = 40


@pytest.mark.parametrize("path", sorted((ROOT / "app").glob("*.py")), ids=lambda path: path.name)
def test_functions_of_composition_roots_fit_on_a_screen(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_file_that_is_tested_first_exists() -> None:
    tests = Path(__file__).parent
    assert [name for name in LONGEST_FIRST if not (tests / name).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT.parent / "bench").glob("*.py")), ids=lambda path: path.name)
def test_every_name_that_a_benchmark_imports_from_the_package_exists(path: Path) -> None:
    names = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == "locum"
        for alias in node.names
    ]
    assert [name for name in names if not _is_importable(*name)] == []


def _is_importable(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) or bool(importlib.import_module(f"{module}.{name}"))
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("locum"):
            raise
        return False
