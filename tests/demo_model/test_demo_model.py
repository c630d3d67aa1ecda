"""The demo model: what it answers to what, and that the programs it writes really run."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import pytest

from locum.demo_model import DemoModel
from locum.demo_model.conversation import Answered, Attempt, Conversation, Passage, Search, read
from locum.demo_model.conversation import Call as FunctionCall
from locum.demo_model.documents import queries
from locum.demo_model.expressions import arithmetic, equations, functions
from locum.demo_model.skills import CallFunctions, RunCode, Say, SearchFiles, reply
from locum.models.chat import (
    ChatMessage,
    ChatRequest,
    Chunk,
    Finish,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolDefinition,
)

CODE_INTERPRETER = ToolDefinition(
    name="code_interpreter", parameters={"type": "object", "properties": {"code": {"type": "string"}}}
)


class Sandbox:
    """Runs programs in this process, with /mnt/data in a temporary folder, and counts the figures shown."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.figures = 0

    def put(self, name: str, content: str | bytes) -> str:
        (self.root / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return f"/mnt/data/{name}"

    def run(self, code: str) -> str:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        out = io.StringIO()
        with contextlib.redirect_stdout(out), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning in the sandbox is a line on stderr
            try:
                exec(code.replace("/mnt/data/", f"{self.root}/"), {"__name__": "__main__"})
            except BaseException:
                out.write(traceback.format_exc())
        self.figures += len(plt.get_fignums())
        plt.close("all")
        return out.getvalue().replace(f"{self.root}/", "/mnt/data/")


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def talk(text: str, sandbox: Sandbox, files: tuple[str, ...] = ()) -> tuple[str, list[Attempt]]:
    """The final answer to a message and the programs on the way to it."""
    attempts: list[Attempt] = []
    for _ in range(5):
        answer = reply(Conversation(text=text, files=files, attempts=tuple(attempts)))
        if isinstance(answer, Say):
            return answer.text, attempts
        attempts.append(Attempt(answer.code, sandbox.run(answer.code)))
    raise AssertionError("the demo model goes on for ever")


# ---- formulas in prose


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3x + 11 = 14", ["3*x + 11 = 14"]),
        ("I need to solve the equation `3x + 11 = 14`. Can you help me?", ["3*x + 11 = 14"]),
        ("3x+11=14를 풀어줘", ["3*x + 11 = 14"]),
        ("방정식 2y-4=10의 해는?", ["2*y - 4 = 10"]),
        ("Solve 2x^2 - 4x + 1 = 0 for x, please", ["2*x^2 - 4*x + 1 = 0"]),
        ("x² + 1 = 0", ["x^2 + 1 = 0"]),
        ("y/2 - 3 = 7.", ["y/2 - 3 = 7"]),
        ("(x + 1)(x − 2) = 0", ["(x + 1)*(x - 2) = 0"]),
        ("what about 2(a+3)=a×4?", ["2*(a + 3) = a*4"]),
        ("(as you know: (3x + 11 = 14))", ["3*x + 11 = 14"]),
        ("the first (3x + 11 = 14)", ["3*x + 11 = 14"]),
        ("solve a 3x + 1 = 2 and b: 4 = 2z", ["3*x + 1 = 2", "4 = 2*z"]),
        ("the equation - 3x + 1 = 4", ["3*x + 1 = 4"]),
        ("-x = 4 - 2x", ["-x = 4 - 2*x"]),
        ("５x ＋ 1 = 11", ["5*x + 1 = 11"]),
        ("0.5x == 2", ["0.5*x = 2"]),
        ("n = 10", []),
        ("x + y = 3", []),
        ("y = x**2", []),
        ("f(x) = 2x", []),
        ("LOCUM_MODEL=5 and width=5px", []),
        ("if x >= 3x or x != 2x", []),
        ("3 + = 4x", []),
        ("= = = x =", []),
        ("1 + 1 = 2", []),
        ("x = 5px - 3", []),
        ("(" * 5000 + "x = 1", []),
        ("x" + "+1" * 5000 + " = 1", []),
        ("```python\nx = 3 * x\n```", []),
    ],
)
def test_equations_are_found_in_prose(text: str, expected: list[str]) -> None:
    assert [str(equation) for equation in equations(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plot y = x**2", ["y = x^2"]),
        ("plot f(x) = 2x + 1", ["y = 2*x + 1"]),
        ("sin(x) 그래프를 그려줘", ["y = sin(x)"]),
        ("sin x와 cos x", ["y = sin(x)", "y = cos(x)"]),
        ("graph exp(-t^2/2) from -3 to 3", ["y = exp(-t^2/2)"]),
        ("e^x - 1", ["y = e^x - 1"]),
        ("a 3D plot of Q1 and Q2 on the x-axis", []),
        ("plot revenue by month", []),
    ],
)
def test_functions_are_found_in_prose(text: str, expected: list[str]) -> None:
    assert [str(function) for function in functions(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("what is 12 * 7?", "12*7"), ("2의 3승은 2^3", "2**3"), ("what is 42?", None), ("-5", None), ("3x + 1", None)],
)
def test_sums_are_found_in_prose(text: str, expected: str | None) -> None:
    assert arithmetic(text) == expected


