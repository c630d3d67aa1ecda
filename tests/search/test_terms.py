"""What terms a text is found by."""

from __future__ import annotations

import re
import string
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locum.search.keyword.languages import LANGUAGES
from locum.search.keyword.terms import Terms, query_terms, terms, terms_of_chunks
from tests.search.properties import unhurried


def everything(found: Terms) -> set[str]:
    return {*found.terms.split(), *found.characters.split()}


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("refunds", "The refund is paid."),
        ("Häuser", "Das Haus steht in der Stadt und ist alt."),
        ("cafe", "Un café et une table dans la rue."),
        ("resume", "His résumé is on the table."),
        ("vector store", "class VectorStore: pass"),
        ("비밀번호", "새로운 비밀번호를 입력하십시오."),
        ("물", "물이 끓는다."),
        ("東京", "東京タワーの高さ"),
        ("塔", "东方明珠塔很高"),
        ("модели", "Эта модель не новая."),
    ],
)
def test_a_query_shares_a_term_with_what_it_is_about(query: str, document: str) -> None:
    found = terms(document)
    assert {term for word in query_terms(query, [found.language]) for term in word} & everything(found)


def test_function_words_of_a_query_are_not_looked_for_unless_it_has_no_others() -> None:
    assert query_terms("what is the refund", ["en"]) == [("refund",)]
    assert query_terms("to be or not to be", ["en"]) == [("to",), ("be",), ("or",), ("not",)]
    assert ("die",) in query_terms("how did Caesar die", ["en", "de"])


def test_a_word_is_looked_for_in_every_language_of_the_documents() -> None:
    assert query_terms("houses", ["en"]) == [("hous",)]
    assert query_terms("Kataloge", ["de", "ko"]) == [("katalog",)]
    assert set(query_terms("installations", ["en", "de"])[0]) == {"instal", "installation"}


def test_each_word_of_a_query_is_looked_for_once() -> None:
    assert query_terms("refund refund Refund", ["en"]) == [("refund",)]


@unhurried
@given(st.text())
def test_no_text_breaks_the_analysis_and_no_term_has_a_space(text: str) -> None:
    found = terms(text)
    assert found.language
    assert not re.search(r"[^\S ]|  ", f"{found.terms} {found.characters}")
    query_terms(text, LANGUAGES)


@unhurried
@given(st.text(alphabet=string.ascii_letters + string.digits + " _-.가나다한글漢字かな"))
def test_a_text_is_found_by_itself(text: str) -> None:
    found = terms(text)
    for word in query_terms(text, [found.language]):
        assert {*word} & everything(found)


@unhurried
@given(
    st.lists(st.text(alphabet=string.ascii_letters + " .가나다漢字é\n", max_size=12), min_size=1, max_size=8), st.data()
)
def test_chunks_of_a_text_have_the_terms_they_have_by_themselves(parts: list[str], data: st.DataObject) -> None:
    """Where they begin and end between words."""
    text = "".join(f"{part} " for part in parts)
    cuts = [0, *accumulate(len(part) + 1 for part in parts)]
    chunks = data.draw(st.lists(st.tuples(st.sampled_from(cuts), st.sampled_from(cuts)).map(sorted), max_size=6))
    ranges = np.array(chunks, np.int32).reshape(-1, 2)
    assert list(terms_of_chunks(text, ranges)) == [terms(text[start:end]) for start, end in chunks]


def test_a_word_that_another_chunk_begins_within_is_two() -> None:
    whole, second = terms_of_chunks("Hausboot", np.array([[0, 8], [4, 8]], np.int32))
    assert whole.terms == "haus boot"
    assert second.terms == "boot"
