"""Sessions can have another Python than the server: any that is new enough, with the packages it has."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from locum.errors import LocumError
from locum.sandbox.client import Mode, Sandbox
from locum.sandbox.interpreter import NoInterpreter, examine, executable
from locum.sandbox.profile import NOTEBOOK
from locum.sandbox.session import SandboxUnavailable, Status
from tests.sandbox.conftest import SMALL, Box, start, system_python
from tests.serving import serving


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a virtual environment with one tiny package and nothing else."""
    folder = tmp_path_factory.mktemp("python") / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (library,) = (folder / "lib").glob("python*/site-packages")
    (library / "tiny").mkdir()
    (library / "tiny/__init__.py").write_text("value = 42\ndef show():\n    import sys\n    print(sys.prefix, exit)\n")
    return folder


@pytest.fixture(scope="module")
def bare_box(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = start(tmp_path_factory.mktemp("data") / "sandbox", profile=NOTEBOOK, python=bare)
    yield box
    box.close()


def test_the_folder_of_an_environment_stands_for_its_python(bare: Path, bare_box: Box) -> None:
    key = bare_box.session()
    assert bare_box.cell(key, "import sys\nsys.prefix").logs == f"{str(bare)!r}\n"
    assert bare_box.cell(key, "import tiny\ntiny.value").logs == "42\n"
    assert bare_box.cell(key, "'.' in sys.path").logs == "False\n", "packages beside an installed locum are not its own"


@pytest.mark.parametrize("option", ["--without-pip", "--system-site-packages"])
def test_a_session_has_the_path_that_its_python_has_elsewhere(option: str, tmp_path: Path) -> None:
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", option, folder], check=True)
    question = "import os, sys, sysconfig\nprint([path for path in sys.path if os.path.isdir(path)], end=' ')\n"
    question += "print(sys.prefix, sys.base_prefix, sorted(sysconfig.get_paths().values()))"
    expected = subprocess.run(
        [folder / "bin/python", "-I", "-c", question], capture_output=True, text=True, check=True
    ).stdout
    box = start(tmp_path / "sandbox", python=folder)
    try:
        box.open("a")
        assert box.cell("a", f"import sys\ndel sys.path[:2]  # of the session\n{question}").logs == expected
    finally:
        box.close()


def test_a_process_that_a_cell_spawns_has_the_environment_too(bare: Path, bare_box: Box) -> None:
    code = (
        "import multiprocessing, tiny\n"
        "process = multiprocessing.get_context('spawn').Process(target=tiny.show)\nprocess.start()\nprocess.join()"
    )
    assert bare_box.cell(bare_box.session(), code).logs.startswith(f"{bare} Use exit")


_WITNESS = """
import os, socket

def works(attempt):
    try:
        attempt()
    except OSError:
        return False
    return True

found = {
    "writes a file of the host": works(lambda: open(MARK, "a").close()),
    "reads the password file": works(lambda: open("/etc/shadow").close()),
    "opens a socket": works(lambda: socket.socket()),
    "traces a process": works(lambda: open(f"/proc/{SERVER}/environ", "rb").read()),
    "makes a device": works(lambda: os.mknod(f"{MARK}-device", 0o20600, os.makedev(1, 3))),
}
"""


@pytest.mark.parametrize("tier", ["namespaces", "landlock", "weak"])
def test_code_of_an_environment_runs_isolated_only(tier: Mode, tmp_path: Path) -> None:
    """Both the `.pth` file and `sitecustomize` run where Python starts, before anything is imported."""
    if tier == "landlock" and os.geteuid() != 0:
        pytest.skip("only root can give sessions users of their own")
    with tempfile.TemporaryDirectory(prefix="environment-") as folder:  # which users of sessions may pass through
        Path(folder).chmod(0o755)
        base = sys.executable if tier == "namespaces" else system_python()
        subprocess.run([base, "-m", "venv", "--without-pip", f"{folder}/hostile"], check=True)
        (packages,) = Path(folder).glob("hostile/lib/python*/site-packages")
        names = f"MARK, SERVER = {str(tmp_path / 'mark')!r}, {os.getpid()}"
        (packages / "witness.py").write_text(f"{names}\n{_WITNESS}")
        (packages / "first.pth").write_text("import witness\n")
        (packages / "sitecustomize.py").write_text("import witness\n")
        box = start(tmp_path / "sandbox", profile=NOTEBOOK, mode=tier, python=Path(folder) / "hostile")
        try:
            assert box.sandbox.status.tier == tier
            code = "import sys\nmodule = sys.modules['witness']\n[name for name, done in module.found.items() if done]"
            assert box.cell(box.session(), code).logs == "[]\n"
        finally:
            box.close()
    assert not list(tmp_path.glob("mark*"))


def test_a_broken_site_configuration_is_reported_to_the_caller(bare: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "sitecustomize.py").write_text("raise SystemExit('no licence')\n")
    box = start(tmp_path / "sandbox", profile=NOTEBOOK, python=folder)
    try:
        with pytest.raises(LocumError, match="packages of the sandbox's Python cannot be loaded: no licence"):
            box.session()
    finally:
        box.close()


def test_without_numpy_and_ipython_a_cell_is_still_a_notebook_s(bare_box: Box) -> None:
    key = bare_box.session()
    assert bare_box.cell(key, "x = 1\nimport asyncio\nawait asyncio.sleep(0, x + 1)").logs == "2\n"
    missing = bare_box.cell(key, "import numpy")
    assert missing.error == "ModuleNotFoundError"
    assert "packages cannot be installed. Use those that are here: the standard library." in missing.logs
    code = "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', 'install', 'numpy']).returncode"
    assert bare_box.cell(key, code).logs.endswith("the standard library.\n1\n")
    assert "Nobody can type" in bare_box.cell(key, "input()").logs


@pytest.mark.long
def test_figures_come_without_ipython_too(tmp_path: Path) -> None:
    """An environment with matplotlib and what it needs, linked from our own."""
    folder = tmp_path / "drawing"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (library,) = (folder / "lib").glob("python*/site-packages")
    (own,) = (Path(path) for path in sys.path if path.endswith("site-packages"))
    needed = "numpy numpy.libs matplotlib mpl_toolkits PIL pillow.libs kiwisolver contourpy cycler pyparsing dateutil"
    for name in needed.split():
        if (own / name).is_dir():
            shutil.copytree(own / name, library / name, copy_function=_link)
    for name in ("packaging", "fontTools"):
        shutil.copytree(own / name, library / name, copy_function=_link)
    shutil.copy2(own / "six.py", library)
    box = start(tmp_path / "sandbox", profile=NOTEBOOK, python=folder / "bin/python")
    try:
        key = box.session()
        plot = "import matplotlib.pyplot as plt\nfig, axes = plt.subplots(); axes.plot([1, 2])\n"
        assert len(box.cell(key, f"{plot}plt.show(); plt.plot([3])").images) == 2
        assert len(box.cell(key, f"{plot}fig").images) == 1
        assert len(box.cell(key, "from PIL import Image\nImage.new('RGB', (9, 9))").images) == 1
    finally:
        box.close()


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.mark.long
@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13", "3.14"])
def test_every_python_that_is_new_enough_runs_cells(version: str, tmp_path: Path) -> None:
    python = _other_python(version)
    box = start(tmp_path / "sandbox", profile=NOTEBOOK, python=python)
    try:
        key = box.session()
        code = "import sys\nprint(*sys.version_info[:2], sep='.')\nopen('a.txt', 'w').write('x')"
        result = box.cell(key, code)
        assert (result.logs, [file.name for file in result.files]) == (f"{version}\n1\n", ["a.txt"])
        assert box.cell(key, "def f(): raise ValueError('no')\nf()").error == "ValueError"
    finally:
        box.close()


def _other_python(version: str) -> Path:
    candidates = [Path(found) for found in (shutil.which(f"python{version}"),) if found]
    candidates += (Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python")
    for path in candidates:
        if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip(f"there is no Python {version} here")


@pytest.mark.parametrize(
    ("cell", "method"),
    [
        ("pass", "fork"),
        ("multiprocessing.set_start_method('spawn')", "spawn"),
    ],
)
def test_multiprocessing_forks_by_default_where_python_prefers_forkserver(cell: str, method: str) -> None:
    code = (
        "import multiprocessing\n"
        "from multiprocessing import context\n"
        "context._default_context._default_context = multiprocessing.get_context('forkserver')\n"  # as in Python 3.14
        "from locum.sandbox.inside.runner import fork_by_default\n"
        f"fork_by_default()\n{cell}\nprint(multiprocessing.get_start_method())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{method}\n"


def test_what_is_no_python_is_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("words")
    for path, words in (
        ("/no/such/python", "does not exist"),
        (tmp_path / "text", "is not a program that can be run"),
        ("/bin/false", "is no Python"),
        ("/bin/ls", "is no Python"),
    ):
        with pytest.raises(NoInterpreter, match=words):
            examine(Path(path))


def test_an_old_python_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho 3 9\n")
    old.chmod(0o755)
    with pytest.raises(NoInterpreter, match="is Python 3.9, and sessions need 3.10 or newer"):
        examine(old)


def test_links_to_a_python_are_kept(bare: Path) -> None:
    assert executable(bare) == bare / "bin" / "python"
    assert executable(bare / "bin" / "python").is_symlink()


def test_a_wrong_path_is_said_at_the_start_and_to_whoever_wants_code_run(tmp_path: Path) -> None:
    async def check() -> Status:
        sandbox = Sandbox(tmp_path / "sandbox", limits=SMALL, python=tmp_path / "no-python")
        status = await sandbox.start()
        with pytest.raises(SandboxUnavailable, match="LOCUM_SANDBOX_PYTHON: .*no-python does not exist"):
            await sandbox.open("a")
        await sandbox.close()
        return status

    status = asyncio.run(check())
    assert status.tier == "off"
    assert "set LOCUM_SANDBOX_PYTHON" in (status.fix or "")


def test_a_server_with_a_wrong_path_says_so_and_serves_all_else(tmp_path: Path) -> None:
    with serving(tmp_path / "data", LOCUM_SANDBOX_PYTHON="/no/such/python") as server:
        client = server.openai()
        assistant = client.beta.assistants.create(model="gpt-4o", tools=[{"type": "code_interpreter"}])
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "```python\nprint(1)\n```"}])
        run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
        assert run.status == "completed"
        said = client.beta.threads.messages.list(thread.id).data[0].content[0].text.value  # type: ignore[union-attr]
        assert "LOCUM_SANDBOX_PYTHON: /no/such/python does not exist" in said
        assert "LOCUM_SANDBOX_PYTHON" in server.output
