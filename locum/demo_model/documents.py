"""Questions to documents: what to search for, and which sentences of what was found answer. Pure.

A sentence answers the better the more words of the question it has. None of it is understanding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from locum.demo_model import phrases
from locum.demo_model.conversation import Passage

MAX_QUOTES = 2
_MAX_QUERY = 200
_MAX_QUOTE = 400
_MAX_SENTENCES = 200
"""Of a passage, that are looked at."""

_SENTENCE = re.compile(r"(?<=[.!?。])\s+|\n+")
_SAYING_LITTLE = """
a an the is are was were be been do does did can could will would shall should may must have has had i me my we our you
your it its he she they them this that these those there here and or but if not no yes of in on at to from for with by
about as into what which who whom whose when where why how much many please tell show give find look search say says
said know explain describe according file files document documents text page manual handbook
무엇 무슨 뭐 누구 언제 어디 어떻게 왜 얼마 얼마나 몇 대해 대한 관련 알려줘 알려 찾아줘 찾아 말해줘 설명해줘 문서 파일
내용 있나요 인가요 인가 되나요 무엇인가요 있어 해줘 나와 나오는
"""
_COMMON = frozenset(map(phrases.stem, _SAYING_LITTLE.split()))


class Quote(msgspec.Struct, frozen=True):
    """A sentence, and the passage it stands in."""

    text: str
    passage: Passage


def queries(question: str) -> tuple[str, ...]:
    """The question as it stands, and the words of it that say something."""
    whole = " ".join(question.split())[:_MAX_QUERY]
    words = " ".join(_telling(question))[:_MAX_QUERY]
    return tuple(dict.fromkeys(each for each in (whole, words) if each))


def quotes(question: str, passages: Iterable[Passage]) -> tuple[Quote, ...]:
    """What to quote, best first: where no sentence has a word of the question, the first one that was found."""
    wanted = frozenset(_telling(question))
    found: dict[str, tuple[int, Quote]] = {}
    for passage in passages:
        for sentence in _SENTENCE.split(passage.text)[:_MAX_SENTENCES]:
            if text := sentence.strip():
                found.setdefault(text, (_shared(wanted, text), Quote(_shortened(text), passage)))
    ranked = sorted(found.values(), key=lambda scored: -scored[0])  # what is alike stays in the order of the search
    if not ranked:
        return ()
    best = ranked[0][0]
    return tuple(quote for score, quote in ranked[:MAX_QUOTES] if score and 2 * score > best) or (ranked[0][1],)


def _telling(text: str) -> list[str]:
    return list(dict.fromkeys(word.stem for word in phrases.words(text) if word.stem not in _COMMON))


def _shared(wanted: frozenset[str], sentence: str) -> int:
    """Korean endings are many: a word counts that begins with one of the question's."""
    words = {word.stem for word in phrases.words(sentence)}
    return sum(
        each in words or (not each.isascii() and any(word.startswith(each) for word in words)) for each in wanted
    )


def _shortened(sentence: str) -> str:
    return sentence if len(sentence) <= _MAX_QUOTE else sentence[:_MAX_QUOTE] + "…"
