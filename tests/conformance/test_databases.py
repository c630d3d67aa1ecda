"""The suite is run on SQLite; what holds there holds on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_behaviours_hold_on_postgresql_too() -> None:
    options = ["-q", "-m", "not long", "-p", "no:cacheprovider", "--database", "postgresql"]
    command = [sys.executable, "-m", "pytest", *options, "tests/conformance"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
