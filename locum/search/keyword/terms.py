"""A text as the terms that keyword search compares.

Words are compared by their stems, without case and accents. What is written without spaces between words, and Korean,
whose words take endings, is compared by pairs of characters. A document's language is that of its function words. A
query is looked for in every language that documents are in, so that its own need not be known: a few words seldom tell.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import Stemmer

from locum.documents.types import Ranges
from locum.search.keyword import languages
from locum.search.keyword.languages import DEFAULT_LANGUAGE, LANGUAGES
from locum.search.keyword.words import WORDS_IN, Remembered, is_unspaced, words, written

VERSION = 1
"""Of the terms. An index of other terms is of no use: raise this with every change of what `terms` gives."""

_LANGUAGES_REMEMBERED = 4
"""Whose words' terms are kept. Texts that are taken in together are seldom in more."""

_ACCENT = re.compile("[\u0300-\u036f]")
_threads = threading.local()


class Terms(NamedTuple):
    """What a text is found by, as words with spaces between them. language: the one it is mostly in. characters: of
    what is compared by pairs of them, each by itself, for the query that is a single one."""

    language: str
    terms: str
    characters: str


def terms(text: str) -> Terms:
    """The terms of a text, in their order."""
    return _together([_Piece(text)])


def terms_of_chunks(text: str, chunks: Ranges) -> Iterator[Terms]:
    """The terms of each chunk of a document's text. A part that several chunks share is taken apart once; a word that
    another chunk begins or ends within is two."""
    cuts = sorted({0, *chunks.ravel().tolist()})
    pieces = [_Piece(text[start:end]) for start, end in pairwise(cuts)]
    first = {cut: number for number, cut in enumerate(cuts)}
    for start, end in chunks.tolist():
        yield _together(pieces[first[start] : first[end]])


class _Piece:
    def __init__(self, text: str) -> None:
        self._written = written(text)
        self._of_language: dict[str, str] = {}
        self.said = languages.said_by(self._written)

    def terms(self, language: str) -> str:
        if language not in self._of_language:
            self._of_language[language] = _joined(map(of_words(language).__getitem__, self._written))
        return self._of_language[language]

    @cached_property
    def characters(self) -> str:
        return _joined(map(_CHARACTERS_IN.__getitem__, self._written)) if self.said.has_unspaced else ""


def _together(pieces: Collection[_Piece]) -> Terms:
    shares = languages.together(piece.said for piece in pieces).shares
    mostly = max(shares, key=shares.__getitem__, default=DEFAULT_LANGUAGE)
    stemmed_as = mostly if mostly in LANGUAGES else DEFAULT_LANGUAGE
    of_pieces = [piece.terms(stemmed_as) for piece in pieces]
    return Terms(mostly, _joined(of_pieces), _joined(piece.characters for piece in pieces))


def _joined(terms: Iterable[str]) -> str:
    return " ".join(filter(None, terms))


@lru_cache(maxsize=_LANGUAGES_REMEMBERED)
def of_words(language: str) -> Remembered[str]:
    """Of each word as it is written, its terms in documents of this language, with spaces between them."""
    return Remembered(lambda each: " ".join(term for word in WORDS_IN[each] for term in _terms_of(word, language)))


_CHARACTERS_IN = Remembered(
    lambda each: " ".join(character for word in WORDS_IN[each] if is_unspaced(word) for character in word)
)


def _terms_of(word: str, language: str) -> list[str]:
    return _pairs(word) if is_unspaced(word) else [_stem(word, language)]


def is_character(term: str) -> bool:
    """Whether a term of a query is to be looked for among the characters."""
    return len(term) == 1 and is_unspaced(term)


def query_terms(text: str, of_documents: Collection[str]) -> list[tuple[str, ...]]:
    """The distinct words of a query, each as the terms that it may be in documents of these languages.

    Without the function words of its own language, unless it consists of them.
    """
    found = list(dict.fromkeys(words(text)))
    own = languages.said_by(found).language
    telling = [word for word in found if not languages.is_frequent(word, own)] or found
    stemmed_as = [language for language in LANGUAGES if language in of_documents or language == DEFAULT_LANGUAGE]
    queried: list[tuple[str, ...]] = []
    for word in telling:
        if is_unspaced(word):
            queried += ((pair,) for pair in _pairs(word) or [word])
        else:
            queried.append(tuple(dict.fromkeys(_stem(word, language) for language in stemmed_as)))
    return list(dict.fromkeys(queried))


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]


def _stem(word: str, language: str) -> str:
    """Without its ending and accents. English has accents in borrowed words only, others have endings with accents."""
    if language == "en":
        word = _without_accents(word)
    return _without_accents(_stemmer(language).stemWord(word))


def _without_accents(word: str) -> str:
    return word if word.isascii() else _ACCENT.sub("", unicodedata.normalize("NFD", word))


def _stemmer(language: str) -> Stemmer.Stemmer:
    """A stemmer is a thread's own: it is no use to two at once."""
    stemmers: dict[str, Stemmer.Stemmer] = _threads.__dict__
    if language not in stemmers:
        stemmers[language] = Stemmer.Stemmer(language, 0)
    return stemmers[language]
