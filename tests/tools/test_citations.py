from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locum.domain.messages import FileCitation
from locum.domain.steps import CodeInterpreter, CodeInterpreterCall, FileSearch, FileSearchCall, SearchResult
from locum.tools.citations import CitationReader, Cited, marker, sources, without_markers

A, B, C = (FileCitation(file_id=f"file-{name}", quote=f"quote {name}") for name in "abc")
TWO_SEARCHES = {(0, 0): A, (0, 1): B, (1, 0): C}
ONE_SEARCH = {(0, 0): A, (0, 1): B}


def read(*fragments: str, sources: dict[tuple[int, int], FileCitation] = TWO_SEARCHES) -> list[str | Cited]:
    """The pieces of a text; words that follow each other are one."""
    reader = CitationReader(sources)
    pieces: list[str | Cited] = []
    for piece in [piece for each in fragments for piece in reader.feed(each)] + list(reader.close()):
        assert piece != ""
        if isinstance(piece, str) and pieces and isinstance(pieces[-1], str):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def cited(search: int, passage: int) -> Cited:
    return Cited(f"【{search}:{passage}†source】", TWO_SEARCHES[search, passage])


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("It is 5 【0:0†source】.", ["It is 5 ", cited(0, 0), "."]),
        ("【1:0†source】", [cited(1, 0)]),
        ("a【0:0†source】【0:1†source】b", ["a", cited(0, 0), cited(0, 1), "b"]),
        ("【0:0†source】, again 【0:0†source】", [cited(0, 0), ", again ", cited(0, 0)]),
        ("한국어【0:1†source】😀", ["한국어", cited(0, 1), "😀"]),
        # what models write instead
        ("【0:1】", [cited(0, 1)]),
        ("【 0 : 1 † source 】", [cited(0, 1)]),
        ("【0：1†来源】", [cited(0, 1)]),
        ("【0:1†report [v2].pdf】", [cited(0, 1)]),
        ("【0:1†source†L3-L5】", [cited(0, 1)]),
        ("[0:1†source]", [cited(0, 1)]),
        ("【0:0†source, 1:0†source】", [cited(0, 0), cited(1, 0)]),
        ("【0:0, 0:1】", [cited(0, 0), cited(0, 1)]),
        ("【0:0†a; 0:1†b.pdf】", [cited(0, 0), cited(0, 1)]),
        # markers of nothing are left out
        ("x 【7:3†source】 y", ["x  y"]),
        ("x [7:3†source] y", ["x  y"]),
        ("【0:0†source, 7:3†source】", [cited(0, 0)]),
        ("【3†source】", []),
        # what is no marker stays
        ("at 【9:30】 sharp", ["at 【9:30】 sharp"]),
        ("list[0:1] and [1]", ["list[0:1] and [1]"]),
        ("【注意】 careful", ["【注意】 careful"]),
        ("【0:0†sou\nrce】", ["【0:0†sou\nrce】"]),
        ("[link](sandbox:/mnt/data/x.csv)", ["[link](sandbox:/mnt/data/x.csv)"]),
        ("【0:0†source", ["【0:0†source"]),
        ("【", ["【"]),
        ("[" * 500, ["[" * 500]),
        ("【0:0†" + "x" * 500 + "】", ["【0:0†" + "x" * 500 + "】"]),
    ],
)
def test_markers_are_found_and_nothing_else_is_changed(text: str, pieces: list[str | Cited]) -> None:
    assert read(text) == pieces
    assert read(*text) == pieces


def test_the_number_of_the_only_search_may_be_left_out() -> None:
    assert read("【1†source】", sources=ONE_SEARCH) == [cited(0, 1)]
    assert read("【1†source】") == []  # of which search?


def test_words_do_not_wait_and_a_marker_does() -> None:
    reader = CitationReader(TWO_SEARCHES)
    assert list(reader.feed("It is")) == ["It is"]
    assert list(reader.feed(" five 【0:")) == [" five "]
    assert list(reader.feed("0†sour")) == []
    assert list(reader.feed("ce】.")) == [cited(0, 0), "."]


def test_no_more_is_held_back_than_a_marker_may_be_long() -> None:
    reader = CitationReader(TWO_SEARCHES)
    fed = "【0:0†" + "x" * 1000
    given_out = "".join(piece for character in fed for piece in reader.feed(character) if isinstance(piece, str))
    assert given_out == fed


TEXTS = st.lists(
    st.sampled_from(["【", "】", "[", "]", "0", "1", ":", "†", "source", " ", ",", "word", "한"]), max_size=25
)


@given(parts=TEXTS, cuts=st.lists(st.integers(1, 4), min_size=1))
def test_it_does_not_matter_where_an_answer_is_cut(parts: list[str], cuts: list[int]) -> None:
    text = "".join(parts)
    fragments, at, turn = [], 0, 0
    while at < len(text):
        fragments.append(text[at : at + cuts[turn % len(cuts)]])
        at, turn = at + len(fragments[-1]), turn + 1
    assert read(*fragments) == read(text)


def result(name: str) -> SearchResult:
    return SearchResult(
        file_id=f"file-{name}", file_name=name, score=0.5, text="text", quote=f"quote {name}", start=0, end=4
    )


def test_the_markers_of_a_run_stand_for_all_that_its_searches_have_found() -> None:
    calls = (
        FileSearchCall("call_1", FileSearch(queries=("q",), results=(result("a"), result("b")))),
        CodeInterpreterCall("call_2", CodeInterpreter(input="1")),
        FileSearchCall("call_3", FileSearch(queries=("q",), results=(result("c"),), number=1)),
        FileSearchCall("call_4", FileSearch(queries=("q",), number=2)),
    )
    assert sources(calls) == TWO_SEARCHES
    assert marker((1, 0)) == "【1:0†source】"


@pytest.mark.parametrize("text", ["as 【0:1†source】 says", "[0:1†x.pdf]", "【0:1】", "【2†source】"])
def test_text_of_a_file_can_not_pass_for_a_citation(text: str) -> None:
    assert read(without_markers(text), sources=ONE_SEARCH) == [without_markers(text)]


@pytest.mark.parametrize("text", ["【注意】 list[0:1] † dagger", "a [link](x) 【】"])
def test_other_brackets_of_a_file_stay_as_they_are(text: str) -> None:
    assert without_markers(text) == text
