"""Code that takes all it can get, or breaks what it runs in: each is bounded, and the next session does not notice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.conftest import SMALL, Box, wait_until


@pytest.fixture(autouse=True)
def _next_one_is_fine(box: Box) -> Iterator[None]:
    yield
    key = box.session()
    assert box.cell(key, "6 * 7").logs == "42\n"
    box.run(box.sandbox.delete(key))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os._exit(7)", "exit status 7"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.abort()", "killed by SIG"),
        ("import os; os.close(3)", "its channel"),
        ("import os; os.write(3, b'\\x80\\x04N.')", "broke the protocol"),
        ("import os; os.write(3, b'{' * 100_000)", "broke the protocol"),
        ('import os; os.write(3, b\'{"id": 99, "error": null}\')', "broke the protocol"),
        ('import os; os.write(3, b\'{"id": 2, "error": null, "more": 1}\')', "broke the protocol"),
        (
            "import socket; socket.send_fds(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, 3),"
            ' [b\'{"id": 2, "error": null}\'], [0])',
            "broke the protocol",
        ),
    ],
)
def test_a_session_that_dies_says_why_and_its_files_are_kept(code: str, reason: str, box: Box, key: str) -> None:
    box.put(key, "in.csv", b"1,2\n", tag="file-1")
    box.cell(key, "x = 1; import os; os.mkdir('sub'); open('sub/made.txt', 'w').write('made')")
    result = box.cell(key, f"print('so far')\n{code}\nimport time; time.sleep(60)")
    assert (result.ok, result.error, result.reset) == (False, "SessionDied", True)
    assert result.logs.startswith("so far\n")
    assert reason in result.logs
    assert box.open(key).files == {"in.csv": "file-1"}
    after = box.cell(key, "print(open('in.csv').read(), open('sub/made.txt').read(), 'x' in globals())")
    assert (after.logs, after.reset, after.files) == ("1,2\n made False\n", False, ())


def test_a_forged_end_of_a_cell_gains_nothing(box: Box, key: str) -> None:
    """It is believed for that cell; what goes on running is stopped, and what it answers later ends the session."""
    code = 'import os, time\nos.write(3, b\'{"id": 1, "error": null}\')\nfor n in range(100): time.sleep(0.02)'
    assert box.cell(key, code).ok
    later = box.cell(key, "print('mine')")
    assert later.error == "SessionDied" or later.logs.strip() in ("", "mine")
    assert box.cell(box.session(), "1 + 1").logs == "2\n"


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "while True: pass",
        "9 ** 9 ** 9 % 1",
        "import subprocess; subprocess.run(['sleep', '60'])",
    ],
)
def test_a_cell_that_takes_too_long_is_stopped(code: str, hasty: Box) -> None:
    key = hasty.session()
    result = hasty.cell(key, f"x = 5\n{code}")
    assert (result.ok, result.error) == (False, "Timeout")
    assert "ran longer than 1 seconds" in result.logs
    if not result.reset:
        assert hasty.cell(key, "x").logs == "5\n"


def test_a_cell_that_ignores_interrupts_is_killed_and_its_files_are_kept(hasty: Box) -> None:
    key = hasty.session()
    code = "open('kept.txt', 'w').write('kept')\nimport signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)"
    result = hasty.cell(key, f"{code}\nwhile True: pass")
    assert (result.error, result.reset) == ("Timeout", True)
    assert hasty.read(key, result.files[0]) == b"kept"
    assert hasty.cell(key, "open('kept.txt').read()").logs == "'kept'\n"


def test_a_fork_bomb_meets_the_process_limit(box: Box, key: str) -> None:
    code = (
        "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(60)\n        n += 1\n"
        "except OSError as error: print(n, error.errno)"
    )
    assert box.cell(key, code).logs == f"{SMALL.processes - 1} 11\n"
    assert box.cell(key, "1 + 1").logs == "2\n"


def test_a_bomb_of_children_that_fork_is_bounded(hasty: Box) -> None:
    result = hasty.cell(hasty.session(), "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass")
    assert result.error in ("Timeout", "SessionDied")


def test_a_heap_bomb_is_a_memory_error(box: Box, key: str) -> None:
    result = box.cell(key, "x = 1\nblocks = []\nwhile True: blocks.append(bytearray(8 << 20))")
    assert result.error in ("MemoryError", "SessionDied")
    assert box.cell(key, "import numpy as np\nnp.ones((1 << 20, 1 << 10))").error == "MemoryError"


def test_memory_beyond_one_process_is_watched(box: Box, key: str) -> None:
    hold = "b = bytearray(120 << 20); time.sleep(60)"
    code = f"import os, time\nfor _ in range(6):\n    if os.fork() == 0:\n        {hold}\ntime.sleep(60)"
    result = box.cell(key, code)
    assert result.error == "SessionDied"
    assert "more than 320 MiB of memory" in result.logs


def test_memory_is_not_kept_beyond_the_cell_that_took_too_much(box: Box, key: str) -> None:
    children = "for _ in range(4):\n    if os.fork() == 0: b = bytearray(120 << 20); time.sleep(60)"
    box.cell(key, f"import os, time\nm = 1\n{children}\ntime.sleep(1)")
    assert box.cell(key, "'m' in globals()").logs == "False\n"


def test_shared_memory_without_a_file_is_refused(box: Box, key: str) -> None:
    """Of what is not mapped any more nobody would know; a file does as well, and counts."""
    assert box.cell(key, "import mmap; mmap.mmap(-1, 4096)").error == "PermissionError"
    code = (
        "import multiprocessing as mp\nwith mp.Pool(2) as pool: print(pool.map(abs, [-1, 2]), mp.Value('i', 7).value)"
    )
    assert box.cell(key, code).logs == "[1, 2] 7\n"


def test_the_disk_has_an_end(box: Box, key: str) -> None:
    code = "with open('big', 'wb') as f:\n    while True: f.write(bytes(1 << 20))"
    result = box.cell(key, code)
    assert (result.error, "No space left" in result.logs) == ("OSError", True)
    result = box.cell(key, "import os; os.remove('big')\nfor n in range(10**6): open(f'{n}', 'w').close()")
    assert (result.error, "No space left" in result.logs, len(result.files)) == ("OSError", True, 10)
    assert "files were not collected" in result.logs


def test_open_files_have_an_end(box: Box, key: str) -> None:
    assert "Too many open files" in box.cell(key, "fs = [open('/dev/null') for _ in range(1000)]").logs


def test_a_flood_of_output_is_cut_in_the_middle_and_costs_the_writer(hasty: Box) -> None:
    result = hasty.cell(hasty.session(), "print('first')\nwhile True: print('x' * 1000)")
    assert result.error == "Timeout"
    assert result.logs.startswith("first\n")
    assert len(result.logs) < SMALL.output_bytes + 500
    omitted = int(result.logs.split(" bytes of output left out")[0].split("[... ")[1])
    assert omitted < 8 * SMALL.drain_bytes


def test_code_gives_way_to_the_server_and_cannot_help_it(box: Box, key: str) -> None:
    result = box.cell(key, "import os\nprint(os.nice(0) >= 10)\nos.nice(-1)")
    assert result.logs.startswith("True\n")
    assert result.error == "PermissionError"


def test_processes_left_behind_do_not_run_between_cells(box: Box, key: str) -> None:
    child = "import time\nwhile True: time.sleep(0.001)  # left behind"
    start = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True);"
    assert box.cell(key, start).ok
    wait_until(lambda: _states("left behind") == {"T"})
    assert box.cell(key, "import time; time.sleep(0.1)").ok
    wait_until(lambda: _states("left behind") == {"T"})
    box.run(box.sandbox.delete(key))
    box.open(key)
    wait_until(lambda: not _states("left behind"))


def _states(words: str) -> set[str]:
    """The states of all processes on this machine whose arguments hold `words`."""
    states = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if words.encode() in (process / "cmdline").read_bytes():
                states.add((process / "stat").read_text().rpartition(")")[2].split()[0])
    return states


def test_links_and_odd_files_are_not_collected(box: Box, key: str) -> None:
    code = (
        "import os\nos.symlink('/etc/passwd', 'link.txt')\nos.symlink('/etc', 'folder')\n"
        "os.symlink('/proc/self/root', 'root')\nos.mkdir('.hidden'); open('.hidden/x', 'w')\n"
        "open('real.txt', 'w').write('x');"
    )
    assert [file.name for file in box.cell(key, code).files] == ["real.txt"]


def test_a_folder_swapped_for_a_link_shows_nothing_of_the_host(box: Box, key: str) -> None:
    (output,) = box.cell(key, "import os; os.mkdir('d'); open('d/passwd', 'w').write('mine');").files
    assert box.read(key, output) == b"mine"
    result = box.cell(key, "import shutil; shutil.rmtree('d'); os.symlink('/etc', 'd')")
    assert result.files == ()


def test_strange_names_come_out_harmless(box: Box, key: str) -> None:
    code = (
        "import os\nfor name in [b'a\\nb.txt', b'\\xff\\xfe.bin', b'<script>.html', b'x' * 255,"
        " b'\\x1b[31mred', b'a\\\\..\\\\up']:\n"
        "    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))"
    )
    names = [file.name for file in box.cell(key, code).files]
    assert len(names) == 6
    for name in names:
        assert name.isprintable()
        assert "\\" not in name
        assert len(name.encode()) <= 255


def test_a_sparse_file_is_not_collected_beyond_the_limit(box: Box, key: str) -> None:
    result = box.cell(key, "f = open('sparse', 'wb'); f.truncate(40 << 20); f.close()")
    assert result.files == ()
    assert "1 files were not collected" in result.logs


def test_deep_folders_do_not_hurt(box: Box, key: str) -> None:
    result = box.cell(key, "import os\nfor _ in range(900):\n    os.mkdir('d'); os.chdir('d')\nopen('x', 'w').close()")
    assert (result.ok, result.files) == (True, ())


def test_what_is_not_a_png_is_not_an_image(box: Box, key: str) -> None:
    code = (
        "open('/run/session/images/image-1.png', 'w').write('<svg onload=alert(1)>')\n"
        "import os; os.symlink('/etc/passwd', '/run/session/images/image-2.png')"
    )
    assert box.cell(key, code).images == ()


def test_only_so_many_images(box: Box, key: str) -> None:
    result = box.cell(key, "from PIL import Image\nfor _ in range(9): display(Image.new('RGB', (4, 4)))")
    assert len(result.images) == SMALL.images_per_cell
    assert "4 images were not collected" in result.logs


def test_terminal_escapes_do_not_reach_the_logs(box: Box, key: str) -> None:
    result = box.cell(key, r"print('\x1b[31mred\x1b[0m \x1b]0;title\x07\x00\x08bell\x07 \u202eback')")
    assert result.logs == "red bell back\n"


def test_tampering_with_the_runner_harms_only_the_session_itself(box: Box, key: str) -> None:
    code = (
        'import sys, json, gc\njson.dumps = lambda *a, **k: \'{"id": 1, "error": "A\\\\u202eB"}\'\n'
        "sys.stdout = sys.stderr = None"
    )
    result = box.cell(key, code)
    assert result.error in ("Exception", "SessionDied")