# ---- equations


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I need to solve the equation `3x + 11 = 14`. Can you help me?", ["The solution of", "x = 1**"]),
        ("3x+11=14를 풀어줘", ["해는", "x = 1**"]),
        ("2x^2 - 4x + 1 = 0", ["sqrt(2)", "1.70711", "0.292893", " and "]),
        ("x² + 1 = 0", ["x = -i", "x = i"]),
        ("y/2 - 3 = 7", ["y = 20"]),
        ("0.5x + 1.25 = 3", ["x = 7/2 ≈ 3.5"]),
        ("x + 1 = x", ["has no solution"]),
        ("2(x + 1) = 2x + 2", ["Every value of x"]),
        ("3x = 6 and 2z = 5", ["x = 2**", "z = 5/2"]),
        ("S + 1 = 3", ["S = 2"]),
        ("x^2 + x + 1 = 0", ["≈ -0.5"]),
    ],
)
def test_equations_are_solved_by_a_program(text: str, words: list[str], sandbox: Sandbox) -> None:
    answer, attempts = talk(text, sandbox)
    assert "sympy" in attempts[0].code
    assert len(attempts) == 1
    for word in words:
        assert word in answer


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("3x + 11 = 14", "x = 1**"),
        ("x^2 - 5x + 6 = 0", "x = 2.0"),
        ("x + 1 = x", "no solution"),
        ("0.5x + 1.25 = 3", "x = 7/2"),
        ("x^2 + 4 = 0", "2j"),
    ],
)
def test_without_sympy_the_second_program_does_it(text: str, word: str, sandbox: Sandbox) -> None:
    failed = Attempt(
        "import sympy", "Traceback (most recent call last):\nModuleNotFoundError: No module named 'sympy'\n"
    )
    second = reply(Conversation(text=text, attempts=(failed,)))
    assert isinstance(second, RunCode)
    assert "sympy" not in second.code
    ran = Attempt(second.code, sandbox.run(second.code))
    answer = reply(Conversation(text=text, attempts=(failed, ran)))
    assert isinstance(answer, Say)
    assert word in answer.text
    assert "ModuleNotFoundError: No module named 'sympy'" in answer.text


def test_an_equation_that_cannot_be_solved_ends_in_honest_words() -> None:
    failed = Attempt("", "Traceback (most recent call last):\nNotImplementedError: too hard\n")
    answer = reply(Conversation(text="x^5 + x = 1", attempts=(failed, failed)))
    assert isinstance(answer, Say)
    assert "I could not do it" in answer.text
    assert "NotImplementedError: too hard" in answer.text


def test_an_unexpected_output_is_quoted() -> None:
    answer = reply(Conversation(text="3x + 11 = 14", attempts=(Attempt("", "the interpreter is busy"),)))
    assert isinstance(answer, Say)
    assert "the interpreter is busy" in answer.text


@pytest.mark.parametrize(("text", "word"), [("3x+1=2", "not enabled"), ("sin(x) 그래프", "켜져 있지 않습니다")])
def test_without_the_code_interpreter_it_says_how_to_enable_it(text: str, word: str) -> None:
    answer = reply(Conversation(text=text, can_run=False))
    assert isinstance(answer, Say)
    assert word in answer.text
    assert '{"type": "code_interpreter"}' in answer.text


def test_sums_are_calculated(sandbox: Sandbox) -> None:
    assert "**84**" in talk("What is 12 * 7?", sandbox)[0]
    assert "**3.0**" in talk("sqrt(4) + 1 계산해줘", sandbox)[0]


# ---- data

SALES = "region,month,revenue,cost\nnorth,1,10.5,3\nsouth,1,20,4\nnorth,2,30,\n"
RECORDS = [{"region": "north", "revenue": 10.5}, {"region": "south", "revenue": 20}]


def workbook() -> bytes:
    import pandas as pd

    buffer = io.BytesIO()
    pd.DataFrame(RECORDS).to_excel(buffer, index=False)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("sales.csv", lambda: SALES, 3),
        ("sales.tsv", lambda: SALES.replace(",", "\t"), 3),
        ("sales.xlsx", workbook, 2),
        ("sales.json", lambda: json.dumps(RECORDS), 2),
    ],
)
def test_every_kind_of_data_file_is_described_and_plotted(
    name: str, content: object, rows: int, sandbox: Sandbox
) -> None:
    assert callable(content)
    path = sandbox.put(name, content())
    answer, attempts = talk("Describe the data and plot revenue by region", sandbox, (path,))
    assert len(attempts) == 1, attempts[0].output
    assert f"- {rows} rows" in answer
    assert "revenue: mean" in answer
    assert "chart: revenue / region" in answer
    assert sandbox.figures == 1


def test_a_summary_is_saved_and_linked_when_a_file_is_asked_for(sandbox: Sandbox) -> None:
    path = sandbox.put("my sales.csv", SALES)
    answer, _ = talk("요약해서 csv 파일로 줘", sandbox, (path,))
    assert "[my_sales_summary.csv](sandbox:/mnt/data/my_sales_summary.csv)" in answer
    assert (sandbox.root / "my_sales_summary.csv").read_text().startswith(",region")
    assert "빠진 값 1개" in answer


def test_a_file_that_is_merely_named_asks_for_no_summary(sandbox: Sandbox) -> None:
    answer, _ = talk("plot sales.csv", sandbox, (sandbox.put("sales.csv", SALES),))
    assert "sandbox:" not in answer


def test_a_file_of_numbers_only_is_plotted_when_a_chart_is_asked_for(sandbox: Sandbox) -> None:
    path = sandbox.put("n.csv", "a,b\n1,2\n3,4\n")
    talk("describe the data", sandbox, (path,))
    assert sandbox.figures == 0
    talk("visualise the data", sandbox, (path,))
    assert sandbox.figures == 1


def test_the_file_that_is_named_is_taken_else_the_last_one_given(sandbox: Sandbox) -> None:
    files = tuple(sandbox.put(name, SALES) for name in ("a.csv", "b.csv", "b_summary.csv"))
    assert "`a.csv`" in talk("describe a.csv", sandbox, files)[0]
    assert "`b.csv`" in talk("describe the data", sandbox, files)[0]


# ---- several tables

VISITS = "day,shop_id,visitors\n2024-01-05,1,10\n2024-01-09,2,20\n2024-01-09,2,20\n2024-02-01, 1 ,30\n2024-03-01,2,\n"
SHOPS = "shop_id,city,entrance_price\n1,Bonn,2\n2,Köln,3\n"


def visits(sandbox: Sandbox) -> tuple[str, ...]:
    return sandbox.put("visits.csv", VISITS), sandbox.put("shops.csv", SHOPS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Clean the two tables and join them",
            [
                "visits.csv: 5 rows",
                "1 rows that were there twice",
                "1 rows that lack a number",
                "joined on shop_id: 3 rows",
            ],
        ),
        ("두 표를 합쳐 줘", ["shop_id 기준으로 합침: 3행"]),
        ("Top 1 city by visitors", ["1. Bonn: 40 (66.7%)"]),
        ("어느 도시가 상위인지 순위를 알려 줘", ["1위 Bonn: 40", "2위 Köln: 20"]),
        (
            "Forecast the visitors of the next months",
            ["2024-03: about 30", "2024-05: about 30", "the three months together: 90"],
        ),
        ("다음 분기를 예측해 줘. 가격이 10% 내리면?", ["-10% 바뀌면: 81"]),
    ],
)
def test_tables_are_cleaned_joined_and_reckoned_with(text: str, words: list[str], sandbox: Sandbox) -> None:
    answer, attempts = talk(text, sandbox, visits(sandbox))
    assert len(attempts) == 1, attempts[0].output
    for word in words:
        assert word in answer


