"""What an embedder can read, found out by trying it.

An embedder that does not read a language compares letters there and, mixed into the ranking by words, does harm: so the
meaning of a query counts for as much as the embedder has shown it understands of the query's language and of those the
store is in. What it has shown is how it places the sentences of `probe.py`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from locum.search.embedders.base import Kind
from locum.search.keyword.languages import are_alike, said_by
from locum.search.keyword.words import written
from locum.search.probe_texts import TRIALS

MOST_WEIGHT = 0.55
"""Of the meaning beside the words, for an embedder that reads everything (see decision 11)."""

_LETTERS_ONLY = 0.35
"""Mean reciprocal rank of what was meant. Who compares letters gets 0.13 to 0.26 (measured in eleven languages), who
guesses 0.21."""
_READS = 0.7
_FAINT = 0.01
"""The ability that counts where there is none: in a geometric mean, what is not understood spoils the rest."""
_LEAST = 0.05
"""Less than that is nothing."""


class Embed(Protocol):
    """Vectors of texts: float32 (n, d) at length 1."""

    def __call__(self, texts: Sequence[str], *, kind: Kind) -> Awaitable[NDArray[np.float32]]: ...


class Reading(msgspec.Struct, frozen=True):
    """How well a language is read: 0 (as letters) to 1. unrelated: the cosine of two texts that have nothing in common;
    where a scale of nearness begins is each embedder's own."""

    ability: float
    unrelated: float


NOTHING = Reading(0.0, 0.0)


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """How well an embedder reads each language it was tried on. embedder: whose they are."""

    embedder: str
    languages: dict[str, Reading]

    def weight(self, text: str, store: Mapping[str, float] | None = None) -> float:
        """How much a query's meaning counts, 0 to MOST_WEIGHT. store: language -> its share of what is searched."""
        asked = said_by(written(text)).shares
        if not asked:
            return 0.0  # numbers mean what they are
        ability = math.exp(sum(share * math.log(max(_FAINT, self.of(each).ability)) for each, share in asked.items()))
        if store:
            ability *= sum(share * self.of(each).ability for each, share in store.items())
        return MOST_WEIGHT * ability if ability >= _LEAST else 0.0

    def unrelated(self, text: str) -> float:
        """Where the scale of nearness begins for a query."""
        asked = said_by(written(text)).shares
        return sum(share * self.of(each).unrelated for each, share in asked.items())

    def of(self, language: str) -> Reading:
        """Of a language that was not tried: what is read worst of those in the same letters, or of all."""
        if language in self.languages:
            return self.languages[language]
        alike = [reading for tried, reading in self.languages.items() if are_alike(tried, language)]
        return min(alike or self.languages.values(), key=lambda reading: reading.ability, default=NOTHING)


async def probe(embedder: str, embed: Embed) -> Abilities:
    """Try an embedder on every language: a few hundred short texts."""
    trials = [trial for of_language in TRIALS.values() for trial in of_language]
    said = await embed([trial.said for trial in trials], kind="query")
    answers = await embed([text for trial in trials for text in (trial.meant, trial.trap)], kind="document")
    languages: dict[str, Reading] = {}
    start = 0
    for language, of_language in TRIALS.items():
        end = start + len(of_language)
        languages[language] = _reading(said[start:end], answers[2 * start : 2 * end])
        start = end
    return Abilities(embedder=embedder, languages=languages)


def _reading(said: NDArray[np.float32], answers: NDArray[np.float32]) -> Reading:
    """answers: what was meant and the trap, in turn, of each."""
    cosines = said @ answers.T
    meant = cosines[:, ::2]
    own = np.diagonal(meant)
    ranks = 1 + np.count_nonzero(cosines > own[:, None], axis=1)
    ability = (float(np.mean(1 / ranks)) - _LETTERS_ONLY) / (_READS - _LETTERS_ONLY)
    others = meant[~np.eye(len(meant), dtype=bool)]
    return Reading(min(1.0, max(0.0, ability)), max(0.0, float(np.median(others))))
