"""An environment with the packages that Locum installs and none of those that only its tests need.

Sessions of the code interpreter see the packages of their Python. Where that is the tests' own, code can work in tests
and fail for users, because a test tool brought a library along.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRAS = ("cjk",)
"""Extras of Locum that concern sessions: fonts."""


def dependencies(name: str, extras: Iterable[str] = ()) -> dict[str, Distribution]:
    """Return the installed distributions that one requires, directly or not, by their names."""
    required: dict[str, Distribution] = {}
    waiting = [(name, frozenset(extras))]
    seen = set(waiting)
    while waiting:
        current, wanted = waiting.pop()
        for line in distribution(current).requires or ():
            requirement = Requirement(line)
            if not _applies(requirement, wanted):
                continue
            package = canonicalize_name(requirement.name)
            required[package] = distribution(package)
            if (item := (package, frozenset(requirement.extras))) not in seen:
                seen.add(item)
                waiting.append(item)
    return required


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def user_python() -> Path:
    """Return the Python of `.venv-user-3.x`, which is built when it is missing or other versions are installed."""
    packages = dependencies("locum", EXTRAS)
    versions = [sys.version, *sorted(f"{name}=={package.version}" for name, package in packages.items())]
    folder = ROOT / ".venv-user-{}.{}".format(*sys.version_info)
    folder.mkdir(exist_ok=True)
    stamp, environment = folder / "versions.txt", folder / "environment"
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of pytest-xdist start at the same time
        if not stamp.exists() or stamp.read_text() != "\n".join(versions):
            shutil.rmtree(environment, ignore_errors=True)
            _build(environment, packages.values())
            stamp.write_text("\n".join(versions))
    finally:
        os.close(lock)
    return environment / "bin/python"


def _build(folder: Path, packages: Iterable[Distribution]) -> None:
    """Link the files of packages into a new environment: it takes seconds, an installation takes minutes."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site_packages,) = (folder / "lib").glob("python*/site-packages")
    for package in packages:
        for file in package.files or ():
            if ".." not in file.parts:  # programs
                target = site_packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(Path(str(package.locate_file(file))), target)


def _link(source: Path, target: Path) -> None:
    if not source.exists():  # bytecode that was never written
        return
    try:
        target.hardlink_to(source)
    except OSError:  # another file system
        shutil.copy2(source, target)