def test_what_has_a_quantity_and_a_price_has_a_revenue(sandbox: Sandbox) -> None:
    files = (
        sandbox.put("a.csv", "date,sku,qty\n2024/1/5,x,2\n2024/2/5,y,3\n"),
        sandbox.put("b.csv", "sku,price\nx,5\ny,7\n"),
    )
    answer, _ = talk("Chart the monthly revenue", sandbox, files)
    assert "total of revenue: 31" in answer
    assert "most: 2024-02 with 21" in answer
    assert sandbox.figures == 1


def test_a_workbook_gets_a_sheet_with_a_chart_and_keeps_the_others(sandbox: Sandbox) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "data"
    for row in (["date", "amount"], ["2024-01-05", 10], ["2024-01-06", 20], ["2024-02-01", 5]):
        book.active.append(row)
    book.save(sandbox.root / "my book.xlsx")
    answer, _ = talk("Add a sheet with monthly sums to the workbook", sandbox, ("/mnt/data/my book.xlsx",))
    assert "[my_book_monthly.xlsx](sandbox:/mnt/data/my_book_monthly.xlsx)" in answer
    made = openpyxl.load_workbook(sandbox.root / "my_book_monthly.xlsx")
    assert made.sheetnames == ["data", "Monthly"]
    assert [[cell.value for cell in row] for row in made["Monthly"]["A1:B3"]] == [
        ["month", "amount"],
        ["2024-01", 30],
        ["2024-02", 5],
    ]
    assert len(made["Monthly"]._charts) == 1


def test_without_dates_there_are_no_months_and_that_is_said(sandbox: Sandbox) -> None:
    answer, _ = talk("monthly totals, please", sandbox, (sandbox.put("a.csv", "name,amount\nx,1\n"),))
    assert "no column of these tables holds dates: name, amount" in answer


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("korean.csv", "지역,매출\n서울,10\n부산,20\n".encode("cp949"), "매출"),
        ("nested.json", b'{"items": [{"a": 1, "b": "x"}, {"a": 2, "b": ["y"]}], "total": 2}', "2 rows"),
        ("lines.json", b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n', "2 rows"),
        ("really_a_csv.xlsx", SALES.encode(), "3 rows"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n4,5\n", "2 columns"),
        ("empty.csv", b"", "0 lines of text"),
    ],
)
def test_a_file_that_the_first_program_cannot_read_is_read_by_a_later_one(
    name: str, content: bytes, word: str, sandbox: Sandbox
) -> None:
    answer, attempts = talk("describe the data", sandbox, (sandbox.put(name, content),))
    assert attempts[0].error is not None
    assert word in answer
    assert str(attempts[0].error)[:20] in answer
    assert len(attempts) <= 3


def test_a_file_that_is_not_there_ends_in_honest_words_after_three_attempts(sandbox: Sandbox) -> None:
    answer, attempts = talk("describe the data", sandbox, ("/mnt/data/none.csv",))
    assert len(attempts) == 3
    assert "I could not do it. I tried 3" in answer
    assert "FileNotFoundError" in answer


# ---- plots


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("plot y = x**2", "y = x^2"),
        ("Draw sin(x) from -3 to 3", "y = sin(x)"),
        ("Create a visualization of a sinewave", "y = sin(x)"),
        ("ln(x)와 2^x 그래프를 그려줘", "y = ln(x)"),
        ("plot y = 5 + 0x and tan(x)", "y = tan(x)"),
        ("graph of e^t", "y = e^t"),
        ("plot abs(x) + pi", "y = abs(x) + pi"),
        ("Make a nice visualization", "made-up"),
        ("예쁜 시각화를 하나 만들어줘", "지어낸"),
    ],
)
def test_plots_are_drawn(text: str, word: str, sandbox: Sandbox) -> None:
    answer, attempts = talk(text, sandbox)
    assert attempts[0].error is None, attempts[0].output
    assert len(attempts) == 1
    assert sandbox.figures == 1
    assert word in answer


def test_the_range_that_is_asked_for_is_drawn(sandbox: Sandbox) -> None:
    _, attempts = talk("plot y = x**2 from -2 to 3", sandbox)
    assert "np.linspace(-2.0, 3.0, 1001)" in attempts[0].code


# ---- errors


@pytest.mark.parametrize(
    ("text", "word"),
    [("Show me how you fix an error", "revnue -> revenue"), ("오류를 고치는 것을 보여줘", "revenue 합계: 415")],
)
def test_it_shows_how_it_corrects_itself(text: str, word: str, sandbox: Sandbox) -> None:
    answer, attempts = talk(text, sandbox)
    assert [attempt.error for attempt in attempts] == ["KeyError: 'revnue'", None]
    assert "KeyError: 'revnue'" in answer
    assert word in answer


def test_the_correction_comes_from_the_traceback() -> None:
    failed = Attempt("", "Traceback (most recent call last)\nKeyError: 'mnoth'")
    second = reply(Conversation(text="show me how you fix an error", attempts=(failed,)))
    assert isinstance(second, RunCode)
    assert "mnoth" in second.code


# ---- the user's own programs


@pytest.mark.parametrize(
    "text", ["Run this:\n```python\nprint(6 * 7)\n```", "```\nprint(6 * 7)\n```", "실행해줘\n```py\nprint(6 * 7)\n```"]
)
def test_a_program_of_the_users_is_run_as_it_is(text: str, sandbox: Sandbox) -> None:
    answer, attempts = talk(text, sandbox)
    assert attempts[0].code == "print(6 * 7)\n"
    assert "42" in answer


