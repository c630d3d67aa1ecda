"""The scan of vectors against exact arithmetic."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

from locum.search.vectors import VectorIndex, candidates_of, quantise
from tests.search.properties import unhurried

DIMENSIONS = 384


def some(count: int, seed: int = 0, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    """Vectors that vary in some forty ways and a little besides, as those of texts do."""
    ways = np.random.default_rng(0).standard_normal((40, dimensions))
    generator = np.random.default_rng(seed + 1)
    vectors = generator.standard_normal((count, 40)) @ ways + generator.standard_normal((count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def index_of(vectors: NDArray[np.float32], per_document: int = 10) -> VectorIndex:
    index = VectorIndex(vectors.shape[1])
    for number, start in enumerate(range(0, len(vectors), per_document)):
        index.add(str(number), *quantise(vectors[start : start + per_document]))
    return index


def test_quantised_vectors_keep_their_cosines() -> None:
    vectors = some(500) * np.linspace(0.1, 20, 500, dtype=np.float32)[:, None]
    codes, scales = quantise(vectors)
    assert codes.dtype == np.int8
    back = codes * scales[:, None]
    exact = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs((back * exact).sum(axis=1) - 1).max() < 0.005


def test_a_vector_of_nothing_stays_nothing() -> None:
    codes, scales = quantise(np.zeros((2, DIMENSIONS), np.float32))
    assert not codes.any()
    assert not scales.any()
    index = VectorIndex(DIMENSIONS)
    index.add("empty", codes, scales)
    assert [hit.cosine for hit in index.search(some(1)[0], 5)] == [0, 0]
    assert len(index.search(np.zeros(DIMENSIONS, np.float32), 5)) == 2


@pytest.mark.parametrize("dimensions", [1, 63, 64, 65, 256, 384, 1536])
def test_any_number_of_dimensions_will_do(dimensions: int) -> None:
    vectors = some(300, dimensions=dimensions)
    index = index_of(vectors)
    if dimensions > 1:
        for row in (0, 155, 299):
            best = index.search(vectors[row], 1)[0]
            assert (best.document, best.window) == (str(row // 10), row % 10)
    assert len(index.search(vectors[0], 300)) == 300


def test_the_nearest_by_exact_arithmetic_are_found() -> None:
    vectors, queries = some(20_000), some(50, seed=1)
    index = index_of(vectors)
    found = 0
    for query in queries:
        exact = set(np.argsort(-(vectors @ query))[:10].tolist())
        hits = index.search(query, 10)
        assert [hit.cosine for hit in hits] == sorted((hit.cosine for hit in hits), reverse=True)
        found += len(exact & {int(hit.document) * 10 + hit.window for hit in hits})
    assert found / 500 >= 0.98


@pytest.mark.parametrize("share", [1, 3, 40, 1000])
def test_only_what_is_allowed_is_found_and_all_of_it_that_is_near(share: int) -> None:
    vectors = some(20_000)
    index = index_of(vectors)
    query = some(1, seed=2)[0]
    allowed = {str(number) for number in range(0, 2000, share)}
    mask = np.arange(20_000) // 10 % share == 0
    exact = np.argsort(np.where(mask, -(vectors @ query), 2))[:10]
    hits = index.search(query, 10, allowed | {"never there"})
    assert {hit.document for hit in hits} <= allowed
    assert len({int(hit.document) * 10 + hit.window for hit in hits} & set(exact.tolist())) >= 9


def test_where_few_are_allowed_each_is_compared_exactly() -> None:
    vectors = some(20_000)
    index = index_of(vectors)
    allowed = {str(number) for number in range(0, 2000, 40)}
    hits = index.search(some(1, seed=2)[0], 500, allowed)
    assert {(hit.document, hit.window) for hit in hits} == {(name, window) for name in allowed for window in range(10)}
    assert index.search(some(1, seed=2)[0], 10, set()) == []


def test_many_equal_vectors_are_not_all_compared_exactly() -> None:
    vectors = np.repeat(some(1), 50_000, axis=0)
    index = VectorIndex(DIMENSIONS)
    index.add("same", *quantise(vectors))
    hits = index.search(vectors[0], 5)
    assert len(hits) == 5
    assert all(hit.cosine == pytest.approx(1, abs=0.01) for hit in hits)


def test_memory_is_given_back_when_most_is_removed() -> None:
    index = VectorIndex(64)
    for number in range(20):
        index.add(str(number), *quantise(some(10_000, seed=number, dimensions=64)))
    before = index.nbytes
    for number in range(18):
        index.remove(str(number))
    assert len(index) == 20_000
    assert index.nbytes < before / 1.5
    vector = some(10_000, seed=19, dimensions=64)[77]
    assert index.search(vector, 1)[0][:2] == ("19", 77)


def test_more_rows_are_compared_exactly_the_more_there_are() -> None:
    numbers = [candidates_of(rows, 10) for rows in (100, 30_000, 170_000, 1_700_000)]
    assert numbers == sorted(numbers)
    assert candidates_of(100, 200) >= 200


class Documents(RuleBasedStateMachine):
    """An index beside a plain dictionary of the same documents."""

    def __init__(self) -> None:
        super().__init__()
        self.index = VectorIndex(8)
        self.there: dict[str, NDArray[np.float32]] = {}

    @rule(name=st.sampled_from("abcdef"), count=st.integers(0, 5), seed=st.integers(0, 1000))
    def add(self, name: str, count: int, seed: int) -> None:
        vectors = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
        codes, scales = quantise(vectors)
        self.index.add(name, codes, scales)
        self.there[name] = codes * scales[:, None]

    @rule(name=st.sampled_from("abcdef"))
    def remove(self, name: str) -> None:
        self.index.remove(name)
        self.there.pop(name, None)

    @rule()
    def compact(self) -> None:
        self.index._compact()

    @invariant()
    def finds_what_is_there(self) -> None:
        query = np.ones(8, np.float32)
        expected = {
            (name, window): float(cosine)
            for name, vectors in self.there.items()
            for window, cosine in enumerate(vectors @ query / np.sqrt(8))
        }
        hits = self.index.search(query, 1000)
        assert {(hit.document, hit.window) for hit in hits} == expected.keys()
        assert all(hit.cosine == pytest.approx(expected[hit.document, hit.window], abs=1e-5) for hit in hits)
        assert len(self.index) == len(expected)
        assert self.index.documents == self.there.keys()


TestDocuments: Any = Documents.TestCase
TestDocuments.settings = settings(unhurried, max_examples=50)


@unhurried
@given(st.lists(st.integers(0, 500), min_size=1, max_size=3000), st.integers(1, 50))
def test_the_smallest_are_the_smallest(values: list[int], wanted: int) -> None:
    from locum.search.vectors import _smallest

    distances = np.array(values, np.uint16)
    chosen = distances[_smallest(distances, wanted)]
    assert sorted(chosen.tolist()) == sorted(values)[:wanted]


def test_searches_go_on_while_documents_come_and_go() -> None:
    stays = some(2000)
    index = index_of(stays)
    stop = threading.Event()
    wrong: list[object] = []

    def search() -> None:
        while not stop.is_set():
            for row in (3, 1500):
                best = index.search(stays[row], 1)[0]
                if (best.document, best.window) != (str(row // 10), row % 10):
                    wrong.append(best)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for round_ in range(12):
        index.add("guest", *quantise(some(2000, seed=round_ + 100)))
        index.remove("guest")
        if round_ % 4 == 0:
            index._compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
