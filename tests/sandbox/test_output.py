"""Text of a cell: cleaned, cut in the middle, and the same whichever way it is divided into pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from locum.sandbox.output import Sanitiser, Transcript, clean


def transcript(limit: int, *data: bytes, note: str = "") -> tuple[str, list[str]]:
    told: list[str] = []
    text = Transcript(limit, told.append)
    for piece in data:
        text.feed(piece)
    return text.close(note), told


def test_escapes_controls_and_direction_marks_go() -> None:
    assert (
        clean("\x1b[1;31mred\x1b[0m\x00\x08 \x1b]8;;http://x\x07link\x1b(B \u202etxt\u2069\t\n\x9b")
        == "red link txt\t\n"
    )


def test_carriage_returns_become_line_ends() -> None:
    assert clean("10%\r20%\r\ndone") == "10%\n20%\ndone"


def test_korean_and_emoji_stay() -> None:
    text = "매출 📈 👩‍👩‍👧"
    assert clean(text) == text


def test_a_character_cut_in_two_is_whole() -> None:
    data = "한".encode()
    assert transcript(100, data[:1], data[1:])[0] == "한"


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert transcript(100, b"a\xffb\xe2")[0] == "a�b�"


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_the_text_does_not_depend_on_where_the_pieces_end(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    sanitiser = Sanitiser()
    text = "".join(sanitiser.feed(data[a:b]) for a, b in pairwise(edges))
    whole = Sanitiser().feed(data, final=True)
    assert text + sanitiser.feed(b"", final=True) == whole


@given(st.lists(st.text(max_size=50).map(str.encode), max_size=40), st.sampled_from([8, 64, 1000]))
def test_what_was_told_is_what_is_returned_and_bounded(data: list[bytes], limit: int) -> None:
    text, told = transcript(limit, *data)
    assert "".join(told) == text
    assert len(text.encode()) <= limit + 60
    if len(b"".join(data)) <= limit // 2:
        assert text == clean(b"".join(data).decode())


def test_head_and_tail_stay_and_the_note_says_how_much_is_missing() -> None:
    text, told = transcript(20, b"first-----", b"x" * 1000, b"------last")
    assert text == "first-----\n[... 1000 bytes of output left out ...]\n------last"
    assert told[0] == "first-----"


def test_our_own_note_is_on_a_line_of_its_own() -> None:
    assert transcript(20, b"out", note="[stopped]\n")[0] == "out\n[stopped]\n"
    assert transcript(20, b"out\n", note="[stopped]\n")[0] == "out\n[stopped]\n"
    assert transcript(20, note="[stopped]\n")[0] == "[stopped]\n"


@given(st.lists(st.sampled_from(["/tmp/l/7/data", "/tmp/l", "/", "/7/data", "x", "/tmp/tmp/l/7/dat"]), max_size=12))
def test_a_folder_goes_by_the_name_it_is_told_under_however_it_comes(words: list[str]) -> None:
    told: list[str] = []
    text = Transcript(10_000, told.append, ("/tmp/l/7/data", "/mnt/data"))
    for word in words:
        text.feed(word.encode())
    returned = text.close()
    assert returned == "".join(words).replace("/tmp/l/7/data", "/mnt/data") == "".join(told)