def test_an_error_in_the_users_program_is_reported_and_not_mended(sandbox: Sandbox) -> None:
    answer, attempts = talk("run\n```python\n1 / 0\n```", sandbox)
    assert len(attempts) == 1
    assert "ZeroDivisionError: division by zero" in answer


def test_files_that_the_users_program_writes_are_linked(sandbox: Sandbox) -> None:
    code = "open('/mnt/data/a.txt', 'w').close()\nopen('/mnt/data/a.txt').close()"
    answer, _ = talk(f"run ```python\n{code}\n```", sandbox)
    assert answer.count("[a.txt](sandbox:/mnt/data/a.txt)") == 1


# ---- talk


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Hello!", "Hello!"),
        ("안녕하세요", "안녕하세요!"),
        ("Thanks a lot", "welcome"),
        ("감사합니다", "천만에요"),
        ("Please count to 5", "1, 2, 3, 4, 5\n"),
        ("1부터 3까지 세어줘", "1, 2, 3\n"),
        ("count to 999999", "199, 200\n"),
        ("Who are you?", "LOCUM_MODEL_BASE_URL"),
        ("넌 누구야?", "LOCUM_MODEL_BASE_URL"),
        ("Write a poem about the sea", "no rule for this message"),
        ("바다에 대한 시를 써줘", "규칙이 없습니다"),
        ("", "LOCUM_MODEL_BASE_URL"),
    ],
)
def test_talk_is_answered_without_a_program(text: str, word: str) -> None:
    answer = reply(Conversation(text=text))
    assert isinstance(answer, Say)
    assert word in answer.text


@pytest.mark.parametrize("text", ["hello", "3x + 1 = 4", "plot y = x", "show me how you fix an error", "what is 1+1"])
def test_every_final_answer_names_the_demo_model(text: str, sandbox: Sandbox) -> None:
    assert "demo model" in talk(text, sandbox)[0]


@pytest.mark.parametrize("text", ["안녕", "3x + 1 = 4를 풀어줘", "오류를 고치는 것을 보여줘"])
def test_every_final_answer_in_korean_names_the_demo_model(text: str, sandbox: Sandbox) -> None:
    assert "데모 모델" in talk(text, sandbox)[0]


