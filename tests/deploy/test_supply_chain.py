"""The versions and hashes of `constraints.txt`: complete, and checked by all that installs packages."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def locked_packages() -> dict[str, tuple[Requirement, int]]:
    """Return name -> requirement and number of hashes."""
    text = re.sub(r"^ *#.*\n", "", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    packages = {}
    for line in text.replace("\\\n", " ").splitlines():
        requirement = Requirement(line.partition(" --hash")[0])
        packages[canonicalize_name(requirement.name)] = requirement, len(HASH.findall(line))
    return packages


LOCKED = locked_packages()


def direct_requirements() -> Iterator[Requirement]:
    """Yield all requirements of pyproject.toml: of the project, its extras, its build and its groups."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    lists = [project["dependencies"], pyproject["build-system"]["requires"]]
    lists += [*project["optional-dependencies"].values(), *pyproject["dependency-groups"].values()]
    for lines in lists:
        yield from map(Requirement, lines)


def required_packages() -> dict[str, list[Requirement]]:
    """Return name -> requirements of everything that is installed, with the dependencies of dependencies."""
    required: dict[str, list[Requirement]] = {}
    waiting = list(direct_requirements())
    visited = set()
    while waiting:
        requirement = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(requirement.name)
        required.setdefault(name, []).append(requirement)
        for extra in ("", *requirement.extras):
            if (name, extra) in visited:
                continue
            visited.add((name, extra))
            try:
                dependencies = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            for dependency in map(Requirement, dependencies):
                if dependency.marker is None or dependency.marker.evaluate({"extra": extra}):
                    dependency.marker = None
                    waiting.append(dependency)
    return required


def test_every_package_is_pinned_and_has_hashes() -> None:
    assert LOCKED
    for requirement, hash_count in LOCKED.values():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert hash_count > 0, requirement


def test_everything_that_is_required_is_locked_in_a_version_that_fits() -> None:
    for name, requirements in required_packages().items():
        assert name in LOCKED, f"{name}: run `make lock`"
        (pin,) = LOCKED[name][0].specifier
        for requirement in requirements:
            assert requirement.specifier.contains(Version(pin.version), prereleases=True), requirement


def test_lock_names_no_registry() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("is_genuine", [True, False], ids=["genuine", "exchanged"])
def test_package_whose_hash_is_not_in_the_lock_is_refused(is_genuine: bool, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    digest = hashlib.sha256(wheel.read_bytes() if is_genuine else b"what was reviewed").hexdigest()
    (tmp_path / "constraints.txt").write_text(f"thing==1.0 --hash=sha256:{digest}\n")
    (options,) = re.findall(r"^LOCKED_INSTALL := \$\(PIP_INSTALL\) (.*)$", MAKEFILE, re.MULTILINE)
    command = [sys.executable, "-m", "pip", "install", *options.split()]
    offline = ["--dry-run", "--no-index", "--isolated", "--find-links", str(tmp_path)]
    done = subprocess.run([*command, *offline, "thing"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == is_genuine, done.stdout + done.stderr
    assert ("DO NOT MATCH THE HASHES" in done.stderr) != is_genuine


def make_wheel(folder: Path) -> Path:
    wheel = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing.py", "")
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    return wheel


def commands(text: str, pattern: str) -> list[str]:
    """Return the commands of a file of shell lines that match."""
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    parts = (part for line in lines for part in re.split(r"&&|\|\||;", line))
    return [part for part in parts if re.search(pattern, part) and ":=" not in part]


def test_what_serves_and_tests_is_installed_by_hash() -> None:
    """But for the SDKs that tests use as clients, and their Node: they are pinned, and in environments of their own."""
    installing = commands(MAKEFILE, r"pip install|PIP_INSTALL|LOCKED_INSTALL")
    assert len(installing) >= 8
    for command in installing:
        is_local = "--no-deps" in command and ("--no-index" in command or "dist/*.whl" in command)
        is_client = "$(@D)/bin/python" in command or "--target .sdk/node" in command
        assert "LOCKED_INSTALL" in command or "--require-hashes" in command or is_local or is_client, command


def test_image_installs_nothing_without_a_hash() -> None:
    installing = commands(DOCKERFILE, r"pip (install|wheel|download)")
    assert len(installing) >= 5
    for command in installing:
        is_local = "--no-deps" in command and ("--no-index" in command or "--no-build-isolation" in command)
        assert "--require-hashes" in command or is_local, command


def test_npm_packages_run_no_scripts_when_they_are_installed() -> None:
    installing = commands(MAKEFILE, r"npm (ci|install)\b")
    assert installing
    for command in installing:
        assert "npm ci --ignore-scripts" in command
