"""Every script in `examples/` runs unmodified, with an SDK of today and one of the hosted API's time, against the demo
model and against a model server over HTTP."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from PIL import Image

from tests.models.upstream import Call, Calls, Reply, ScriptedUpstream, Text
from tests.programs import run_script
from tests.serving import ServerProcess

ROOT = Path(__file__).parent.parent
OLD_PYTHON = ROOT / ".venv-openai-1.35" / "bin" / "python"
PNG = b"\x89PNG\r\n\x1a\n"

SDKS = {"openai 3.52": Path(sys.executable), "openai 1.35": OLD_PYTHON}


def _scripted(body: dict[str, Any]) -> Reply:
    """A model that does what the examples ask for."""
    asked = next(m["content"] for m in reversed(body["messages"]) if m["role"] == "user").lower()
    last = max(at for at, message in enumerate(body["messages"]) if message["role"] == "user")
    results = [m["content"] for m in body["messages"][last:] if m["role"] == "tool"]
    offered = {tool["function"]["name"] for tool in body.get("tools", [])} - {"code_interpreter"}
    if "file_search" in offered:
        return _scripted_search(asked, results)
    if offered:
        return _scripted_calls(asked, offered, results)
    announced = re.findall(r"- (/mnt/data/\S+)", body["messages"][0]["content"])
    if not results:
        if any("orders.xlsx" in path for path in announced):
            code = _sales_code(asked)
        elif "sin(x)" in asked:
            code = (
                "import numpy as np, matplotlib.pyplot as plt\nx = np.linspace(0, 7)\nplt.plot(np.sin(x))\nplt.show()"
            )
        elif "plot this data" in asked:
            code = (
                f"import pandas as pd\ndf = pd.read_csv({announced[0]!r})\n"
                "summary = df.groupby('region')['revenue'].sum()\nsummary.plot.bar()\n"
                "summary.to_csv('/mnt/data/summary.csv')\nsummary"
            )
        elif announced:
            code = f"import pandas as pd\npd.read_csv({announced[0]!r}).describe()"
        else:
            equation = re.search(r"[\dx^ y+*-]*[xy][\dx^ y+*-]*=[ \d+-]+", asked)
            assert equation is not None
            unknown = "y" if "y" in equation[0] else "x"
            left, right = re.sub(rf"(\d)({unknown})", r"\1*\2", equation[0]).replace("^", "**").split("=")
            code = (
                f"import sympy\n{unknown} = sympy.symbols('{unknown}')\n"
                f"sympy.solve(sympy.Eq({left.strip()}, {right.strip()}))"
            )
        return Call("code_interpreter", {"code": code})
    links = [f" [{name}](sandbox:/mnt/data/{name})" for name in ("summary.csv", "report.xlsx") if name in results[-1]]
    return Text(f"Here you are: {results[-1].splitlines()[0]}{''.join(links)}")


HANDBOOK = {
    "annual leave": ("22 days", "leave.md"),
    "allowance": ("28 euros", "travel.pdf"),
    "stolen": ("within one hour", "security.pptx"),
    "재택": ("3일", "재택근무.txt"),
    "근속": ("100만 원", "복리후생.docx"),
    "desk": ("600 euros", "expenses.html"),
}
"""A word of each question of `employee_questions.py`, in their order: what the handbook says, and where."""


def _scripted_search(asked: str, results: list[str]) -> Reply:
    """A model that searches for what it was asked, and cites the passage where the answer stands."""
    if not results:
        return Call("file_search", {"queries": [asked]})
    fact, source = next(answer for word, answer in HANDBOOK.items() if word in asked)
    passages = re.findall(r"(【[^】]+】)\n<[^>]+>\n(.*?)\n</", results[-1], re.DOTALL)
    marker = next(marker for marker, text in passages if text.startswith(source) and fact in text)
    return Text(f"The handbook says {fact}{marker}.")


def _sales_code(asked: str) -> str:
    """What a model writes for the questions of the sales analysis; later turns use the variables of the first."""
    if "clean" in asked:
        return (
            "import pandas as pd\n"
            "orders = pd.read_excel('/mnt/data/orders.xlsx')\norders['지역'] = orders['지역'].str.strip()\n"
            "orders = orders.drop_duplicates().dropna(subset=['수량'])\n"
            "sales = orders.merge(pd.read_csv('/mnt/data/products.csv'), on='상품코드', how='left')\n"
            "sales['매출'] = sales['수량'] * sales['단가']\n"
            "months = sales.groupby(sales['주문일'].dt.strftime('%Y-%m'))['매출'].sum()\nlen(sales)"
        )
    if "차트로" in asked:
        return (
            "import matplotlib.pyplot as plt, seaborn as sns\nsns.set_theme()\n"
            "months.plot.bar(title='월별 매출', ylabel='매출 (원)', xlabel='월', figsize=(9, 4.5))\nplt.show()\n"
            "print(f'{months.sum():,.0f}')"
        )
    if "top five" in asked:
        return "top = sales.groupby('상품명')['매출'].sum().nlargest(5)\nprint(top.index[0])\ntop"
    if "next quarter" in asked:
        return (
            "import numpy as np\nslope, level = np.polyfit(range(6), months.tail(6), 1)\n"
            "quarter = sum(level + slope * n for n in (6, 7, 8))\nprint(f'{quarter:,.0f} or {quarter * 1.05:,.0f}')"
        )
    return (
        "import openpyxl\nfrom openpyxl.chart import BarChart, Reference\n"
        "book = openpyxl.load_workbook('/mnt/data/orders.xlsx')\nsheet = book.create_sheet('월별 매출')\n"
        "sheet.append(['월', '매출'])\nfor month, value in months.items(): sheet.append([month, float(value)])\n"
        "chart = BarChart()\n"
        "chart.add_data(Reference(sheet, min_col=2, min_row=1, max_row=13), titles_from_data=True)\n"
        "sheet.add_chart(chart, 'D2'); book.save('/mnt/data/report.xlsx')\nprint('saved report.xlsx')"
    )


def _scripted_calls(asked: str, offered: set[str], results: list[str]) -> Reply:
    """A model that knows the weather functions."""
    assert offered == {"get_current_temperature", "get_rain_probability"}
    if results:
        return Text(f"I was told: {', '.join(results)}.")
    if "rain" not in asked:
        return Call("get_current_temperature", {"location": "Seoul", "unit": "Celsius"})
    place = {"location": "San Francisco, CA"}
    temperature = Call("get_current_temperature", {**place, "unit": "Fahrenheit"})
    return Calls([temperature, Call("get_rain_probability", place)])


@pytest.fixture(scope="module")
def scripted_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ScriptedUpstream() as upstream:
        upstream.answer = _scripted
        env = {"LOCUM_MODEL_BASE_URL": upstream.base_url}
        with ServerProcess(tmp_path_factory.mktemp("scripted") / "data", env=env) as server:
            yield server


@pytest.fixture(params=["demo model", "model server"])
def any_server(request: pytest.FixtureRequest) -> ServerProcess:
    return request.getfixturevalue("server" if request.param == "demo model" else "scripted_server")  # type: ignore[no-any-return]


@pytest.fixture(params=list(SDKS))
def python(request: pytest.FixtureRequest) -> Path:
    found = SDKS[request.param]
    if not found.exists():
        pytest.skip(f"{request.param} is not installed in {found.parent.parent.name}: make test does that")
    return found


def run(python: Path, server: ServerProcess, folder: Path, script: str, *arguments: str) -> str:
    env = {"AZURE_OPENAI_ENDPOINT": server.azure_endpoint, "AZURE_OPENAI_API_KEY": "any"}
    done = run_script(ROOT / "examples" / script, *arguments, cwd=folder, python=python, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_equation_is_solved_by_code(python: Path, any_server: ServerProcess, tmp_path: Path) -> None:
    said = run(python, any_server, tmp_path, "solve_equation.py")
    assert "Status: completed" in said
    assert "1" in said.splitlines()[1]
    assert '"type": "code_interpreter"' in said
    assert '"type": "logs"' in said


def test_a_file_under_the_key_with_a_space_reaches_the_code(
    python: Path, any_server: ServerProcess, tmp_path: Path
) -> None:
    said = run(python, any_server, tmp_path, "file_for_the_assistant.py")
    assert "Uploaded: assistant-" in said
    assert "Status: completed" in said


def test_a_file_in_file_ids_of_a_message_reaches_the_code(
    python: Path, any_server: ServerProcess, tmp_path: Path
) -> None:
    said = run(python, any_server, tmp_path, "file_with_a_message.py")
    assert "Files of the thread: ['assistant-" in said
    assert "Status: completed" in said


def test_an_image_is_downloaded_and_is_a_png(python: Path, any_server: ServerProcess, tmp_path: Path) -> None:
    said = run(python, any_server, tmp_path, "sinewave.py")
    assert "Status: completed" in said
    assert (tmp_path / "sinewave.png").read_bytes().startswith(PNG)


def test_a_csv_becomes_a_chart_and_a_table(python: Path, any_server: ServerProcess, tmp_path: Path) -> None:
    said = run(python, any_server, tmp_path, "chart_from_csv.py")
    assert "Status: completed" in said
    assert (tmp_path / "chart.png").read_bytes().startswith(PNG)
    (table,) = tmp_path.glob("*.csv")
    assert table.read_text().strip()


def test_an_event_handler_sees_code_output_and_words(python: Path, any_server: ServerProcess, tmp_path: Path) -> None:
    said = run(python, any_server, tmp_path, "stream_events.py")
    assert "assistant > code_interpreter" in said
    assert "sympy" in said
    assert "output >" in said
    assert said.rstrip().endswith("Messages: 1, steps: 2")


def test_two_threads_at_once_are_served_to_the_async_client(
    python: Path, any_server: ServerProcess, tmp_path: Path
) -> None:
    said = run(python, any_server, tmp_path, "async_run.py")
    assert "polled (completed):" in said
    assert "4" in said.split("polled", 1)[1]
    assert "streamed (completed):" in said
    assert "2" in said.split("streamed", 1)[1]


def test_functions_of_the_program_are_called_polled_and_streamed(
    python: Path, any_server: ServerProcess, tmp_path: Path
) -> None:
    said = run(python, any_server, tmp_path, "functions.py")
    polled, streamed = said.split("polled: completed")
    (temperature,) = re.findall(r'get_current_temperature\(.*"San Francisco.*\) -> (\d+)', polled)
    assert re.search(r'get_rain_probability\(.*"San Francisco.*\) -> 0\.06', polled)
    answer, rest = streamed.split("get_current_temperature({", 1)
    assert temperature in answer
    assert "0.06" in answer
    arguments, answer = rest.split(" -> 14\n", 1)
    assert "Seoul" in arguments
    assert "14" in answer
    assert said.rstrip().endswith("streamed: completed")


def test_a_workbook_and_a_csv_are_analysed_over_several_turns(
    python: Path, any_server: ServerProcess, tmp_path: Path
) -> None:
    said = run(python, any_server, tmp_path, "sales_analysis.py", str(tmp_path), "--code")
    turns = said.split("\n=== ")
    assert [turn.count("[ran ") for turn in turns] == [0, 1, 1, 1, 1, 1]
    assert "235" in turns[1]  # of 246 rows, without 6 doubles and 5 that lack a quantity
    assert "19,608,100" in turns[2]
    assert "한라봉 2kg" in turns[3]
    assert "5,993,586" in turns[4]
    assert "6,293,265" in turns[4]
    with Image.open(tmp_path / "chart-2.png") as chart:
        assert chart.format == "PNG"
        assert chart.width > 600
    assert "letters such as" not in said  # there is a font, and it was used
    (report,) = tmp_path.glob("*.xlsx")
    book = openpyxl.load_workbook(report)
    assert book.sheetnames[0] == "주문"
    assert book["주문"].max_row == 247
    months = book[book.sheetnames[1]]
    assert [cell.value for cell in months["A"]][:2] == ["월", "2025-01"]
    assert months.max_row == 13
    assert round(sum(cell.value for cell in months["B"][1:])) == 19_608_100
    assert len(months._charts) == 1


def test_questions_about_a_handbook_are_answered_with_citations(
    python: Path, any_server: ServerProcess, tmp_path: Path
) -> None:
    said = run(python, any_server, tmp_path, "employee_questions.py")
    before, *answers = said.split("\n=== ")
    assert before.startswith("completed: 7 of 7 documents")
    for answer, (fact, source) in zip(answers, HANDBOOK.values(), strict=True):
        assert fact in answer, answer
        assert re.search(rf"^\[\d+\] {re.escape(source)}: \S", answer, re.MULTILINE), answer
        assert "【" not in answer  # the sample's own loop has replaced every marker


def test_every_example_is_described(tmp_path: Path) -> None:
    listed = set(re.findall(r"`(\w+\.py)`", (ROOT / "examples" / "README.md").read_text()))
    assert listed == {path.name for path in (ROOT / "examples").glob("*.py")}
