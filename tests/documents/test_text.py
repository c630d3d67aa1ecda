"""Plain text: from bytes, and made alike."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locum.documents.text import Text, TooMuchText, clean, decode, decode_clean, is_clean

PLENTY = 1 << 30
WORDS = "매출 보고서: 1,234 원\n"


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\fb\vc\x85d\u2028e", "a\nb\nc\nd\ne"),
        ("a\0b\x07c\x1b[1md\x9f", "abc[1md"),
        ("\ufeffa\tb", "a\tb"),
        ("e\u0301", "é"),
        (unicodedata.normalize("NFD", WORDS), WORDS),
        ("e" + "\u0316\u0301" * 50_000, unicodedata.normalize("NFC", "e" + "\u0316\u0301" * 15)),
    ],
)
def test_texts_are_made_alike(given_text: str, expected: str) -> None:
    assert clean(given_text) == expected


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=50))
def test_what_is_clean_stays_as_it_is_and_can_be_kept(text: str) -> None:
    cleaned = clean(text)
    assert is_clean(cleaned)
    assert clean(cleaned) == cleaned
    assert "\0" not in cleaned
    assert decode_clean(cleaned.encode()) == cleaned


@pytest.mark.parametrize("text", ["a\0", "a\r\n", "e\u0301", "\ud7a3" * 100_000 + "\u1100\u1161"])
def test_what_is_not_clean_is_seen(text: str) -> None:
    assert not is_clean(text)
    with pytest.raises(ValueError):
        decode_clean(text.encode())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_by_its_byte_order_mark_or_as_utf_8(encoding: str) -> None:
    assert decode(WORDS.encode(encoding), PLENTY) == WORDS


def test_big_endian_too() -> None:
    assert decode(b"\xfe\xff" + WORDS.encode("utf-16-be"), PLENTY) == WORDS


@pytest.mark.parametrize(
    "data",
    [
        WORDS.encode("cp949"),
        WORDS.encode("utf-16-le"),
        b"a\0b",
        WORDS.encode()[:-2] + b"\xed",
        random.Random(1).randbytes(1000),
        bytes(range(1, 32)) * 9,
        b"\xff\xfea",
    ],
)
def test_other_bytes_are_for_others_to_read(data: bytes) -> None:
    assert decode(data, PLENTY) is None


@pytest.mark.parametrize(
    "unit",
    ["각 나라의 말", "각나라말" * 10, "e\u0301\u0316", "ab\r\n", "\u0dd9\u0dcf\u0dca", "각", "😀가\u0301"],
)
def test_long_texts_are_worked_through_in_pieces_as_if_they_were_not(unit: str) -> None:
    text = "x" + unicodedata.normalize("NFD", unit) * 50_000
    assert decode(text.encode(), PLENTY) == unicodedata.normalize("NFC", text).replace("\r\n", "\n")


def test_a_text_knows_where_its_pages_begin_also_where_cleaning_has_shortened_them() -> None:
    text = Text(100)
    for page in ("a\r\nb", "", "e\u0301\n"):
        text.page()
        text.add(page)
    assert str(text) == "a\nbé\n"
    assert text.pages.tolist() == [0, 3, 3]


def test_a_text_has_an_end() -> None:
    text = Text(9)
    text.add("매출")
    with pytest.raises(TooMuchText):
        text.add("매출")
    with pytest.raises(TooMuchText):
        decode(b"a" * 100, 99)
