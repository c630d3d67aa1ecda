"""The Python that the demo model writes. Each function gives the programs to try in turn: the plain one first, then
more defensive ones for when it failed.

Lines that the answer is made of are printed with a leading bullet, in the language of the question.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import PurePosixPath

from locum.demo_model.conversation import Language
from locum.demo_model.expressions import FUNCTIONS, Equation, Function
from locum.demo_model.words import template

BULLET = "• "

_NUMBERS = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?|\.\d+)")
_CALLS = re.compile(r"\b(" + "|".join(sorted(FUNCTIONS)) + r")\(")


def solve(found: list[Equation]) -> list[str]:
    """sympy; and should that fail, plain fractions, which do for linear and quadratic equations."""
    return [
        "import sympy\n" + "".join(_solve_with_sympy(equation) for equation in found),
        _FRACTIONS + "".join(_solve_with_fractions(equation) for equation in found),
    ]


def _solve_with_sympy(equation: Equation) -> str:
    x = equation.unknown
    return f"""
{x} = sympy.Symbol("{x}")
left = sympy.sympify("{equation.left}", locals={{"{x}": {x}}}, rational=True)
right = sympy.sympify("{equation.right}", locals={{"{x}": {x}}}, rational=True)
solutions = [sympy.simplify(solution) for solution in sympy.solve(left - right, {x})]
print("equation: {equation}")
if sympy.simplify(left - right) == 0:
    print("every value of {x}")
elif not solutions:
    print("no solution")
for solution in solutions:
    real, imaginary = solution.as_real_imag()
    if real.is_integer and imaginary.is_integer:
        print(f"{x} = {{solution}}")
    elif imaginary == 0:
        print(f"{x} = {{solution}} ≈ {{float(solution):.6g}}")
    else:
        print(f"{x} = {{solution}} ≈ {{sympy.N(solution, 4)}}")
"""


_FRACTIONS = """
import cmath
from fractions import Fraction


def solve(difference):
    \"\"\"The values where a polynomial of degree 2 at most is 0, from its values at 0, 1 and 2.\"\"\"
    c = difference(Fraction(0))
    a = (difference(Fraction(2)) - 2 * difference(Fraction(1)) + c) / 2
    b = difference(Fraction(1)) - a - c
    if difference(Fraction(5)) != 25 * a + 5 * b + c:
        raise ValueError("neither a linear nor a quadratic equation")
    if a == b == 0:
        return None if c == 0 else []
    if a == 0:
        return [-c / b]
    root = cmath.sqrt(b * b - 4 * a * c)
    values = {(-b - root) / (2 * a), (-b + root) / (2 * a)}
    return [value.real if value.imag == 0 else value for value in values]

"""


def _solve_with_fractions(equation: Equation) -> str:
    x = equation.unknown
    left, right = (_NUMBERS.sub(r'Fraction("\1")', side) for side in (equation.left, equation.right))
    return f"""
print("equation: {equation}")
solutions = solve(lambda {x}: ({left}) - ({right}))
if solutions is None:
    print("every value of {x}")
elif not solutions:
    print("no solution")
for solution in solutions or []:
    print(f"{x} = {{solution}}")
"""


def calculate(expression: str) -> list[str]:
    return [f"import math\n\nprint({_CALLS.sub(_from('math'), expression)})\n"]


def describe(path: str, question: str, language: Language, *, chart: bool, save: bool) -> list[str]:
    """Facts about a data file, a chart when it is asked for or suggests itself, a summary file when that is."""
    kind = PurePosixPath(path).suffix.lower()
    readers = {
        ".csv": f"pd.read_csv({path!r})",
        ".tsv": f'pd.read_csv({path!r}, sep="\\t")',
        ".xlsx": f"pd.read_excel({path!r})",
        ".json": f"pd.read_json({path!r})",
    }
    rest = _facts(question, language, chart=chart)
    if save:
        rest += _SAVE.replace("SUMMARY", repr(summary_path(path)))
    return [
        f"import matplotlib.pyplot as plt\nimport pandas as pd\n\nframe = {readers[kind]}\n{rest}",
        _READ_ANYTHING.replace("PATH", repr(path)) + rest,
        _READ_LINES.replace("PATH", repr(path)).replace("FACT", repr(BULLET + template("fact_lines", language))),
    ]


def summary_path(path: str) -> str:
    """Where the summary of a data file goes: a name that needs no escaping in a link."""
    stem = re.sub(r"[^\w-]+", "_", PurePosixPath(path).stem)
    return f"/mnt/data/{stem}_summary.csv"


def _facts(question: str, language: Language, *, chart: bool) -> str:
    facts = {
        name: repr(BULLET + template(f"fact_{name}", language))
        for name in ("size", "number", "text", "missing", "chart")
    }
    return f"""
# columns that the question names come first
question = {question[:500].lower()!r}
columns = sorted(frame.columns, key=lambda column: str(column).lower() not in question)
numbers = [column for column in columns if pd.api.types.is_numeric_dtype(frame[column])]
labels = [column for column in columns if column not in numbers]

names = ", ".join(map(str, frame.columns))
print({facts["size"]}.format(rows=len(frame), columns=len(frame.columns), names=names))
for column in numbers[:12]:
    values = frame[column].astype(float)
    print({facts["number"]}.format(name=column, mean=values.mean(), least=values.min(), most=values.max()))
for column in labels[:12]:
    counts = frame[column].value_counts()
    if len(counts):
        print({facts["text"]}.format(name=column, count=len(counts), top=counts.index[0]))
