"""Sessions of the tests have the packages that users get: an environment without the test tools."""

from __future__ import annotations

import pytest

from tests.environments import dependencies
from tests.sandbox.conftest import Box


def test_environment_holds_the_dependencies_of_dependencies_and_extras() -> None:
    packages = dependencies("locum", ["cjk"])
    assert {"pandas", "jinja2", "markupsafe", "noto-cjk-sans-otc"} <= packages.keys()
    assert not {"locum", "pytest", "openai", "obstore"} & packages.keys()
    assert "noto-cjk-sans-otc" not in dependencies("locum")


@pytest.mark.parametrize("name", ["pytest", "openai", "flask", "moto", "hypothesis"])
def test_package_of_a_test_tool_is_absent_from_sessions(box: Box, key: str, name: str) -> None:
    assert box.cell(key, f"import {name}").error == "ModuleNotFoundError"


def test_every_documented_package_can_be_imported_in_sessions(box: Box, key: str) -> None:
    names = "numpy pandas matplotlib seaborn scipy sympy networkx PIL openpyxl xlsxwriter docx pptx pypdf lxml bs4"
    cell = box.cell(key, f"import {', '.join([*names.split(), 'tabulate', 'jinja2', 'IPython'])}")
    assert cell.ok, cell.logs