@pytest.mark.parametrize(
    "piece",
    [
        "show fix ", "오류 고", "count ", "1", "a", "a.", "(", "3x+", "x = ", "```", "```python\n", " ", "\n", "-1 ",
        "sin x ", "\ufdfa", "KeyError: ", "A.", "open('/mnt/data/",
    ],
)  # fmt: skip
@pytest.mark.timeout(5)
def test_no_message_keeps_the_event_loop_busy(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    message = ChatMessage(role="user", content=text)
    reply(read(ChatRequest(model="m", messages=(message,), tools=(CODE_INTERPRETER,))))
    reply(Conversation(text="3x + 1 = 4", attempts=(Attempt("", text),)))


# ---- functions of the caller's

STRING = {"type": "string"}
NUMBER = {"type": "number"}
INTEGER = {"type": "integer"}
BOOLEAN = {"type": "boolean"}
ALL = None


def function(
    name: str, description: str | None = None, required: list[str] | None = ALL, /, **properties: Any
) -> ToolDefinition:
    """A definition; without `required` every parameter is."""
    wanted = list(properties) if required is ALL else required
    parameters = {"type": "object", "properties": properties, "required": wanted}
    return ToolDefinition(name=name, description=description, parameters=parameters)


TEMPERATURE = function(
    "get_current_temperature",
    "Get the current temperature for a specific location",
    location={"type": "string", "description": "The city and state, e.g., San Francisco, CA"},
    unit={"type": "string", "enum": ["Celsius", "Fahrenheit"]},
)
RAIN = function("get_rain_probability", "Get the probability of rain for a specific location", location=STRING)
WEATHER = function("get_weather", "The weather of a city", ["city"], city=STRING, unit={"enum": ["c", "f"]})
TIME = function("getCurrentTime", "The local time", city=STRING)
STOCK = function("get_stock_price", symbol=STRING)
SEARCH = function("search_web", "Search the web", query=STRING)
MAIL = function("send_email", to=STRING, subject=STRING, body=STRING)
ADD = function("add", a=NUMBER, b=NUMBER)
FLIGHT = function(
    "book_flight",
    None,
    ["origin", "destination", "refundable"],
    origin=STRING,
    destination=STRING,
    passengers=INTEGER,
    refundable=BOOLEAN,
)
DISTANCE = function("get_distance", a=STRING, b=STRING)
DEVICE = function("control_device", device={"enum": ["lamp", "heater"]}, on=BOOLEAN)
TAGS = function("save_tags", tags={"type": "array", "items": STRING})
CUSTOMER = function(
    "create_customer",
    customer={
        "type": "object",
        "properties": {"name": STRING, "email": STRING, "age": INTEGER},
        "required": ["name", "email"],
    },
)
PIZZA = function(
    "order_pizza",
    None,
    ["size", "count"],
    size={"enum": ["small", "medium", "large"]},
    toppings={"type": "array", "items": {"enum": ["cheese", "olives", "ham"]}},
    count=INTEGER,
    delivery=BOOLEAN,
)
TRANSLATE = function("translate", text=STRING, language=STRING)
DOCUMENTS = function("lookup", "Finds paragraphs in the company handbook", topic=STRING)
USERS = function("list_users")
NEW_USER = function("create_user", name=STRING)
LINES = function("sum_values", values={"type": "array", "items": NUMBER})

SEOUL, TOKYO = {"city": "Seoul"}, {"city": "Tokyo"}


def calls_for(text: str, *functions: ToolDefinition, **options: Any) -> list[tuple[str, dict[str, Any]]]:
    answer = reply(Conversation(text=text, functions=functions, **{"can_run": False, **options}))
    return [(call.name, call.arguments) for call in answer.calls] if isinstance(answer, CallFunctions) else []


@pytest.mark.parametrize(
    ("text", "functions", "expected"),
    [
        (
            "What's the weather in San Francisco today and the likelihood it'll rain?",
            [TEMPERATURE, RAIN],
            [
                ("get_current_temperature", {"location": "San Francisco", "unit": "Celsius"}),
                ("get_rain_probability", {"location": "San Francisco"}),
            ],
        ),
        (
            "What's the temperature in San Francisco, CA in fahrenheit?",
            [TEMPERATURE, RAIN],
            [("get_current_temperature", {"location": "San Francisco, CA", "unit": "Fahrenheit"})],
        ),
        ("Is it sunny in Paris, France?", [WEATHER], [("get_weather", {"city": "Paris, France"})]),
        (
            "weather in Seoul and time in Tokyo",
            [WEATHER, TIME],
            [("get_weather", SEOUL), ("getCurrentTime", TOKYO)],
        ),
        (
            "The time in Tokyo, then the weather in Seoul",
            [WEATHER, TIME],
            [("getCurrentTime", TOKYO), ("get_weather", SEOUL)],
        ),
        ("weather in Seoul and Tokyo", [WEATHER, TIME], [("get_weather", SEOUL), ("get_weather", TOKYO)]),
        ("In Seoul and Tokyo, what's the weather?", [WEATHER], [("get_weather", SEOUL), ("get_weather", TOKYO)]),
        ("The weather in Seoul? And in Tokyo?", [WEATHER], [("get_weather", SEOUL), ("get_weather", TOKYO)]),
        ("weather in seoul and tokyo today", [WEATHER], [("get_weather", {"city": c}) for c in ("seoul", "tokyo")]),
        ("I live in London. What's the weather in Seoul?", [WEATHER], [("get_weather", SEOUL)]),
        ("Seoul weather please", [WEATHER], [("get_weather", SEOUL)]),
        ("the weather in 'Seoul' please", [WEATHER], [("get_weather", SEOUL)]),
        ("city=Seoul: weather?", [WEATHER], [("get_weather", SEOUL)]),
        ("please call get_weather for Seoul", [WEATHER, TEMPERATURE], [("get_weather", SEOUL)]),
        ("서울 날씨 어때?", [WEATHER, TIME], [("get_weather", {"city": "서울"})]),
        (
            "상하이의 기온은 섭씨로 몇 도야?",
            [TEMPERATURE],
            [(TEMPERATURE.name, {"location": "상하이", "unit": "Celsius"})],
        ),
        ("부산에 비가 올 확률은?", [TEMPERATURE, RAIN], [("get_rain_probability", {"location": "부산"})]),
        ("서울과 도쿄의 날씨 알려줘", [WEATHER], [("get_weather", {"city": c}) for c in ("서울", "도쿄")]),
        (
            "서울 날씨와 캐나다 시간 알려줘",
            [WEATHER, TIME],
            [("get_weather", {"city": "서울"}), ("getCurrentTime", {"city": "캐나다"})],
        ),
        ("서울에서 부산까지 거리는?", [DISTANCE], [("get_distance", {"a": "서울", "b": "부산"})]),
        ("고양이 사진을 웹에서 검색해줘", [SEARCH], [("search_web", {"query": "고양이 사진"})]),
        ("AAPL 주가 알려줘", [STOCK], [("get_stock_price", {"symbol": "AAPL"})]),
        (
            "stock prices for AAPL, MSFT and GOOG",
            [STOCK],
            [("get_stock_price", {"symbol": symbol}) for symbol in ("AAPL", "MSFT", "GOOG")],
        ),
        ("Search the web for cheap flights to Rome.", [SEARCH], [("search_web", {"query": "cheap flights to Rome"})]),
        (
            'Send an email to kim@example.com with "Hello" and "See you at 5"',
            [MAIL],
            [("send_email", {"to": "kim@example.com", "subject": "Hello", "body": "See you at 5"})],
        ),
        ("What is 3 plus 4.5?", [ADD], [("add", {"a": 3, "b": 4.5})]),
        ("add up -2 and 1,000", [ADD], [("add", {"a": -2, "b": 1000})]),
        (
            "Book a flight from Seoul to New York for 3 passengers, not refundable",
            [FLIGHT],
            [
                (
                    "book_flight",
                    {"origin": "Seoul", "destination": "New York", "passengers": 3, "refundable": False},
                )
            ],
        ),
        (
            "book a flight to New York from Seoul",
            [FLIGHT],
            [("book_flight", {"origin": "Seoul", "destination": "New York", "refundable": False})],
        ),
        ("What's the distance between Seoul and Busan?", [DISTANCE], [("get_distance", {"a": "Seoul", "b": "Busan"})]),
        ("turn the heater on", [DEVICE], [("control_device", {"device": "heater", "on": True})]),
        ("save the tags red, green and blue", [TAGS], [("save_tags", {"tags": ["red", "green", "blue"]})]),
        ("the sum of the values 1, 2.5 and 3", [LINES], [("sum_values", {"values": [1, 2.5, 3]})]),
        (
            "Create a customer named Ann Lee, ann@lee.org, age 42",
            [CUSTOMER],
            [("create_customer", {"customer": {"name": "Ann Lee", "email": "ann@lee.org", "age": 42}})],
        ),
        (
            "Order 2 large pizzas with cheese and ham",
            [PIZZA],
            [("order_pizza", {"size": "large", "toppings": ["cheese", "ham"], "count": 2})],
        ),
        (
            "Translate good morning to Korean",
            [TRANSLATE],
            [("translate", {"text": "good morning", "language": "Korean"})],
        ),
        ("What does the company handbook say about holidays?", [DOCUMENTS], ["lookup"]),
        ("list the users", [NEW_USER, USERS], [("list_users", {})]),
        ("Hello", [WEATHER, TIME, MAIL], []),
        ("Write a poem about the sea", [WEATHER, TIME, MAIL, SEARCH, DOCUMENTS], []),
        ("시를 써줘", [WEATHER, TIME, MAIL, SEARCH], []),
        ("", [WEATHER], []),
    ],
)
def test_functions_are_called_with_arguments_from_the_message(
    text: str, functions: list[ToolDefinition], expected: list[Any]
) -> None:
    found = calls_for(text, *functions)
    assert [name if name in expected else (name, arguments) for name, arguments in found] == expected


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"type": "object", "properties": 5, "required": "city"}, {}),
        ({"type": "object", "properties": {"city": 5}, "required": ["city"]}, {"city": "Seoul"}),
        ({"properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}, {"n": 3}),
        ({"properties": {"n": {"type": "number", "default": 7}}, "required": ["n"]}, {"n": 7}),
        ({"properties": {"is_x": {"type": "boolean"}}, "required": ["is_x"]}, {"is_x": False}),
        ({"properties": {"x": {"type": ["integer", "null"]}}, "required": ["x"]}, {"x": None}),
        ({"properties": {"x": {"anyOf": [{"type": "null"}, {"type": "integer"}]}}, "required": ["x"]}, {"x": None}),
        ({"properties": {"x": {"const": 1}}, "required": ["x"]}, {"x": 1}),
        ({"properties": {"x": {"enum": [3, 4]}}, "required": ["x"]}, {"x": 3}),
        ({"properties": {"x": {"type": "array", "items": NUMBER}}, "required": ["x"]}, {"x": []}),
        (
            {"$defs": {"c": STRING}, "properties": {"city": {"$ref": "#/$defs/c"}}, "required": ["city"]},
            {"city": "Seoul"},
        ),
        ({"properties": {"x": {"$ref": "#/properties/x"}}, "required": ["x"]}, {"x": "Seoul"}),
        ({"properties": {"x": {"type": "object"}}, "required": ["x"]}, {"x": {}}),
    ],
)
def test_required_parameters_are_filled_whatever_the_schema_is(
    parameters: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    tool = ToolDefinition(name="get_weather", parameters=parameters)
    assert calls_for("the weather in Seoul", tool) == [("get_weather", expected)]


def test_a_schema_that_contains_itself_comes_to_an_end() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#"}, "name": STRING}, "required": ["next", "name"]}
    ((_, arguments),) = calls_for("weather", ToolDefinition(name="weather", parameters=node))
    assert arguments["next"]["next"]["name"]


def test_a_forced_function_is_called_whatever_the_message_says() -> None:
    assert calls_for("Hello", WEATHER, TIME, forced="getCurrentTime") == [("getCurrentTime", {"city": "Hello"})]
    assert calls_for("3x + 1 = 4", ADD, WEATHER, forced="add", can_run=True) == [("add", {"a": 3, "b": 1})]
    assert calls_for("weather in Seoul", WEATHER, TIME, forced="getCurrentTime") == [("getCurrentTime", SEOUL)]


def test_a_function_that_is_required_is_the_one_that_fits_best_else_the_first() -> None:
    assert calls_for("the time in Tokyo", WEATHER, TIME, must_call=True) == [("getCurrentTime", TOKYO)]
    assert calls_for("Hello", WEATHER, TIME, must_call=True)[0][0] == "get_weather"
    assert calls_for("Hello", WEATHER, must_call=True, can_run=True)[0][0] == "get_weather"
    assert isinstance(reply(Conversation(text="3x + 1 = 4", functions=(WEATHER,), must_call=True)), RunCode)


@pytest.mark.parametrize(
    ("text", "tool", "is_function"),
    [
        ("3x + 11 = 14", WEATHER, False),
        ("Plot the weather as y = x^2", WEATHER, True),
        ("plot the temperature y = 2x", TEMPERATURE, True),
        ("draw a chart of the rain", RAIN, False),
        ("calculate 12 * 7", function("calculate", expression=STRING), True),
        ("what is 12 * 7", function("calculate", expression=STRING), False),
        ("what is 12 * 7", function("price_calculation", "What a thing is worth", thing=STRING), False),
    ],
)
def test_a_function_comes_before_a_skill_only_when_it_is_clearly_meant(
    text: str, tool: ToolDefinition, is_function: bool
) -> None:
    answer = reply(Conversation(text=text, functions=(tool,), can_run=True))
    assert isinstance(answer, CallFunctions if is_function else RunCode)


def answered(name: str, output: str, **arguments: Any) -> Answered:
    return Answered(FunctionCall(name, arguments), output)


def test_the_results_are_quoted_in_the_language_of_the_question() -> None:
    results = (answered("get_weather", "sunny\n", city="Seoul"), answered("get_weather", "", city="Tokyo"))
    english = reply(Conversation(text="weather in Seoul and Tokyo", functions=(WEATHER,), answered=results))
    assert isinstance(english, Say)
    assert "`get_weather(city=Seoul)` says: sunny" in english.text
    assert "`get_weather(city=Tokyo)` says: (nothing)" in english.text
    assert "demo model" in english.text
    korean = reply(
        Conversation(text="서울 날씨", functions=(WEATHER,), answered=(answered("get_weather", "맑음", city="서울"),))
    )
    assert isinstance(korean, Say)
    assert "`get_weather(city=서울)`의 결과: 맑음" in korean.text
    assert "데모 모델" in korean.text


def test_a_long_result_is_shortened_and_one_of_several_lines_stands_apart() -> None:
    results = (answered("a", "x" * 5000), answered("b", "one\ntwo"))
    answer = reply(Conversation(text="?", answered=results))
    assert isinstance(answer, Say)
    assert len(answer.text) < 1000
    assert "```\none\ntwo\n```" in answer.text


def talk_with_functions(text: str, *tools: ToolDefinition, **options: Any) -> tuple[list[list[str]], str]:
    """The calls of each turn, as a server would have them made, and the answer. Every call is answered."""
    messages = [ChatMessage(role="user", content=text)]
    turns: list[list[str]] = []
    for _ in range(10):
        request = ChatRequest(model="m", messages=tuple(messages), tools=tools, **options)
        options.pop("tool_choice", None)  # it holds for one turn
        *deltas, finish = stream(request)
        assert isinstance(finish, Finish)
        if finish.reason == "stop":
            return turns, "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        calls: dict[int, ToolCall] = {}
        for delta in deltas:
            assert isinstance(delta, ToolCallDelta)
            if delta.id is not None:
                assert delta.name is not None
                calls[delta.index] = ToolCall(id=delta.id, name=delta.name, arguments="")
            known = calls[delta.index]
            calls[delta.index] = ToolCall(id=known.id, name=known.name, arguments=known.arguments + delta.arguments)
        turns.append([f"{call.name} {call.arguments}" for call in calls.values()])
        messages.append(ChatMessage(role="assistant", tool_calls=tuple(calls.values())))
        messages += [ChatMessage(role="tool", tool_call_id=call.id, content="fine") for call in calls.values()]
    raise AssertionError("the demo model goes on for ever")


IN_SEOUL, IN_TOKYO = 'get_weather {"city":"Seoul"}', 'get_weather {"city":"Tokyo"}'


def test_calls_are_made_together_and_then_answered() -> None:
    turns, answer = talk_with_functions("weather in Seoul and Tokyo", CODE_INTERPRETER, WEATHER)
    assert turns == [[IN_SEOUL, IN_TOKYO]]
    assert answer.count("says: fine") == 2


def test_one_call_at_a_time_where_the_request_says_so() -> None:
    turns, answer = talk_with_functions("weather in Seoul and Tokyo", WEATHER, parallel_tool_calls=False)
    assert turns == [[IN_SEOUL], [IN_TOKYO]]
    assert answer.count("says: fine") == 2


def test_a_forced_call_is_not_made_again_when_it_is_forced_no_more() -> None:
    force: dict[str, Any] = {"type": "function", "function": {"name": "get_weather"}}
    turns, _ = talk_with_functions("weather in Seoul and time in Tokyo", WEATHER, TIME, tool_choice=force)
    assert turns == [[IN_SEOUL], ['getCurrentTime {"city":"Tokyo"}']]
    turns, _ = talk_with_functions("Hello", WEATHER, tool_choice=force)
    assert len(turns) == 1
    turns, _ = talk_with_functions("Hello", WEATHER, tool_choice="required")
    assert len(turns) == 1


def test_a_call_that_is_forced_in_every_turn_ends_too() -> None:
    again = Conversation(
        text="Hi", functions=(WEATHER,), forced="get_weather", answered=(answered("get_weather", "x"),)
    )
    assert isinstance(reply(again), Say)


def test_no_function_is_called_where_none_may_be() -> None:
    turns, answer = talk_with_functions("weather in Seoul", WEATHER, tool_choice="none")
    assert turns == []
    assert "no rule" in answer


def test_the_code_interpreter_keeps_working_beside_a_function_of_its_name() -> None:
    own = function("code_interpreter", city=STRING)
    hosted = ToolDefinition(name="locum_code_interpreter", parameters=CODE_INTERPRETER.parameters)
    request = ChatRequest(model="m", messages=(ChatMessage(role="user", content="3x + 11 = 14"),), tools=(hosted, own))
    first = stream(request)[0]
    assert isinstance(first, ToolCallDelta)
    assert first.name == "locum_code_interpreter"


@pytest.mark.timeout(5)
def test_many_functions_and_a_long_message_do_not_keep_the_event_loop_busy() -> None:
    properties = {f"city_{at}": STRING for at in range(200)}
    tools = tuple(function(f"weather_{at}", "weather in Seoul " * 60, **properties) for at in range(128))
    for piece in ("weather in Seoul and ", "Weather ", "in A, ", "'a' ", "1 ", "서울과 날씨 ", "weather_1 "):
        calls_for(piece * 1000, *tools)


# ---- images


@pytest.mark.parametrize(
    ("text", "word"), [("What is in it?", "cannot see images"), ("뭐가 보여?", "이미지를 볼 수 없습니다")]
)
def test_of_an_image_it_says_that_it_cannot_see_it(text: str, word: str) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    message = ChatMessage(role="user", content=[{"type": "text", "text": text}, image])
    answer = reply(read(ChatRequest(model="m", messages=(message,), tools=(CODE_INTERPRETER,))))
    assert isinstance(answer, Say)
    assert word in answer.text


def test_an_image_does_not_keep_it_from_what_it_can_do() -> None:
    assert isinstance(reply(Conversation(text="3x + 1 = 4", has_images=True)), RunCode)
    assert calls_for("the weather in Seoul", WEATHER, has_images=True) == [("get_weather", SEOUL)]


# ---- reading the request


def test_the_request_is_read() -> None:
    system = (
        "Be kind.\n\nFiles available to the code interpreter:\n- /mnt/data/a b.csv\n- /mnt/data/c.png\n\n- /mnt/data/no"
    )
    request = ChatRequest(
        model="m",
        messages=(
            ChatMessage(role="system", content=system),
            ChatMessage(role="user", content="an earlier question"),
            ChatMessage(
                role="assistant", tool_calls=(ToolCall(id="0", name="code_interpreter", arguments='{"code": "0"}'),)
            ),
            ChatMessage(role="tool", content="0", tool_call_id="0"),
            ChatMessage(role="user", content=[{"type": "text", "text": "3x"}, {"type": "image_url"}]),
            ChatMessage(
                role="assistant",
                tool_calls=(
                    ToolCall(id="1", name="code_interpreter", arguments='{"code": "1"}'),
                    ToolCall(id="2", name="other", arguments="{}"),
                    ToolCall(id="3", name="code_interpreter", arguments="print(3"),
                ),
            ),
            ChatMessage(role="tool", content="\x1b[31mone\x1b[0m", tool_call_id="1"),
            ChatMessage(role="tool", content=[{"type": "text", "text": "three"}], tool_call_id="3"),
        ),
        tools=(CODE_INTERPRETER,),
    )
    assert read(request) == Conversation(
        text="3x",
        has_images=True,
        files=("/mnt/data/a b.csv", "/mnt/data/c.png"),
        can_run=True,
        attempts=(Attempt("1", "one"), Attempt("print(3", "three")),
    )


def test_without_messages_and_tools_there_is_a_conversation_still() -> None:
    assert read(ChatRequest(model="m", messages=())) == Conversation(can_run=False)


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("fine", None),
        ("An Error: occurred", None),
        ("Traceback (most recent call last):\n  x\nKeyError: 'a'", "KeyError: 'a'"),
        ("-----\nKeyError         Traceback (most recent call last)\n\nKeyError: 'a'\n\nfiles: none", "KeyError: 'a'"),
        ("  Cell In[1], line 1\n    x =\n       ^\nSyntaxError: invalid syntax\n", "SyntaxError: invalid syntax"),
        ("Traceback (most recent call last)\npandas.errors.ParserError: bad", "pandas.errors.ParserError: bad"),
        ("Traceback (most recent call last) ...", "an error"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_errors_are_recognised_in_an_output(output: str, error: str | None) -> None:
    assert Attempt("", output).error == error


# ---- streaming


def stream(request: ChatRequest) -> list[Chunk]:
    async def collect() -> list[Chunk]:
        return [chunk async for chunk in DemoModel().stream(request)]

    return asyncio.run(collect())


def question(text: str, **options: object) -> ChatRequest:
    message = ChatMessage(role="user", content=text)
    return ChatRequest(model="m", messages=(message,), tools=(CODE_INTERPRETER,), **options)  # type: ignore[arg-type]


def test_text_is_streamed_word_by_word() -> None:
    *deltas, finish = stream(question("hello"))
    assert all(isinstance(delta, TextDelta) and delta.text for delta in deltas)
    assert len(deltas) > 10
    expected = reply(Conversation(text="hello"))
    assert isinstance(expected, Say)
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == expected.text
    assert isinstance(finish, Finish)
    assert finish.reason == "stop"
    assert finish.usage is not None
    assert finish.usage.prompt_tokens > 0
    assert len(expected.text) / 4 <= finish.usage.completion_tokens <= len(expected.text)


def test_a_call_is_streamed_in_fragments() -> None:
    first, *rest, finish = stream(question("3x + 11 = 14"))
    assert isinstance(first, ToolCallDelta)
    assert (first.index, first.name) == (0, "code_interpreter")
    assert first.id is not None
    assert first.id.startswith("call_")
    assert len(rest) > 5
    arguments = "".join(delta.arguments for delta in rest if isinstance(delta, ToolCallDelta))
    assert "sympy" in json.loads(arguments)["code"]
    assert isinstance(finish, Finish)
    assert finish.reason == "tool_calls"


def test_an_answer_longer_than_allowed_ends_with_length() -> None:
    *deltas, finish = stream(question("hello", max_completion_tokens=5))
    assert isinstance(finish, Finish)
    assert finish.reason == "length"
    assert finish.usage is not None
    assert finish.usage.completion_tokens <= 5
    assert 0 < len(deltas) <= 5


def test_it_speaks_at_the_pace_it_is_given() -> None:
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)

    async def collect() -> list[Chunk]:
        return [chunk async for chunk in DemoModel(pause_seconds=0.02, sleep=sleep).stream(question("hello"))]

    chunks = asyncio.run(collect())
    assert naps == [0.02] * (len(chunks) - 1)


def test_the_demo_model_imports_none_of_the_libraries_its_programs_use() -> None:
    heavy = "numpy pandas sympy matplotlib aiohttp"
    code = f"import sys, locum.demo_model; print([name for name in {heavy.split()} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# ---- documents


def found(*passages: tuple[str, str], output: str = "") -> Search:
    return Search(
        tuple(Passage(f"【0:{n}†source】", source, text) for n, (source, text) in enumerate(passages)), output
    )


HANDBOOK = ("handbook.pdf, page 3", "Work begins at nine. Employees have 25 days of paid leave. Lunch is at noon.")
RULES = ("규정.txt", "점심은 정오입니다. 연차 휴가는 25일입니다.")


@pytest.mark.parametrize(
    "text",
    ["How many days of paid leave do employees have?", "What does the handbook say about leave?", "휴가는 며칠인가요?"],
)
def test_a_question_is_searched_for_where_files_can_be(text: str) -> None:
    assert reply(Conversation(text=text, can_search=True)) == SearchFiles(queries(text))
    assert not isinstance(reply(Conversation(text=text)), SearchFiles)


def test_the_queries_are_the_question_and_its_telling_words() -> None:
    assert queries("What does the handbook say about paid leave?") == (
        "What does the handbook say about paid leave?",
        "paid leave",
    )
    assert queries("연차 휴가는 며칠인가요?")[1].startswith("연차 휴가")
    assert queries("???") == ("???",)


def test_the_sentence_that_answers_is_quoted_with_its_marker() -> None:
    said = reply(
        Conversation(
            text="How many days of paid leave do employees have?", can_search=True, searches=(found(RULES, HANDBOOK),)
        )
    )
    assert isinstance(said, Say)
    assert said.text.startswith(
        "From `handbook.pdf, page 3`: “Employees have 25 days of paid leave.” 【0:1†source】\n\n*(Locum"
    )


def test_a_korean_question_is_answered_from_korean_text() -> None:
    said = reply(Conversation(text="연차 휴가는 며칠인가요?", can_search=True, searches=(found(HANDBOOK, RULES),)))
    assert isinstance(said, Say)
    assert said.text.startswith("`규정.txt`에서: “연차 휴가는 25일입니다.” 【0:1†source】")


def test_what_was_found_by_its_meaning_alone_is_quoted_from_its_beginning() -> None:
    said = reply(Conversation(text="Vacation?", can_search=True, searches=(found(HANDBOOK),)))
    assert isinstance(said, Say)
    assert "“Work begins at nine.” 【0:0†source】" in said.text


def test_where_nothing_was_found_it_says_why() -> None:
    said = reply(
        Conversation(
            text="How much leave?", can_search=True, searches=(found(output="[There are no files. Add some.]"),)
        )
    )
    assert isinstance(said, Say)
    assert said.text.startswith("I searched the files and found no answer: There are no files.\n")


@pytest.mark.parametrize(
    "text", ["Solve 3x + 11 = 14", "hello", "count to 5", "Plot sin(x)", "```python\nprint(1)\n```"]
)
def test_what_is_no_question_to_files_is_not_searched_for(text: str) -> None:
    assert not isinstance(reply(Conversation(text=text, can_search=True)), SearchFiles)


def test_a_search_that_is_demanded_is_made() -> None:
    assert isinstance(reply(Conversation(text="hello", can_search=True, forced="file_search")), SearchFiles)
    assert isinstance(reply(Conversation(text="hello", can_search=True, can_run=False, must_call=True)), SearchFiles)


def test_documents_come_before_data_where_the_message_says_so() -> None:
    files = ("/mnt/data/sales.csv",)
    asked = Conversation(text="What does the manual say about returns?", can_search=True, files=files)
    assert isinstance(reply(asked), SearchFiles)
    asked = Conversation(text="Describe the data in sales.csv", can_search=True, files=files)
    assert isinstance(reply(asked), RunCode)