if frame.isna().any(axis=None):
    print({facts["missing"]}.format(count=int(frame.isna().sum().sum())))

if {"len(columns)" if chart else "labels and numbers"}:
    figure, axes = plt.subplots(figsize=(8, 4.5))
    if labels and numbers:
        totals = frame.groupby(labels[0], sort=False)[numbers[0]].sum()
        totals.plot(ax=axes, kind="bar" if len(totals) <= 20 else "line")
        title = f"{{numbers[0]}} / {{labels[0]}}"
    elif numbers:
        frame[numbers[:5]].plot(ax=axes)
        title = ", ".join(map(str, numbers[:5]))
    else:
        frame[labels[0]].value_counts().head(20).plot(ax=axes, kind="bar")
        title = str(labels[0])
    axes.set_title(title)
    figure.tight_layout()
    plt.show()
    print({facts["chart"]}.format(what=title))
"""


_SAVE = """
frame.describe(include="all").round(4).to_csv(SUMMARY)
print("saved", SUMMARY)
"""

_READ_ANYTHING = """
import io
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

content = Path(PATH).read_bytes()


def read_table():
    \"\"\"The file as a table, whatever its encoding, its separator and its true kind.\"\"\"
    if content[:2] == b"PK":
        return pd.read_excel(io.BytesIO(content))
    for encoding in ("utf-8-sig", "cp949", "latin-1"):
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(text)
        except ValueError:
            value = [json.loads(line) for line in text.splitlines() if line.strip()]
        if isinstance(value, dict):
            value = next((inner for inner in value.values() if isinstance(inner, list)), [value])
        return pd.json_normalize(value) if isinstance(value[0], dict) else pd.DataFrame({"value": value})
    return pd.read_csv(io.StringIO(text), sep=None, engine="python", on_bad_lines="skip")


frame = read_table()
for column in frame.columns:
    if not pd.api.types.is_numeric_dtype(frame[column]):
        words = frame[column].map(str)
        values = pd.to_numeric(words.str.replace(",", ""), errors="coerce")
        frame[column] = values if values.notna().mean() > 0.9 else words
"""

_READ_LINES = """
from pathlib import Path

lines = Path(PATH).read_bytes().decode("utf-8", "replace").splitlines()
print(FACT.format(count=len(lines)))
for line in lines[:5]:
    print("• " + line[:200])
"""


def plot(found: list[Function], limits: tuple[float, float] | None, language: Language) -> list[str]:
    """The functions over one range, in one picture."""
    if limits is None:
        bodies = " ".join(function.body for function in found)
        limits = (-6.3, 6.3) if re.search(r"\b(sin|cos|tan)\(", bodies) else (-3, 3) if "exp" in bodies else (-10, 10)
    fact = repr(BULLET + "{label}: " + template("fact_range", language))
    curves = [(str(function), _numpy(function)) for function in found]
    program = f"""
import matplotlib.pyplot as plt
import numpy as np

x = np.linspace({limits[0]}, {limits[1]}, 1001)
figure, axes = plt.subplots(figsize=(8, 4.5))
"""
    for label, body in curves:
        program += f"""
with np.errstate(all="ignore"):
    y = {body} + 0 * x
y = np.where(np.isfinite(y), y, np.nan)
axes.plot(x, y, label={label!r})
if not np.isnan(y).all():
    print({fact}.format(label={label!r}, least=np.nanmin(y), most=np.nanmax(y)))
"""
    program += """
axes.set_xlabel("x")
axes.set_ylabel("y")
axes.grid(True)
axes.legend()
plt.show()
"""
    return [program]


def _numpy(function: Function) -> str:
    body = re.sub(rf"\b{function.variable}\b", "x", function.body) if function.variable != "e" else function.body
    body = re.sub(r"\b(pi|e)\b", r"np.\1", body)
    return _CALLS.sub(_from("np"), body)


def _from(module: str) -> Callable[[re.Match[str]], str]:
    """The replacement that takes a function from a module (both know the natural logarithm as `log`)."""

    def qualified(match: re.Match[str]) -> str:
        name = match[1]
        if name == "abs":
            return "abs("
        return f"{module}.{'log' if name == 'ln' else name}("

    return qualified


def sample_chart() -> list[str]:
    return [
        """
import matplotlib.pyplot as plt

months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun"]
visitors = [120, 135, 160, 150, 190, 230]

figure, axes = plt.subplots(figsize=(8, 4.5))
axes.bar(months, visitors)
axes.set_title("Sample data: visitors per month")
axes.set_ylabel("visitors")
plt.show()
"""
    ]


_SALES = """
import pandas as pd

sales = pd.DataFrame({"month": ["Jan", "Feb", "Mar"], "revenue": [120, 135, 160]})
"""


def misspelt(language: Language) -> str:
    """A program that fails on purpose: the column is called revenue."""
    fact = repr(BULLET + template("fact_total", language))
    return f'{_SALES}print({fact}.format(name="revnue", total=sales["revnue"].sum()))\n'


def respelt(missing: str, language: Language) -> str:
    """The same, with the column found that comes closest to the name in the traceback."""
    fact = repr(BULLET + template("fact_total", language))
    return f"""
import difflib
{_SALES}
missing = {json.dumps(missing, ensure_ascii=False)}  # the name in the KeyError
columns = list(map(str, sales.columns))
column = difflib.get_close_matches(missing, columns, n=1, cutoff=0)[0]
print({BULLET!r} + f"{{missing}} -> {{column}}")
print({fact}.format(name=column, total=sales[column].sum()))
"""
