"""`locum demo`: what it shows, what it keeps, and that it leaves nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import assert_one_line, locum, processes_naming, said
from tests.serving import clean_environment

PNG = b"\x89PNG\r\n\x1a\n"
HERE = {  # what must not matter: settings, proxies, and the keys of other servers
    "LOCUM_MODEL_BASE_URL": "http://127.0.0.1:9/v1",
    "LOCUM_API_KEY": "secret",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
    "AZURE_OPENAI_AD_TOKEN": "token",
    "OPENAI_API_VERSION": "2020-01-01",
}


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def assert_nothing_is_left(temporary: Path) -> None:
    assert [path.name for path in temporary.iterdir() if path.name.startswith("locum")] == []
    assert processes_naming(temporary) == []


def test_the_demo_solves_draws_and_corrects_and_leaves_a_chart_only(tmp_path: Path, temporary: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    text = said("demo", cwd=work, TMPDIR=str(temporary), **HERE)
    for words in (
        "AzureOpenAI(azure_endpoint=",
        "x = 1",
        "8 rows, 4 columns",
        "KeyError: 'revnue'",
        "revnue -> revenue",
    ):
        assert words in text
    assert "demo model" in text
    (chart,) = work.iterdir()
    assert chart.read_bytes().startswith(PNG)
    assert str(chart) in text
    assert_nothing_is_left(temporary)


@pytest.mark.long
def test_the_demo_speaks_korean(tmp_path: Path) -> None:
    text = said("demo", "--lang", "ko", "--out", "새 폴더", cwd=tmp_path, PYTHONIOENCODING="utf-8")
    for words in ("방정식", "x = 1", "8행 4열: 월, 지역, 매출, 주문", "고쳐서", "서버를 멈추고"):
        assert words in text
    assert (tmp_path / "새 폴더" / "locum-demo-chart.png").read_bytes().startswith(PNG)


@pytest.mark.long
def test_a_file_of_ones_own_is_described(tmp_path: Path) -> None:
    import pandas as pd

    own = tmp_path / "내 데이터 (1).xlsx"
    pd.DataFrame({"city": ["Seoul", "Busan"], "people": [9400000, 3300000]}).to_excel(own, index=False)
    text = said("demo", "--file", str(own), "--ask", "Plot this data as a chart", cwd=tmp_path)
    assert "2 rows, 2 columns: city, people" in text
    assert "2. " not in text
    assert (tmp_path / "locum-demo-chart.png").read_bytes().startswith(PNG)


@pytest.mark.long
def test_a_question_of_ones_own_is_answered(tmp_path: Path) -> None:
    assert "x = 3" in said("demo", "--ask", "solve x - 1 = 2", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--file", "missing.csv"), ("missing.csv", "--file")),
        (("--file", "report.pdf"), ("report.pdf", ".csv")),
        (("--ask", " "), ("--ask",)),
        (("--out", "file"), ("file", "--out")),
    ],
)
def test_what_cannot_be_shown_is_said_before_a_server_is_started(
    options: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert_one_line(locum("demo", *options, cwd=tmp_path), *words)


def test_a_missing_client_is_said_in_one_line(tmp_path: Path) -> None:
    without_openai = "import sys; sys.modules['openai'] = None; from locum.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", without_openai, "demo"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert_one_line(done, "pip install openai")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_nothing(number: signal.Signals, tmp_path: Path, temporary: Path) -> None:
    here = signal.signal(number, signal.SIG_DFL)  # who runs the tests in the background may have it ignored
    process = subprocess.Popen(
        [sys.executable, "-m", "locum", "demo"],
        cwd=tmp_path,
        env=clean_environment(TMPDIR=str(temporary), PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(number, here)
    assert process.stdout is not None
    for line in process.stdout:
        if "AzureOpenAI" in line:
            break
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    assert_nothing_is_left(temporary)
