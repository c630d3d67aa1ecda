"""Programs over several tables: cleaned, joined where they share columns, and asked about months, ranks and trends.

What a table means is told by its columns: their types, and words of both languages in their names.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

from locum.demo_model.conversation import Language
from locum.demo_model.programs import BULLET
from locum.demo_model.words import template, text

Task = Literal["join", "months", "rank", "forecast", "workbook"]

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,2})?) ?(?:%|percent|퍼센트|프로)", re.IGNORECASE)
_LOWER = re.compile(r"\b(fall|drop|cut|lower|decrease|reduc)\w*|인하|내리|내려|떨어|줄(?:이|여|어|인)", re.IGNORECASE)
_COUNT = re.compile(r"\b(?:top|best|first) (\d{1,2})\b|상위 ?(\d{1,2})|(\d{1,2})(?:개|위)", re.IGNORECASE)
_NUMBER_WORDS = {
    r"\bthree\b": 3,
    r"\bfive\b": 5,
    r"\bten\b": 10,
    "다섯 ?(?:개|가지)": 5,
    "열 ?(?:개|가지)": 10,
    "세 ?(?:개|가지)": 3,
}
_THINGS = {
    r"product|item|sell|상품|제품|품목|팔": [
        "상품명|제품명|품명|product.?name|item.?name",
        "상품|제품|품목|product|item",
    ],
    r"region|area|city|where|지역|도시|어디": ["지역|도시|region|area|city"],
    r"categor|분류|종류": ["분류|종류|category|type"],
    r"customer|client|고객|거래처": ["고객|거래처|customer|client"],
}
"""What a question may ask for, and the columns that hold it: best first."""


def write(task: Task, paths: list[str], question: str, language: Language) -> list[str]:
    """The program for a task over these data files."""
    body = {"join": _JOIN, "months": _MONTHS, "rank": _RANK, "forecast": _FORECAST, "workbook": _WORKBOOK}[task]
    things = [pattern for word, patterns in _THINGS.items() if re.search(word, question, re.I) for pattern in patterns]
    values = {
        "PATHS": paths,
        "QUESTION": question[:500].lower(),
        "REVENUE": text("revenue", language),
        "THINGS": things or [pattern for patterns in _THINGS.values() for pattern in patterns],
        "TOP": _top(question),
        "PERCENT": _percent(question),
        "TARGET": workbook_path(paths),
        "SHEET": text("sheet", language),
        "MONTH": text("month", language),
        "TITLE": template("months_of", language),
    }
    program = re.sub(
        r"\bsay_(\w+)", lambda match: repr(BULLET + template(f"fact_{match[1]}", language)), _PRELUDE + body
    )
    return [re.sub(r"\b(" + "|".join(values) + r")\b", lambda match: repr(values[match[1]]), program)]


def workbook_path(paths: list[str]) -> str:
    """Where an edited copy of the first workbook goes (or a new one): a name that needs no escaping in a link."""
    books = [path for path in paths if path.lower().endswith(".xlsx")] or paths or ["tables"]
    stem = re.sub(r"[^\w-]+", "_", PurePosixPath(books[0]).stem)
    return f"/mnt/data/{stem}_monthly.xlsx"


def is_own(path: str) -> bool:
    return path.endswith("_monthly.xlsx")


def _top(question: str) -> int:
    if match := _COUNT.search(question):
        return max(1, int(next(group for group in match.groups() if group)))
    return next((number for word, number in _NUMBER_WORDS.items() if re.search(word, question.lower())), 5)


def _percent(question: str) -> float:
    match = _PERCENT.search(question)
    if match is None:
        return 0.0
    return -float(match[1]) if _LOWER.search(question) else float(match[1])


_PRELUDE = '''
import re

import pandas as pd

paths = PATHS


def read(path):
    """A table without stray spaces, doubles and rows that lack a number; dates are dates."""
    if path.lower().endswith(".xlsx"):
        table = pd.read_excel(path)
    elif path.lower().endswith(".json"):
        table = pd.read_json(path)
    else:
        separator = "\\t" if path.lower().endswith(".tsv") else ","
        try:
            table = pd.read_csv(path, sep=separator, encoding="utf-8-sig")
        except UnicodeDecodeError:
            table = pd.read_csv(path, sep=separator, encoding="cp949")
    table.columns = [str(column).strip() for column in table.columns]
    for column in table.columns:
        if pd.api.types.is_numeric_dtype(table[column]) or pd.api.types.is_datetime64_any_dtype(table[column]):
            continue
        table[column] = table[column].map(lambda value: value.strip() if isinstance(value, str) else value)
        words = table[column].dropna().astype(str)
        if len(words) and words.str.match(r"\\d{4}[-/.]\\d{1,2}[-/.]\\d{1,2}").all():
            table[column] = pd.to_datetime(table[column].str.replace("[/.]", "-", regex=True))
    once = table.drop_duplicates()
    whole = once.dropna(subset=[column for column in once.columns if pd.api.types.is_numeric_dtype(once[column])])
    found.append((path.rsplit("/", 1)[-1], len(table), len(table) - len(once), len(once) - len(whole)))
    return whole


found = []
tables = sorted(map(read, paths), key=len, reverse=True)
data, shared = tables[0], []
for table in tables[1:]:
    keys = [column for column in data.columns if column in table.columns]
    if keys:
        shared += keys
        data = data.merge(table.drop_duplicates(keys), on=keys, how="left")

keys = re.compile("(^|_| )(id|no|번호)$", re.IGNORECASE)
numbers = [
    column
    for column in data.columns
    if pd.api.types.is_numeric_dtype(data[column]) and column not in shared and not keys.search(column)
]
dates = [column for column in data.columns if pd.api.types.is_datetime64_any_dtype(data[column])]
labels = [column for column in data.columns if column not in numbers and column not in dates]


def named(pattern, columns):
    return next((column for column in columns if re.search(pattern, column, re.IGNORECASE)), None)


quantity, price = named("수량|개수|quantity|units|qty", numbers), named("단가|가격|price", numbers)
asked = [column for column in numbers if column.lower() in QUESTION and column != price]
amount = asked[0] if asked else named("매출|금액|revenue|sales|amount|total", numbers)
product = amount is None and quantity and price
if product:
    amount = REVENUE
    data[amount] = data[quantity] * data[price]
amount = amount or quantity or next((column for column in numbers if column != price), price)
if amount is None:
    raise ValueError("no column of these tables holds numbers: " + ", ".join(data.columns))


def by_month():
    if not dates:
        raise ValueError("no column of these tables holds dates: " + ", ".join(data.columns))
    return data.groupby(data[dates[0]].dt.strftime("%Y-%m"))[amount].sum()

'''

_JOIN = """
for name, rows, doubles, incomplete in found:
    print(say_table.format(name=name, rows=rows))
    if doubles:
        print(say_doubles.format(name=name, count=doubles))
    if incomplete:
        print(say_incomplete.format(name=name, count=incomplete))
