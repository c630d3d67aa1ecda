"""Rules of all store functions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from locum.domain.messages import Message, Text, TextPart
from locum.domain.pages import Page
from locum.store import messages
from locum.store.migrations import upgrade
from locum.store.rows import MAX_PAGE_LENGTH
from locum.store.sqlite import sqlite_engine

TWO_THREADS = """
from __future__ import annotations
import threading, time
import msgspec
from locum.store import rows

begun, never = threading.Event(), threading.Event()

def int_later():
    begun.set()
    never.wait(0.2)  # as if the interpreter gave way to the other thread here
    return int

class Part(msgspec.Struct):
    number: int_later()

class Whole(msgspec.Struct):
    part: Part

numbers = []

def decode():
    numbers.append(rows.decode('{"part": {"number": 1}}', Whole).part.number)

other = threading.Thread(target=decode)
other.start()
begun.wait()
decode()
other.join()
print(numbers)
"""


def test_two_threads_can_decode_the_first_docs_of_a_kind_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", TWO_THREADS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 1]\n", "")


def message(number: int, text: str) -> Message:
    return Message(
        id=f"msg_{number:03}",
        created_at=1,
        completed_at=1,
        thread_id="thread_1",
        role="user",
        content=(TextPart(Text(value=text)),),
    )


LARGE = "x" * (MAX_PAGE_LENGTH * 2 // 5)
"""Two of them fit into a page."""


@pytest.mark.parametrize(
    ("texts", "limit", "pages"),
    [
        ([LARGE] * 5, 100, [2, 2, 1]),
        ([LARGE] * 4, 2, [2, 2]),
        ([LARGE * 4] * 3, 100, [1, 1, 1]),
        ([*["a"] * 30, *[LARGE] * 3, *["a"] * 30], 100, [32, 31]),
        (["a"] * 90, 100, [90]),
        (["a"] * 100, 100, [100]),
        (["a"] * 101, 100, [100, 1]),
        (["a"] * 43, 21, [21, 21, 1]),
        (["a"] * 41, 20, [20, 20, 1]),
        ([], 20, [0]),
    ],
)
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_page_is_bounded_in_length_as_well_as_in_rows(
    texts: list[str], limit: int, pages: list[int], order: str, tmp_path: Path
) -> None:
    engine = sqlite_engine(tmp_path / "locum.db")
    with engine.begin() as conn:
        upgrade(conn)
        messages.append(conn, "default", "thread_1", [message(number, text) for number, text in enumerate(texts)])
        seen, last = [], None
        while True:
            page = Page(limit=limit, order="asc" if order == "asc" else "desc", after=last)
            listing = messages.page(conn, "default", "thread_1", page)
            seen.append([item.id for item in listing.data])
            if not listing.has_more:
                break
            last = seen[-1][-1]
    engine.dispose()
    assert sorted(map(len, seen)) == sorted(pages)
    ids = [f"msg_{number:03}" for number in range(len(texts))]
    assert [id_ for ids_of_page in seen for id_ in ids_of_page] == (ids if order == "asc" else ids[::-1])


def test_a_page_of_long_docs_before_a_cursor_ends_just_before_it(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "locum.db")
    with engine.begin() as conn:
        upgrade(conn)
        messages.append(conn, "default", "thread_1", [message(number, LARGE) for number in range(5)])
        listing = messages.page(conn, "default", "thread_1", Page(limit=100, order="asc", before="msg_004"))
    engine.dispose()
    assert ([item.id for item in listing.data], listing.has_more) == (["msg_002", "msg_003"], True)


def test_the_rows_of_a_long_page_are_not_all_read(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "locum.db")
    limits: list[int] = []

    def note_limit(_conn: object, _cursor: object, statement: str, parameters: tuple[object, ...], *_: object) -> None:
        if "LIMIT" in statement:
            limits.append(int(str(parameters[-2])))

    with engine.begin() as conn:
        upgrade(conn)
        messages.append(conn, "default", "thread_1", [message(number, "x" * 100_000) for number in range(100)])
        sa.event.listen(conn, "before_cursor_execute", note_limit)
        messages.page(conn, "default", "thread_1", Page(limit=100))
    engine.dispose()
    assert sum(limits) <= MAX_PAGE_LENGTH // 100_000 + 23
