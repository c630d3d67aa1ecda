"""How well searches rank: Cranfield (English) and KorQuAD (Korean), against words alone, vectors alone and plain RRF.

The vectors are those of all-MiniLM-L6-v2, which reads English and no Korean, so that on KorQuAD the gate has to keep
them out. Whether it lets an embedder in that does read Korean is seen with a simulated one: its vectors are made from
the answers, with so much noise that alone they rank worse than the words. Documents are one chunk each, as they would
be at 800 tokens. Differences are paired over queries, with 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import measuring, retrieval_data
from bench.measuring import Target
from bench.retrieval_data import MINILM, Collection
from locum.documents.types import Ranges, Unit
from locum.domain.vector_stores import Chunking
from locum.search import ranking
from locum.search.keyword.index import KeywordReader, KeywordWriter
from locum.search.language_probe import MOST_WEIGHT, Abilities, Reading
from locum.search.ranking import Chunk, Found
from locum.search.search import candidates_for
from locum.search.vectors import VectorIndex, quantise

TOP = 10
CANDIDATES = candidates_for(20)
WEIGHTS = tuple(number / 20 for number in range(21))
_RRF = 60
_SIMULATED_NOISE = 6.0
_MARGIN = -0.005

Scores = NDArray[np.float64]


class Hits(NamedTuple):
    """What the two halves find for a query, and the weight the gate gives the second."""

    said: dict[Chunk, float]
    meant: dict[Chunk, Found]
    weight: float


class Measured(NamedTuple):
    """Of each query."""

    hit: Scores
    reciprocal: Scores
    ndcg: Scores

    def means(self) -> dict[str, float]:
        return {"hit@1": self.hit.mean(), "MRR@10": self.reciprocal.mean(), "nDCG@10": self.ndcg.mean()}


class Bench:
    """A collection, indexed, and the hits of each of its queries."""

    def __init__(self, collection: Collection, abilities: Abilities, directory: Path) -> None:
        self.collection = collection
        self.chunks: dict[Unit, Ranges] = {}
        self.windows: dict[str, Ranges] = {}
        self._units = {str(number): Unit(str(number), Chunking()) for number in range(len(collection.documents))}
        self._keys = {unit.key: unit for unit in self._units.values()}
        self._of_document = {document: [unit] for document, unit in self._units.items()}
        for unit, text in zip(self._units.values(), collection.documents, strict=True):
            self.chunks[unit] = np.array([[0, len(text)]], np.int32)
        KeywordWriter(directory).apply(
            remove=[],
            add=[
                (unit.key, text, self.chunks[unit])
                for unit, text in zip(self._units.values(), collection.documents, strict=True)
            ],
        )
        self._vectors = VectorIndex(collection.window_vectors.shape[1])
        for document in self._units:
            of_document = collection.windows[:, 0] == int(document)
            self.windows[document] = collection.windows[of_document, 1:]
            self._vectors.add(document, *quantise(collection.window_vectors[of_document]))
        reader = KeywordReader(directory)
        languages = reader.languages()
        self.hits = [
            Hits(
                ranking.by_words(reader.search(query, CANDIDATES), self._keys),
                self._meant(vector, abilities.unrelated(query)),
                abilities.weight(query, languages),
            )
            for query, vector in zip(collection.queries, collection.query_vectors, strict=True)
        ]

    def _meant(self, vector: NDArray[np.float32], unrelated: float) -> dict[Chunk, Found]:
        hits = self._vectors.search(vector, CANDIDATES)
        return ranking.by_meaning(hits, self._of_document, self.chunks, self.windows, unrelated=unrelated)

    def measure(self, score: Callable[[Hits], Mapping[Chunk, Found]]) -> Measured:
        """How well a way of scoring ranks."""
        rankings = [
            [
                int(result.chunk.unit.document)
                for result in ranking.ranking(score(hits), self.chunks, self.windows, limit=TOP)
            ]
            for hits in self.hits
        ]
        pairs = list(zip(rankings, self.collection.relevant, strict=True))
        return Measured(
            np.array([float(bool(found) and found[0] in relevant) for found, relevant in pairs]),
            np.array([_reciprocal(found, relevant) for found, relevant in pairs]),
            np.array([_ndcg(found, relevant) for found, relevant in pairs]),
        )


def _reciprocal(found: Sequence[int], relevant: set[int]) -> float:
    return next((1 / place for place, each in enumerate(found, 1) if each in relevant), 0.0)


def _ndcg(found: Sequence[int], relevant: set[int]) -> float:
    gained = sum(1 / np.log2(place + 1) for place, each in enumerate(found, 1) if each in relevant)
    return float(gained / sum(1 / np.log2(place + 1) for place in range(1, min(TOP, len(relevant)) + 1)))


def words_alone(hits: Hits) -> Mapping[Chunk, Found]:
    return ranking.fuse(hits.said, {}, 0.0)


def vectors_alone(hits: Hits) -> Mapping[Chunk, Found]:
    return hits.meant


def reciprocal_ranks(hits: Hits) -> Mapping[Chunk, Found]:
    """Plain RRF."""
    scores: dict[Chunk, float] = {}
    for of_half in (hits.said, {chunk: each.score for chunk, each in hits.meant.items()}):
        for place, chunk in enumerate(sorted(of_half, key=lambda chunk: -of_half[chunk]), 1):
            scores[chunk] = scores.get(chunk, 0.0) + 1 / (_RRF + place)
    return {chunk: Found(score) for chunk, score in scores.items()}


def gated(hits: Hits) -> Mapping[Chunk, Found]:
    """What Locum does."""
    return ranking.fuse(hits.said, hits.meant, hits.weight)


def ungated(hits: Hits) -> Mapping[Chunk, Found]:
    return ranking.fuse(hits.said, hits.meant, MOST_WEIGHT)


WAYS = {
    "words alone": words_alone,
    "vectors alone": vectors_alone,
    "RRF": reciprocal_ranks,
    "fused, no gate": ungated,
    "Locum": gated,
}


def interval(difference: Scores, generator: np.random.Generator, samples: int = 5000) -> dict[str, float]:
    """The mean over queries, and between what it lies in 95 of 100 resamplings of them."""
    chosen = generator.integers(len(difference), size=(samples, len(difference)))
    low, high = np.quantile(difference[chosen].mean(axis=1), [0.025, 0.975])
    return {"mean": float(difference.mean()), "low": float(low), "high": float(high)}


def split_halves(bench: Bench, generator: np.random.Generator, splits: int = 200) -> dict[str, Any]:
    """nDCG@10 on one half of the queries with the weight that is best on the other, over many halvings."""
    of_weights = np.stack(
        [bench.measure(lambda hits, w=w: ranking.fuse(hits.said, hits.meant, w)).ndcg for w in WEIGHTS]
    )  # type: ignore[misc]
    queries = of_weights.shape[1]
    scores, chosen = [], []
    for _ in range(splits):
        first = generator.permutation(queries) < queries // 2
        best = int(of_weights[:, first].mean(axis=1).argmax())
        chosen.append(WEIGHTS[best])
        scores.append(float(of_weights[best, ~first].mean()))
    curve = {f"{weight:.2f}": round(float(each.mean()), 4) for weight, each in zip(WEIGHTS, of_weights, strict=True)}
    low, middle, high = np.quantile(chosen, [0.1, 0.5, 0.9])
    return {
        "nDCG@10 on the other half": round(float(np.mean(scores)), 4),
        "weight chosen": {"p10": float(low), "p50": float(middle), "p90": float(high)},
        "nDCG@10 by weight": curve,
    }


def without(hits: Hits, answers: set[int]) -> Hits:
    """The hits in a store that does not have the answers."""
    return hits._replace(
        said={chunk: score for chunk, score in hits.said.items() if int(chunk.unit.document) not in answers},
        meant={chunk: found for chunk, found in hits.meant.items() if int(chunk.unit.document) not in answers},
    )


def separation(bench: Bench, score: Callable[[Hits], Mapping[Chunk, Found]]) -> float:
    """How often, of a relevant and an irrelevant passage among the first ten of any two queries, the first has the
    higher score: what a threshold is worth. 0.5 is nothing. For every other query the store has no answer."""
    relevant, others = [], []
    for number, (hits, answers) in enumerate(zip(bench.hits, bench.collection.relevant, strict=True)):
        asked = hits if number % 2 else without(hits, answers)
        for result in ranking.ranking(score(asked), bench.chunks, bench.windows, limit=TOP):
            (relevant if int(result.chunk.unit.document) in answers else others).append(result.score)
    ranks = np.searchsorted(np.sort(others), relevant, side="left") + np.searchsorted(
        np.sort(others), relevant, side="right"
    )
    return float(ranks.mean() / 2 / len(others))


def relative(hits: Hits) -> Mapping[Chunk, Found]:
    """The same scores between 0 and 1 for each query, as fusions by min and max have them."""
    found = gated(hits)
    scores = [each.score for each in found.values()]
    if not scores:
        return {}
    low, span = min(scores), max(scores) - min(scores) or 1.0
    return {chunk: Found((each.score - low) / span) for chunk, each in found.items()}


def simulated(collection: Collection, generator: np.random.Generator) -> Collection:
    """The collection as an embedder sees it that reads its language: a direction for each window, and for each query
    that of a window of an answer, with noise."""
    count, dimensions = collection.window_vectors.shape
    directions = _normalised(generator.standard_normal((count, dimensions)))
    answers = [
        generator.choice(np.flatnonzero(np.isin(collection.windows[:, 0], list(of)))) for of in collection.relevant
    ]
    noise = _normalised(generator.standard_normal((len(answers), dimensions)))
    strength = _SIMULATED_NOISE * generator.uniform(0.2, 1.8, size=(len(answers), 1))
    queries = _normalised(directions[answers] + strength * noise)
    return collection._replace(window_vectors=directions, query_vectors=queries)


def _normalised(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def of_collection(bench: Bench, generator: np.random.Generator) -> dict[str, Any]:
    measured = {name: bench.measure(way) for name, way in WAYS.items()}
    words, vectors, ours = measured["words alone"], measured["vectors alone"], measured["Locum"]
    better = max((words, vectors), key=lambda each: each.ndcg.mean())
    return {
        "queries": len(bench.hits),
        "weight of meaning": round(float(np.median([hits.weight for hits in bench.hits])), 3),
        "ranking": {
            name: {what: round(float(value), 4) for what, value in each.means().items()}
            for name, each in measured.items()
        },
        "Locum's nDCG@10 minus that of": {
            name: {what: round(value, 4) for what, value in interval(ours.ndcg - other.ndcg, generator).items()}
            for name, other in {**measured, "the better half": better}.items()
            if name != "Locum"
        },
        "weight chosen on one half": split_halves(bench, generator),
        "separation": {
            "absolute scores": round(separation(bench, gated), 3),
            "scores by min and max": round(separation(bench, relative), 3),
        },
    }


def rows_of(figures: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, of in figures.items():
        for way, means in of["ranking"].items():
            difference = of["Locum's nDCG@10 minus that of"].get(way)
            text = "-" if difference is None else "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**difference)
            yield [name, way, *(f"{value:.3f}" for value in means.values()), text]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    path = retrieval_data.folder()
    if path is None:
        print("skipped: LOCUM_BENCH_DATA is not set, and search quality is measured on collections that are there")
        return
    began_on = measuring.machine()
    generator = np.random.default_rng(options.seed)
    korean = retrieval_data.korquad(path)
    reads_korean = Abilities(embedder="simulated", languages={"ko": Reading(1.0, 0.0), "en": Reading(1.0, 0.0)})
    cases = {
        "Cranfield, MiniLM": (retrieval_data.cranfield(path), MINILM),
        "KorQuAD, MiniLM": (korean, MINILM),
        "KorQuAD, simulated": (simulated(korean, generator), reads_korean),
    }
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="locum-bench-") as folder:
        for name, (collection, abilities) in cases.items():
            figures[name] = of_collection(Bench(collection, abilities, Path(folder) / name), generator)
    measuring.print_table(["", "", "hit@1", "MRR@10", "nDCG@10", "Locum's nDCG@10 is higher by"], [*rows_of(figures)])
    targets = [
        Target(
            f"{name}: nDCG@10 minus the better half's, lower bound",
            of["Locum's nDCG@10 minus that of"]["the better half"]["low"],
            at_least=_MARGIN,
        )
        for name, of in figures.items()
    ]
    targets += [
        Target("KorQuAD, MiniLM: weight of meaning", figures["KorQuAD, MiniLM"]["weight of meaning"], at_most=0),
        Target(
            "KorQuAD, simulated: weight of meaning", figures["KorQuAD, simulated"]["weight of meaning"], at_least=0.3
        ),
    ]
    measuring.save("search_quality", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
