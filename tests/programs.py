"""Programs written as users of the SDK write them: scripts of `examples/`, code of the documentation's pages."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.forkserver import ForkServer


@cache
def _programs(python: Path) -> ForkServer:
    parts = ("", ".resources.beta", ".resources.files", ".resources.models", ".lib.streaming")
    return ForkServer(python, flags=("-W", "ignore"), modules=[f"openai{part}" for part in parts])


def run_script(
    script: Path, *arguments: str, cwd: Path, python: Path = Path(sys.executable), **env: str
) -> subprocess.CompletedProcess[str]:
    return _programs(python).run(str(script), *arguments, env={**os.environ, **env}, cwd=cwd, timeout=100)


def run_code(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As `python -c` does."""
    return _programs(Path(sys.executable)).run("-c", code, env=os.environ, cwd=cwd, timeout=100)
