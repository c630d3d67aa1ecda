"""Makes orders.xlsx, a year of orders as a shop might have typed them in: with doubles, blanks and stray spaces.

It needs `pip install openpyxl`; the workbook it makes is already here.
"""

import csv
import datetime
import pathlib
import random

import openpyxl

here = pathlib.Path(__file__).parent
chance = random.Random(2025)
with (here / "products.csv").open(encoding="utf-8-sig", newline="") as file:
    products = [row["상품코드"] for row in csv.DictReader(file)]

book = openpyxl.Workbook()
sheet = book.active
sheet.title = "주문"
sheet.append(["주문번호", "주문일", "지역", "상품코드", "수량"])
rows = []
for number in range(1, 241):
    day = datetime.date(2025, 1, 1) + datetime.timedelta(days=chance.randrange(365))
    region = chance.choice(["서울", "서울", "부산", "대구", "제주"])
    quantity = chance.randint(1, 6) + day.month // 4
    rows.append([f"A{number:04}", day, region, chance.choices(products, range(len(products), 0, -1))[0], quantity])
rows.sort(key=lambda row: row[1])
for row in chance.sample(rows, 6):
    rows.insert(rows.index(row), list(row))  # typed in twice
for row in chance.sample(rows, 5):
    row[4] = None  # forgotten
for row in chance.sample(rows, 12):
    row[2] = f" {row[2]} "  # a slip of the thumb
for row in rows:
    sheet.append(row)
for letter, width in zip("ABCDE", (12, 14, 10, 12, 8), strict=True):
    sheet.column_dimensions[letter].width = width
book.save(here / "orders.xlsx")
