"""The package as others install it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

import locum

ROOT = Path(__file__).parents[1]
WHEEL = os.environ.get("LOCUM_TEST_WHEEL")
needs_wheel = pytest.mark.skipif(WHEEL is None, reason="`make test-wheel` builds one and names it in LOCUM_TEST_WHEEL")


@pytest.fixture
def wheel() -> Path:
    assert WHEEL is not None
    return Path(WHEEL)


def test_package_is_marked_as_typed() -> None:
    assert (files("locum") / "py.typed").is_file()


@needs_wheel
def test_tests_and_their_processes_import_the_wheel(tmp_path: Path) -> None:
    assert Path(locum.__file__).is_relative_to(sysconfig.get_path("purelib"))
    for folder in (ROOT, tmp_path):
        command = [sys.executable, "-c", "import locum; print(locum.__file__)"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == locum.__file__


@needs_wheel
def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"locum", f"locum-{locum.__version__}.dist-info"}
    assert {
        *("locum/py.typed", "locum/__main__.py", "locum/store/migrations/script.py.mako"),
        f"locum-{locum.__version__}.dist-info/licenses/LICENSE",
    } <= set(names)
    assert not [name for name in names if name.endswith(".pyc")]


@needs_wheel
def test_source_archive_holds_all_that_the_tests_need_and_no_build_output(wheel: Path) -> None:
    (archive,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = [name.partition("/")[2] for name in tar.getnames()]
    assert {"locum/py.typed", "tests/conftest.py", "docs/settings.md", "deploy/Dockerfile", "Makefile"} <= set(names)
    assert {"CHANGELOG.md", "SECURITY.md", "constraints.txt", "examples/README.md", "PKG-INFO"} <= set(names)
    assert not [name for name in names if name.startswith((".git/", ".venv", "build/", "dist/", ".mypy_cache"))]
