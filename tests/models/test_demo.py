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

import pytest

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
from locum.models.demo import DemoModel
from locum.models.demo.conversation import Attempt, Conversation, read
from locum.models.demo.expressions import arithmetic, equations, functions
from locum.models.demo.skills import RunCode, Say, reply

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
    code = f"import sys, locum.models.demo; print([name for name in {heavy.split()} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
