"""What is found out about embedders that read some languages and others as letters only.

The embedders here answer for the probe's sentences as one would that reads: by what is meant, with some noise. What a
real one gets is in docs/benchmarks.md.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Collection, Sequence
from typing import Literal

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from locum.search.keyword.languages import LANGUAGES
from locum.search.language_probe import MOST_WEIGHT, NOTHING, Abilities, Reading, probe
from locum.search.probe_texts import TRIALS

DIMENSIONS = 256
ALL = tuple(TRIALS)
EUROPEAN = ("en", "de", "fr", "es", "pt")


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def letters(text: str) -> NDArray[np.float64]:
    """By the pairs of letters, each a direction of its own."""
    vector = np.zeros(DIMENSIONS)
    padded = f" {text.lower()} "
    for at in range(len(padded) - 1):
        vector[zlib.crc32(padded[at : at + 2].encode()) % DIMENSIONS] += 1
    return vector


class Reader:
    """Reads these languages; of others it sees letters. offset: added to every vector, as embedders have whose cosines
    are all high."""

    def __init__(self, languages: Collection[str], *, offset: float = 0.0) -> None:
        self._offset = offset
        self._meanings = {
            text: number
            for language in languages
            for number, trial in enumerate(TRIALS[language])
            for text in (trial.said, trial.meant)
        }

    async def __call__(self, texts: Sequence[str], *, kind: Literal["document", "query"]) -> NDArray[np.float32]:
        return unit(np.stack([self._vector(text) for text in texts]))

    def _vector(self, text: str) -> NDArray[np.float64]:
        vector = unit(letters(text)).astype(np.float64)
        if text in self._meanings:
            vector += 2 * unit(np.random.default_rng(self._meanings[text]).standard_normal(DIMENSIONS))
        vector[0] += self._offset
        return vector


def abilities(languages: Collection[str], **options: float) -> Abilities:
    return asyncio.run(probe("test", Reader(languages, **options)))


def test_who_reads_everything_is_trusted_in_everything() -> None:
    found = abilities(ALL)
    assert {language: found.of(language).ability for language in ALL} == dict.fromkeys(ALL, 1.0)
    assert found.weight("how do I get a refund") == MOST_WEIGHT


def test_who_compares_letters_is_trusted_in_nothing() -> None:
    found = abilities(())
    assert max(found.of(language).ability for language in ALL) < 0.1
    for text in ("how do I get a refund", "환불은 어떻게 받나요", "Wie bekomme ich mein Geld zurück", "怎样拿回钱"):
        assert found.weight(text) == 0


def test_who_reads_some_languages_is_trusted_in_those() -> None:
    found = abilities(EUROPEAN)
    assert found.weight("wie bekomme ich das Geld zurück") == MOST_WEIGHT
    assert found.weight("환불은 어떻게 받나요") == 0
    assert found.weight("お金を返してもらうには") == 0
    assert found.weight("怎样拿回我的钱") == 0


def test_latin_letters_alone_are_no_ground_for_trust() -> None:
    found = abilities(["en"])
    assert found.weight("how do I get a refund") == MOST_WEIGHT
    assert found.weight("wie bekomme ich das Geld zurück") == 0
    assert found.weight("Rückerstattung Gebühr") == 0


@pytest.mark.parametrize("language", sorted({*LANGUAGES, "latin"} - {*ALL}))
def test_a_language_that_was_not_tried_is_read_like_the_worst_in_its_letters(language: str) -> None:
    found = abilities(EUROPEAN)
    assert found.of(language).ability == (0 if language in ("el",) else 1)


def test_letters_that_were_not_tried_are_read_like_the_worst_of_all() -> None:
    assert abilities(EUROPEAN).weight("ภาษาไทย") == 0
    assert abilities(ALL).weight("ภาษาไทย") == MOST_WEIGHT


def test_the_more_of_a_mixed_query_is_not_read_the_less_its_meaning_counts() -> None:
    found = abilities(["en"])
    texts = [
        "how do I restart a pod of Kubernetes",
        "how do I restart a pod of Kubernetes 지금",
        "Kubernetes pod restart 지금 어떻게",
        "Kubernetes 파드를 지금 어떻게 재시작하나요",
    ]
    weights = [found.weight(text) for text in texts]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] == MOST_WEIGHT
    assert weights[-1] == 0
    assert len(set(weights)) == 4


def test_meaning_counts_less_in_a_store_that_is_not_read() -> None:
    found = abilities(["en"])
    assert found.weight("how do I get a refund", {"en": 1.0}) == MOST_WEIGHT
    assert found.weight("how do I get a refund", {"en": 0.5, "ko": 0.5}) == pytest.approx(MOST_WEIGHT / 2)
    assert found.weight("how do I get a refund", {"ko": 1.0}) == 0


def test_numbers_are_looked_for_as_they_are() -> None:
    assert abilities(ALL).weight("3.14 2026") == 0
    assert abilities(ALL).weight("") == 0


def test_the_scale_of_nearness_begins_where_the_embedder_puts_what_is_unrelated() -> None:
    plain, high = abilities(ALL), abilities(ALL, offset=6.0)
    assert plain.unrelated("how do I get a refund") < 0.3
    assert high.unrelated("how do I get a refund") > 0.8
    assert high.weight("how do I get a refund") == MOST_WEIGHT


def test_abilities_are_kept_and_read_again() -> None:
    found = abilities(EUROPEAN)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Abilities) == found


def test_of_no_language_at_all_nothing_is_read() -> None:
    assert Abilities(embedder="none", languages={}).of("en") == NOTHING == Reading(0, 0)


def test_each_language_is_tried_on_the_same_things_and_the_traps_share_more_letters() -> None:
    for language, trials in TRIALS.items():
        assert len(trials) == 8
        texts = [text for trial in trials for text in trial]
        assert len(set(texts)) == len(texts)
        said, meant, trap = (unit(np.stack([letters(getattr(t, part)) for t in trials])) for part in trials[0]._fields)
        nearer = (said * trap).sum(axis=1) > (said * meant).sum(axis=1)
        assert nearer.mean() >= 0.75, language