if shared:
    print(say_joined.format(columns=", ".join(dict.fromkeys(shared)), rows=len(data)))
if product:
    print(say_product.format(name=amount, left=quantity, right=price))
print(say_sum.format(name=amount, total=data[amount].sum()))
data.head()
"""

_MONTHS = """
import matplotlib.pyplot as plt

months = by_month()
figure, axes = plt.subplots(figsize=(9, 4.5))
axes.bar(months.index, months)
axes.set(title=TITLE.format(name=amount), xlabel=MONTH, ylabel=amount)
axes.yaxis.set_major_formatter("{x:,.0f}")
axes.tick_params(axis="x", rotation=45)
figure.tight_layout()
plt.show()
print(say_sum.format(name=amount, total=months.sum()))
print(say_most.format(month=months.idxmax(), amount=months.max()))
print(say_least.format(month=months.idxmin(), amount=months.min()))
"""

_RANK = """
things = THINGS
column = next(filter(None, (named(pattern, labels) for pattern in things)), labels[-1] if labels else None)
if column is None:
    raise ValueError("no column of these tables holds names: " + ", ".join(data.columns))
ranks = data.groupby(column)[amount].sum().sort_values(ascending=False)
for place, (name, total) in enumerate(ranks.head(TOP).items(), start=1):
    print(say_rank.format(place=place, name=name, total=total, share=total / ranks.sum()))
ranks.head(TOP).to_frame()
"""

_FORECAST = """
import numpy as np

months = by_month()
last = months.tail(6)
slope, level = np.polyfit(range(len(last)), last, 1) if len(last) > 1 else (0.0, last.iloc[0])
print(say_trend.format(count=len(last), slope=slope))
coming = pd.period_range(pd.Period(months.index[-1]) + 1, periods=3, freq="M")
expected = [max(0.0, level + slope * (len(last) + step)) for step in range(3)]
for month, value in zip(coming, expected):
    print(say_expected.format(month=month, amount=value))
print(say_quarter.format(amount=sum(expected)))
percent = PERCENT
if percent:
    print(say_changed.format(percent=percent, amount=sum(expected) * (1 + percent / 100)))
"""

_WORKBOOK = """
import openpyxl
from openpyxl.chart import BarChart, Reference

months = by_month()
books = [path for path in paths if path.lower().endswith(".xlsx")]
book = openpyxl.load_workbook(books[0]) if books else openpyxl.Workbook()
if SHEET in book.sheetnames:
    del book[SHEET]
sheet = book.create_sheet(SHEET)
sheet.append([MONTH, amount])
for month, value in months.items():
    sheet.append([month, float(value)])
    sheet.cell(sheet.max_row, 2).number_format = "#,##0"
sheet.column_dimensions["B"].width = 16
chart = BarChart()
chart.title = TITLE.format(name=amount)
chart.add_data(Reference(sheet, min_col=2, min_row=1, max_row=sheet.max_row), titles_from_data=True)
chart.set_categories(Reference(sheet, min_col=1, min_row=2, max_row=sheet.max_row))
sheet.add_chart(chart, "D2")
book.save(TARGET)
print(say_sheet.format(name=SHEET, rows=len(months), sheets=", ".join(book.sheetnames)))
print("saved", TARGET)
"""
