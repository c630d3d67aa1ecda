"""A forked program runs as in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forkserver import ForkServer, can_set


@pytest.fixture(scope="module")
def programs() -> ForkServer:
    return ForkServer(modules=["json"], flags=["-W", "ignore"])


@pytest.fixture
def null() -> Iterator[int]:
    with Path(os.devnull).open("wb") as file:
        yield file.fileno()


def test_program_has_its_own_arguments_environment_folder_and_output(programs: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import json, os, sys\n"
        "print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), __name__]))\n"
        "print('trouble', file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    script = str(tmp_path / "program.py")
    done = programs.run(script, "a", "b", env={"NAME": "value"}, cwd=tmp_path, timeout=20)
    assert done.stdout == f'[["a", "b"], {{"NAME": "value"}}, "{tmp_path}", "__main__"]\n'
    assert (done.stderr, done.returncode) == ("trouble\n", 3)


def test_program_that_raises_ends_with_a_traceback(programs: ForkServer, tmp_path: Path) -> None:
    done = programs.run("-c", "1 / 0", env={}, cwd=tmp_path, timeout=20)
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_killed_program_has_the_signal_as_its_exit_code(programs: ForkServer, tmp_path: Path, null: int) -> None:
    code = "import time; time.sleep(60)"
    process = programs.start("-c", code, env={}, cwd=tmp_path, stdout=null, stderr=null)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0)
    process.kill()
    assert process.wait(20) == process.poll() == -signal.SIGKILL
    process.kill()  # which is too late, and does nothing


def test_programs_do_not_see_what_others_changed(programs: ForkServer, tmp_path: Path) -> None:
    programs.run("-c", "import json; json.changed = True", env={}, cwd=tmp_path, timeout=20)
    done = programs.run("-c", "import json; print(hasattr(json, 'changed'))", env={}, cwd=tmp_path, timeout=20)
    assert done.stdout == "False\n"


def test_variables_that_the_interpreter_reads_need_a_fresh_one() -> None:
    here = dict(os.environ)
    assert can_set({**here, "LOCUM_PORT": "1"})
    assert not can_set({**here, "PYTHONPATH": "elsewhere"})
    assert not can_set({**here, "TMPDIR": "elsewhere"})
