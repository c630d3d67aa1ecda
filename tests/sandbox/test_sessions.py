"""What a session does for the one who uses it: cells as in a notebook, files in and out, each cell once."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from locum.errors import LocumError
from locum.sandbox.session import NotWritable, QuotaExceeded, SessionLost
from tests.sandbox.conftest import SMALL, Box, pieces, start


@pytest.fixture
def many_files(tmp_path: Path) -> Iterator[Box]:
    """Sessions that may have thousands of files."""
    box = start(tmp_path / "sandbox", msgspec.structs.replace(SMALL, inodes=20_000))
    yield box
    box.close()


def test_variables_survive_between_cells(box: Box, key: str) -> None:
    box.cell(key, "x = 20\ndef double(n): return 2 * n")
    result = box.cell(key, "double(x) + 2")
    assert (result.logs, result.ok, result.error, result.reset) == ("42\n", True, None, False)


def test_logs_hold_output_errors_and_the_last_expression_in_order(box: Box, key: str) -> None:
    result = box.cell(key, "import sys\nprint('a')\nprint('b', file=sys.stderr)\n!echo c\nprint('d')\n'e'")
    assert result.logs == "a\nb\nc\nd\n'e'\n"


def test_a_traceback_names_the_line_and_no_host_path(box: Box, key: str) -> None:
    result = box.cell(key, "import pandas as pd\npd.DataFrame({'a': [1]})['b']")
    assert (result.ok, result.error) == (False, "KeyError")
    assert "----> 2 pd.DataFrame({'a': [1]})['b']" in result.logs
    assert "File pandas/core/frame.py" in result.logs
    assert "site-packages" not in result.logs


def test_a_warning_names_no_host_path(box: Box, key: str) -> None:
    result = box.cell(key, "import numpy as np\nnp.array([1.0]) / 0")
    assert "RuntimeWarning: divide by zero" in result.logs
    assert "site-packages" not in result.logs


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("input('name? ')", "EOFError", "EOF when reading a line"),
        ("import sys; sys.exit(3)", "SystemExit", "SystemExit: 3"),
        ("def f(:", "SyntaxError", "invalid syntax"),
        ("def f(): f()\nf()", "RecursionError", "maximum recursion depth"),
        ("import no_such_package", "ModuleNotFoundError", "No module named 'no_such_package'"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("class Übel(Exception): pass\nraise Übel('x')", "Übel", "x"),
    ],
)
def test_what_fails_says_so_and_leaves_the_session_usable(
    code: str, error: str, words: str, box: Box, key: str
) -> None:
    result = box.cell(key, code)
    assert (result.ok, result.error, result.reset) == (False, error, False)
    assert words in result.logs
    assert box.cell(key, "1 + 1").logs == "2\n"


def test_top_level_await_works(box: Box, key: str) -> None:
    assert box.cell(key, "import asyncio\nawait asyncio.sleep(0, 'done')").logs == "'done'\n"


@pytest.mark.parametrize("code", ["!pip install requests", "%pip install requests"])
def test_pip_explains_itself(code: str, box: Box, key: str) -> None:
    logs = box.cell(key, code).logs
    assert "There is no internet access in this sandbox" in logs
    assert "pandas" in logs


def test_a_plot_becomes_an_image(box: Box, key: str) -> None:
    result = box.cell(key, "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nplt.bar([1], [2]);")
    assert [image.name for image in result.images] == ["image-1.png", "image-2.png"]
    data = box.read(key, result.images[1])
    assert data.startswith(b"\x89PNG")
    assert len(data) == result.images[1].size


@pytest.mark.parametrize(
    "code",
    [
        "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1])\nfig",
        "from PIL import Image\nImage.new('RGB', (8, 8))",
        "from PIL import Image\ndisplay(Image.new('RGB', (8, 8)))",
        "class Picture:\n    def _repr_png_(self): return PNG\nPicture()",
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "import seaborn, pandas\nseaborn.histplot(pandas.Series([1, 2, 2]));",
    ],
)
def test_one_image_for_whatever_can_be_drawn(code: str, box: Box, key: str) -> None:
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * 100).decode()
    result = box.cell(key, f"import base64; PNG = base64.b64decode('{png}')\n{code}")
    assert len(result.images) == 1, result.logs


def test_a_figure_that_cannot_be_drawn_is_an_error_of_the_cell(box: Box, key: str) -> None:
    result = box.cell(key, "import matplotlib.pyplot as plt\nplt.plot([1]); plt.title('$\\\\frac{1$');")
    assert (result.ok, result.error) == (False, "ValueError")
    assert box.cell(key, "1 + 1").logs == "2\n"


def test_temporary_files_have_a_place_wherever_the_interpreter_lives(box: Box, key: str) -> None:
    code = "import os, sys\nopen('/tmp/x', 'w').write('mine')\nprint(open(os.environ['TMPDIR'] + '/x').read())"
    assert box.cell(key, code).logs == "mine\n"
    with pytest.raises(StopIteration):
        next(name for name in box.cell(key, "print(*os.listdir('/tmp'))").logs.split() if name.startswith("pytest"))
    assert box.cell(key, "open(os.path.dirname(sys.executable) + '/x', 'w')").error in ("OSError", "PermissionError")


def test_korean_in_a_figure_gives_an_image(box: Box, key: str) -> None:
    result = box.cell(key, "import matplotlib.pyplot as plt\nplt.plot([1, -2]); plt.title('매출');")
    assert len(result.images) == 1


def test_a_file_put_in_can_be_read_and_is_not_an_output(box: Box, key: str) -> None:
    box.put(key, "매출 2024.csv", b"a,b\n1,2\n", tag="file-1")
    result = box.cell(key, "import pandas as pd\nint(pd.read_csv('/mnt/data/매출 2024.csv').b[0])")
    assert (result.logs, result.files) == ("2\n", ())
    assert box.open(key).files == {"매출 2024.csv": "file-1"}


def test_new_and_changed_files_come_out_and_others_do_not(box: Box, key: str) -> None:
    box.put(key, "in.csv", b"1\n")
    box.put(key, "untouched.csv", b"1\n")
    code = "import os; os.mkdir('sub'); open('sub/new.txt', 'w').write('new')\nopen('in.csv', 'a').write('2\\n');"
    result = box.cell(key, code)
    assert {file.name: box.read(key, file) for file in result.files} == {"in.csv": b"1\n2\n", "sub/new.txt": b"new"}
    assert box.cell(key, "1").files == ()


def test_outputs_of_an_earlier_cell_are_gone(box: Box, key: str) -> None:
    (output,) = box.cell(key, "open('a.txt', 'w').write('x');").files
    box.cell(key, "1")
    with pytest.raises(SessionLost):
        box.read(key, output)


def test_a_large_file_comes_and_goes_unchanged(box: Box, key: str) -> None:
    data = bytes(range(256)) * 40_000
    box.put(key, "large.bin", data)
    result = box.cell(key, "import shutil; shutil.copy('large.bin', 'copy.bin');")
    assert box.read(key, result.files[0]) == data


def test_a_file_that_does_not_fit_leaves_nothing_behind(box: Box, key: str) -> None:
    with pytest.raises(QuotaExceeded, match="48 MiB"):
        box.put(key, "huge.bin", b"\0" * (SMALL.disk_bytes + 1))
    assert box.cell(key, "import os; os.listdir('/mnt/data'), os.statvfs('/mnt/data').f_bavail > 10_000").logs == (
        "([], True)\n"
    )
    assert box.open(key).files == {}


@pytest.mark.parametrize("name", ["../x", "a/../b", "/a", "a//b", "", ".", "..", "x\0y", "n" * 256, "d/" * 9 + "x"])
def test_a_name_that_is_no_file_name_is_refused(name: str, box: Box, key: str) -> None:
    with pytest.raises(LocumError):
        box.put(key, name, b"x")


def test_putting_over_a_link_replaces_the_link(box: Box, key: str) -> None:
    box.cell(key, "import os; os.symlink('/etc/passwd', 'in.csv')")
    box.put(key, "in.csv", b"data")
    assert box.cell(key, "import os; os.path.islink('in.csv'), open('in.csv').read()").logs == "(False, 'data')\n"


def test_pieces_of_output_come_while_the_cell_runs_and_make_up_the_logs(box: Box, key: str) -> None:
    async def check() -> None:
        first = asyncio.Event()
        told: list[str] = []

        def listen(piece: str) -> None:
            told.append(piece)
            first.set()

        code = "import os, time\nprint('begun')\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('ended')"
        cell = asyncio.create_task(box.sandbox.execute(key, "streamed", code, listen))
        await first.wait()
        assert not cell.done()
        assert told == ["begun\n"]
        folder = box.sandbox.execute(key, "never reached while the first runs", "1")
        waiting = asyncio.create_task(folder)
        cell.cancel()
        await asyncio.gather(cell, return_exceptions=True)
        assert (await waiting).ok

    box.run(check())
    told: list[str] = []
    result = box.cell(key, "for n in range(3000): print(n)", on_output=told.append)
    assert "".join(told) == result.logs
    assert "bytes of output left out" in result.logs


def test_a_call_id_runs_once(box: Box, key: str) -> None:
    box.cell(key, "count = 0")
    first = box.cell(key, "count += 1; print(count); open('a.txt', 'w').write('x');", call_id="once")
    second = box.cell(key, "count += 1; print(count)", call_id="once")
    assert first == second
    assert first.logs == "1\n"
    assert box.cell(key, "count").logs == "1\n"


def test_a_second_listener_hears_a_running_cell_from_its_beginning(box: Box, key: str) -> None:
    async def check() -> None:
        begun = asyncio.Event()
        first, second = [], []
        code = "import time\nprint('a')\ntime.sleep(0.2)\nprint('b')"

        def listen(piece: str) -> None:
            first.append(piece)
            begun.set()

        cell = asyncio.create_task(box.sandbox.execute(key, "shared", code, listen))
        await begun.wait()
        again = await box.sandbox.execute(key, "shared", code, second.append)
        assert await cell == again
        assert "".join(first) == "".join(second) == "a\nb\n"

    box.run(check())


def test_cancelling_interrupts_the_cell_and_keeps_variables(box: Box, key: str) -> None:
    async def check() -> None:
        begun = asyncio.Event()
        code = "x = 7\nprint('begun')\nimport time; time.sleep(60)"
        cell = asyncio.create_task(box.sandbox.execute(key, "cancelled", code, lambda piece: begun.set()))
        await begun.wait()
        cell.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cell

    box.run(check())
    assert box.cell(key, "x").logs == "7\n"
    told = box.cell(key, "", call_id="cancelled")
    assert (told.error, told.reset) == ("KeyboardInterrupt", False)
    assert "[The cell was interrupted.]" in told.logs


def test_cancelling_a_cell_that_waits_for_its_turn_leaves_the_session_alone(box: Box, key: str) -> None:
    async def check() -> None:
        begun = asyncio.Event()
        code = "x = 7\nprint('begun')\nimport time; time.sleep(0.3)"
        first = asyncio.create_task(box.sandbox.execute(key, "first", code, lambda piece: begun.set()))
        await begun.wait()
        second = asyncio.create_task(box.sandbox.execute(key, "second", "x = 8"))
        await box.sandbox.open("meanwhile")
        second.cancel()
        assert (await first).ok

    box.run(check())
    assert box.cell(key, "x").logs == "7\n"
    assert box.cell(key, "", call_id="second").error == "KeyboardInterrupt"


def test_a_deleted_session_starts_from_nothing(box: Box) -> None:
    key = box.session()
    box.put(key, "a.txt", b"x")
    box.cell(key, "x = 1")
    box.run(box.sandbox.delete(key))
    opened = box.open(key)
    assert (opened.fresh, opened.files) == (True, {})
    result = box.cell(key, "import os; 'x' in globals(), os.listdir()")
    assert (result.logs, result.reset) == ("(False, [])\n", False)


def test_a_file_can_be_put_into_a_folder(box: Box, key: str) -> None:
    box.put(key, "a/b/한.txt", b"deep")
    box.put(key, "a/x.txt", b"flat")
    code = (
        "import os\nprint(open('/mnt/data/a/b/한.txt').read(), sorted(os.listdir('a')))\nopen('a/b/new', 'w').close()"
    )
    assert box.cell(key, code).logs == "deep ['b', 'x.txt']\n"
    box.put(key, "a/b/한.txt", b"changed")
    assert box.cell(key, "open('a/b/한.txt').read()").logs == "'changed'\n"


def test_what_stands_in_the_way_of_a_file_is_said(box: Box, key: str) -> None:
    box.cell(key, "import os\nopen('f', 'w').close(); os.mkdir('d'); os.symlink('/tmp', 'l')")
    for name in ("f/x", "d", "l/x"):
        with pytest.raises(NotWritable):
            box.put(key, name, b"x")
    assert box.cell(key, "sorted(os.listdir()), os.path.exists('/tmp/x')").logs == "(['d', 'f', 'l'], False)\n"


def test_a_cell_tells_which_files_it_removed(box: Box, key: str) -> None:
    box.put(key, "put.txt", b"x")
    box.cell(key, "import os\nfor n in ('a', 'b', 'c', 'e'): open(n, 'w').close()")
    result = box.cell(key, "os.remove('a'); os.remove('put.txt'); os.rename('b', 'd'); open('c', 'w').write('x')")
    assert result.removed == ("a", "b", "put.txt")
    assert {file.name for file in result.files} == {"c", "d"}
    assert box.cell(key, "1").removed == ()


def test_output_begins_with_what_its_caller_has_to_say_and_pieces_add_up(box: Box, key: str) -> None:
    async def check() -> None:
        pieces: list[str] = []
        code = "for n in range(3000): print(n)"
        result = await box.sandbox.execute(key, "said", code, pieces.append, preface="Note: x\n")
        assert result.logs.startswith("Note: x\n0\n1\n")
        assert "left out" in result.logs
        assert "".join(pieces) == result.logs
        again: list[str] = []
        assert await box.sandbox.execute(key, "said", code, again.append, preface="another") == result
        assert "".join(again) == result.logs

    box.run(check())


def test_a_session_whose_cell_ignored_its_interruption_says_so_in_the_next(box: Box, key: str) -> None:
    async def check() -> None:
        begun = asyncio.Event()
        code = "import signal, time\nx = 7\nopen('kept', 'w').write('k')\nsignal.signal(signal.SIGINT, signal.SIG_IGN)"
        code += "\nprint('begun')\nwhile True: time.sleep(0.01)"
        cell = asyncio.create_task(box.sandbox.execute(key, "deaf", code, lambda piece: begun.set()))
        await begun.wait()
        cell.cancel()

    box.run(check())
    result = box.cell(key, "'x' in globals(), open('kept').read()")
    assert result.logs == (
        "[This session is new: the variables of earlier calls are gone. The files in /mnt/data were kept.]\n"
        "(False, 'k')\n"
    )
    assert result.reset
    assert box.cell(key, "1").logs == "1\n"


def test_a_session_that_runs_a_cell_is_open_at_once(box: Box, key: str) -> None:
    async def check() -> None:
        begun = asyncio.Event()
        cell = asyncio.create_task(
            box.sandbox.execute(key, "long", "print('begun')\nimport time; time.sleep(60)", lambda piece: begun.set())
        )
        await begun.wait()
        assert not (await box.sandbox.open(key)).fresh
        assert not cell.done()
        cell.cancel()

    box.run(check())


def test_variables_that_a_caller_knows_of_are_said_to_be_gone(box: Box) -> None:
    key = "known to the caller"
    assert box.open(key).fresh
    assert box.run(box.sandbox.open(key, lost=True)).fresh
    assert box.cell(key, "1").logs == "[This session is new: the variables of earlier calls are gone.]\n1\n"
    box.run(box.sandbox.open(key, lost=True))
    assert box.cell(key, "2").logs == "2\n"


def test_opening_twice_is_opening_once(box: Box) -> None:
    key = "opened twice"
    assert box.open(key).fresh
    box.cell(key, "x = 1")
    assert not box.open(key).fresh
    assert box.cell(key, "x").logs == "1\n"


def test_a_session_that_was_never_opened_is_lost(box: Box) -> None:
    with pytest.raises(SessionLost):
        box.cell("nobody's", "1")
    with pytest.raises(SessionLost):
        box.run(box.sandbox.put("nobody's", "a", "t", pieces(b"x" * 1_000_000)))


def test_cells_of_many_sessions_run_side_by_side(box: Box) -> None:
    async def one(number: int) -> str:
        key = f"side-{number}"
        await box.sandbox.open(key)
        return (await box.sandbox.execute(key, "c", f"import time; time.sleep(0.1); {number} * 2")).logs

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(number) for number in range(8)))

    assert box.run(all_of_them()) == [f"{number * 2}\n" for number in range(8)]


MANY_FILES = """
import os
for number in range({count}):
    os.close(os.open(f'/mnt/data/{{"x" * 150}} {{number}}', os.O_CREAT))
"""


def test_others_are_served_while_thousands_of_outputs_are_collected(many_files: Box) -> None:
    one, other = many_files.session(), many_files.session()
    many_files.cell(one, MANY_FILES.format(count=3900))
    ended = asyncio.Event()

    async def serve_meanwhile() -> int:
        """Count the calls of the other session that are answered while the first one's outputs are collected."""
        execute = many_files.sandbox.execute
        last = "for name in os.listdir('/mnt/data'): os.remove(f'/mnt/data/{name}')\nprint('last words')"
        running = asyncio.ensure_future(execute(one, "last", last, lambda piece: ended.set()))
        await ended.wait()
        answered = 0
        while not running.done():
            await many_files.sandbox.open(other)
            answered += 1
        assert len((await running).removed) == 3900
        return answered

    assert many_files.run(serve_meanwhile()) > 0  # how many depends on the machine; `test_collect` has the mechanism
