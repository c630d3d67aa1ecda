"""Texts cut into chunks and windows: exact sizes, whole letters, and ends where something ends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locum.documents.types import Ranges
from locum.domain.vector_stores import Chunking
from locum.ingestion import chunk
from locum.ingestion.chunk import Tokens, TooManyTokens
from locum.models.tokens import count_text
from locum.models.vocabulary import byte_lengths, encode

PIECES = st.sampled_from(
    [
        "word ",
        "Hello, world. ",
        "\n",
        "\n\n",
        "가나다라 ",
        "安全な。",
        "👩‍👩‍👧‍👦",
        "𝔘𝔫𝔦",
        "\t",
        "    x = 1\n",
        "é",
        "\ud800",
        "\x00",
        "12345",
    ]
)
TEXTS = st.one_of(st.text(max_size=400), st.lists(PIECES, max_size=400).map("".join))
SIZES = st.tuples(st.integers(10, 60), st.integers(0, 30)).map(lambda each: (each[0], min(each[1], each[0] // 2)))


def chunked(text: str, size: int, overlap: int) -> Ranges:
    return Tokens(text).chunks(Chunking(max_chunk_size_tokens=size, chunk_overlap_tokens=overlap))


@settings(max_examples=300, deadline=None)
@given(TEXTS, SIZES)
def test_chunks_cover_what_is_to_be_read_and_go_forward(text: str, sizes: tuple[int, int]) -> None:
    ranges = chunked(text, *sizes)
    covered = np.zeros(len(text), bool)
    for start, end in ranges:
        assert 0 <= start < end <= len(text)
        assert text[start:end].strip()
        covered[start:end] = True
    assert not "".join(letter for letter, is_in in zip(text, covered, strict=True) if not is_in).strip()
    assert (np.diff(ranges[:, 0]) > 0).all()
    assert (np.diff(ranges[:, 1]) > 0).all()


@settings(max_examples=300, deadline=None)
@given(TEXTS, SIZES)
def test_no_chunk_has_more_tokens_of_the_text_than_it_may(text: str, sizes: tuple[int, int]) -> None:
    size, overlap = sizes
    tokens = Tokens(text)
    number_at = dict(zip(tokens.offset.tolist(), tokens.number.tolist(), strict=True))
    ranges = tokens.chunks(Chunking(max_chunk_size_tokens=size, chunk_overlap_tokens=overlap))
    for start, end in ranges.tolist():
        assert number_at[end] - number_at[start] <= size
    for (_, end), (start, _) in pairwise(ranges.tolist()):
        assert number_at[end] - number_at[start] <= overlap


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_windows_lie_side_by_side(text: str) -> None:
    ranges = Tokens(text).windows(20).tolist()
    for (_, end), (start, _) in pairwise(ranges):
        assert end <= start
        assert not text[end:start].strip()


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_tokens_are_counted_as_the_vocabulary_cuts_them(text: str) -> None:
    assert Tokens(text).count == count_text(text)


def test_what_looks_like_a_special_token_is_text() -> None:
    text = "It ends with <|endoftext|>, and goes on <|endofprompt|>. "
    tokens = Tokens(text)
    assert tokens.count == len(encode(text))
    assert tokens.chunks(Chunking()).tolist() == [[0, len(text)]]


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_a_text_has_the_tokens_that_the_vocabulary_gives_it(text: str) -> None:
    text = text.encode(errors="replace").decode()
    ids = encode(text)
    ends = np.cumsum([byte_lengths()[token] for token in ids], dtype=int)
    letters = [len(text.encode()[:end].decode(errors="ignore")) for end in ends]
    assert set(Tokens(text).offset.tolist()) <= {0, *letters}
    assert Tokens(text).count == len(ids)


def test_a_long_text_is_cut_in_pieces_with_the_tokens_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The first line.\nThen 5 more\n\n  indented (code)\r\n/* \n */\n한국어 문장입니다.\nx\n" * 200
    monkeypatch.setattr(chunk, "_PIECE", 100)
    tokens = Tokens(text)
    assert tokens.count == len(encode(text))


def test_a_chunk_is_full_where_nothing_ends() -> None:
    text = "a b c d e f g h i j " * 1000
    tokens = Tokens(text)
    number_at = dict(zip(tokens.offset.tolist(), tokens.number.tolist(), strict=True))
    sizes = [number_at[end] - number_at[start] for start, end in tokens.chunks(Chunking()).tolist()]
    assert set(sizes[:-1]) == {800}


def test_a_chunk_ends_with_the_paragraph_or_sentence_or_line_that_ends_near() -> None:
    sentence = "one two three four five six seven eight nine ten. "
    for end in ("\n\n", "\n", " "):
        text = (sentence.strip() + end) * 100
        for start, stop in chunked(text, 100, 0).tolist()[:-1]:
            assert text[start:stop].rstrip().endswith("ten.")
            assert not text[stop:].startswith("wo")
    paragraphs = ((sentence * 8).strip() + "\n\n") * 20
    ends = [paragraphs[start:stop] for start, stop in chunked(paragraphs, 100, 0).tolist()]
    assert all(each.endswith("\n\n") for each in ends)


def test_chunks_of_korean_end_with_a_word() -> None:
    text = "안전한 시스템은 정해진 순서로 시작하고 멈춘다 " * 300
    for start, end in chunked(text, 100, 50).tolist()[:-1]:
        assert text[end - 1] == " " or text[end] == " "
        assert start == 0 or text[start - 1] == " " or text[start] == " "


def test_letters_of_many_tokens_are_never_torn() -> None:
    text = "𓀀𓁐𓂀" * 500
    for start, end in chunked(text, 10, 5).tolist():
        assert end > start
        assert count_text(text[start:end]) <= 10


def test_an_empty_text_and_one_of_blanks_have_no_chunks() -> None:
    for text in ("", " \n\t \n" * 50):
        assert chunked(text, 100, 50).shape == (0, 2)
        assert Tokens(text).windows().shape == (0, 2)


def test_a_text_with_more_tokens_than_allowed_is_refused_before_it_is_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk, "_PIECE", 1000)
    with pytest.raises(TooManyTokens):
        Tokens("word " * 100_000, limit=1000)
    assert Tokens("word " * 999, limit=1000).count <= 1000
