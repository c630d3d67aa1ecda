"""From hits to a ranking: tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locum.documents.types import Ranges, Span, Unit
from locum.domain.vector_stores import Chunking
from locum.search import ranking
from locum.search.keyword.index import KeywordHit
from locum.search.ranking import Chunk, Found
from locum.search.vectors import VectorHit
from tests.search.properties import unhurried

UNIT, OTHER = Unit("d1", Chunking()), Unit("d2", Chunking())


def ranges(*pairs: tuple[int, int]) -> Ranges:
    return np.array(pairs, np.int32).reshape(-1, 2)


CHUNKS = {UNIT: ranges((0, 100), (50, 150), (100, 200)), OTHER: ranges((0, 80))}
WINDOWS = {"d1": ranges((0, 60), (60, 120), (120, 200)), "d2": ranges((0, 80))}
A, B, C, D = Chunk(UNIT, 0), Chunk(UNIT, 1), Chunk(UNIT, 2), Chunk(OTHER, 0)


@unhurried
@given(st.floats(0, 50), st.floats(0, 50))
def test_the_more_of_the_words_the_better_and_never_above_one(share: float, other: float) -> None:
    assert 0 <= ranking.of_words(share) <= 1
    assert share >= other or ranking.of_words(share) <= ranking.of_words(other)


@pytest.mark.parametrize(
    ("cosine", "unrelated", "score"),
    [(0.1, 0.1, 0), (-1, 0.1, 0), (1, 0.1, 1), (0.55, 0.1, 0.5), (0.9, 0.8, 0.5), (0.5, 1.0, 0), (1.01, 0.0, 1)],
)
def test_meaning_counts_from_where_texts_have_nothing_in_common(cosine: float, unrelated: float, score: float) -> None:
    assert ranking.of_meaning(cosine, unrelated) == pytest.approx(score)


def test_a_window_counts_for_the_chunks_its_middle_lies_in() -> None:
    hits = [VectorHit("d1", 1, 0.9), VectorHit("d1", 0, 0.5), VectorHit("d1", 2, 0.4)]
    found = ranking.by_meaning(hits, {"d1": [UNIT]}, CHUNKS, WINDOWS, unrelated=0)
    assert found == {
        A: Found(pytest.approx(0.9), 1),
        B: Found(pytest.approx(0.9), 1),
        C: Found(pytest.approx(0.4), 2),
    }


def test_hits_in_what_is_not_searched_are_none() -> None:
    hits = [VectorHit("gone", 0, 0.9), VectorHit("d2", 7, 0.9), VectorHit("d2", 0, 0.8)]
    found = ranking.by_meaning(hits, {"d2": [OTHER]}, CHUNKS, WINDOWS, unrelated=0)
    assert found.keys() == {D}
    words = [KeywordHit("gone:800:400", 0, 3.0, 1.0), KeywordHit(OTHER.key, 0, 3.0, 1.0)]
    assert ranking.by_words(words, {OTHER.key: OTHER}).keys() == {D}


def test_words_and_meaning_are_added_by_weight() -> None:
    fused = ranking.fuse({A: 0.5, B: 1.0}, {A: Found(0.9, 0), C: Found(0.2, 2)}, 0.6)
    assert fused == {
        A: Found(pytest.approx(0.4 * 0.5 + 0.6 * 0.9), 0),
        B: Found(pytest.approx(0.4), None),
        C: Found(pytest.approx(0.12), 2),
    }


def test_meaning_of_no_weight_finds_nothing() -> None:
    assert ranking.fuse({A: 0.5}, {B: Found(0.9, 0)}, 0.0) == {A: Found(0.5)}


@unhurried
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_fused_score_lies_between_its_halves(said: float, meant: float, weight: float) -> None:
    (score, _) = ranking.fuse({A: said}, {A: Found(meant, 0)}, weight)[A]
    assert min(said, meant) - 1e-9 <= score <= max(said, meant) + 1e-9 or weight == 0


def test_of_several_queries_the_better_score_counts() -> None:
    assert ranking.merge([{A: Found(0.2, 1), B: Found(0.9)}, {A: Found(0.5, 2)}, {}]) == {
        A: Found(0.5, 2),
        B: Found(0.9),
    }


def test_a_chunk_that_repeats_a_better_one_is_left_out() -> None:
    chunks = {UNIT: ranges((0, 100), (49, 149), (100, 200)), OTHER: ranges((0, 80))}
    found = {A: Found(0.9), B: Found(0.8), C: Found(0.7), D: Found(0.6)}
    ranked = ranking.ranking(found, chunks, WINDOWS, limit=10)
    assert [each.chunk for each in ranked] == [A, C, D]
    found[B] = Found(0.95)
    assert [each.chunk for each in ranking.ranking(found, chunks, WINDOWS, limit=10)] == [B, C, D]


def test_chunks_that_share_half_are_both_kept() -> None:
    found = {A: Found(0.9), B: Found(0.8)}
    assert [each.chunk for each in ranking.ranking(found, CHUNKS, WINDOWS, limit=10)] == [A, B]


def test_the_same_document_in_other_chunks_is_repetition_too() -> None:
    small = Unit("d1", Chunking(max_chunk_size_tokens=100, chunk_overlap_tokens=0))
    found = {A: Found(0.9), Chunk(small, 0): Found(0.8)}
    ranked = ranking.ranking(found, {**CHUNKS, small: ranges((10, 40))}, WINDOWS, limit=10)
    assert [each.chunk for each in ranked] == [A]


@pytest.mark.parametrize(
    ("limit", "threshold", "expected"),
    [(10, 0.0, [A, D]), (1, 0.0, [A]), (10, 0.6, [A]), (10, 0.9, [A]), (10, 0.91, [])],
)
def test_limit_and_threshold_cut_the_ranking(limit: int, threshold: float, expected: list[Chunk]) -> None:
    found = {D: Found(0.5), A: Found(0.9)}
    ranked = ranking.ranking(found, CHUNKS, WINDOWS, limit=limit, threshold=threshold)
    assert [each.chunk for each in ranked] == expected


def test_chunks_whose_place_is_not_known_are_left_out() -> None:
    found = {Chunk(UNIT, 99): Found(0.9), Chunk(Unit("lost", Chunking()), 0): Found(0.8), D: Found(0.1)}
    assert [each.chunk for each in ranking.ranking(found, CHUNKS, WINDOWS, limit=10)] == [D]


def test_what_scores_nothing_is_not_found() -> None:
    assert ranking.ranking({A: Found(0.0)}, CHUNKS, WINDOWS, limit=10) == []


def test_equal_scores_keep_one_order() -> None:
    found = {D: Found(0.5), C: Found(0.5), A: Found(0.5)}
    assert [each.chunk for each in ranking.ranking(found, CHUNKS, WINDOWS, limit=10)] == [A, C, D]


def test_a_quote_is_the_best_window_as_far_as_it_is_in_the_chunk() -> None:
    ranked = ranking.ranking({A: Found(0.9, 1), D: Found(0.5)}, CHUNKS, WINDOWS, limit=10)
    assert ranked[0].quote == Span("d1", 60, 100)
    assert ranked[1].quote is None


PROSE = (
    "The gate was closed. Refunds are paid within two weeks. Ask the office for the form.\n\nThe gate opens at nine."
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("when are refunds paid", "Refunds are paid within two weeks."),
        ("when does the gate open", "The gate opens at nine."),
        ("refund form", "Refunds are paid within two weeks. Ask the office for the form."),
        ("bicycles", "The gate was closed."),
    ],
)
def test_by_words_the_sentences_with_most_of_them_are_quoted(query: str, expected: str) -> None:
    start, end = ranking.Quotes([query]).best_part(PROSE)
    assert PROSE[start:end] == expected


def test_of_several_queries_the_one_with_most_words_is_quoted() -> None:
    start, end = ranking.Quotes(["bicycles", "office form"]).best_part(PROSE)
    assert PROSE[start:end] == "Ask the office for the form."


def test_korean_is_quoted_by_its_sentences() -> None:
    text = "문은 닫혀 있었다. 환불은 두 주 안에 처리됩니다. 사무실에 문의하세요."
    start, end = ranking.Quotes(["환불은 언제 처리되나요?"]).best_part(text)
    assert text[start:end] == "환불은 두 주 안에 처리됩니다."


@unhurried
@given(st.text(), st.text())
def test_a_quote_is_a_part_of_the_text_and_short(text: str, query: str) -> None:
    start, end = ranking.Quotes([query]).best_part(text)
    assert 0 <= start <= end <= len(text)
    assert end - start <= ranking.QUOTE_CHARACTERS or not text[start:end].strip()


@pytest.mark.parametrize("text", ["word " * 4000, "x" * 20_000, "a\n" * 10_000, "a. " * 7000, "말" * 20_000])
def test_a_text_that_is_no_prose_is_quoted_in_pieces(text: str) -> None:
    start, end = ranking.Quotes(["word x a 말"]).best_part(text)
    assert 0 < end - start <= ranking.QUOTE_CHARACTERS


def test_of_a_list_a_few_lines_are_quoted_however_many_fit() -> None:
    text = "\n".join(f"{number} ab" for number in range(300))
    start, end = ranking.Quotes(["100 ab", " ".join(map(str, range(90, 300)))]).best_part(text)
    lines = text[start:end].split("\n")
    assert len(lines) == ranking.MOST_SENTENCES
    assert lines[0] == "90 ab"
