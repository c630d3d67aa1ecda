"""Which of the caller's functions a message asks for, and with which arguments. Pure.

A function is asked for where the message has the words of its name, of its description, or a member of its enums.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from locum.demo_model import arguments, phrases
from locum.demo_model.arguments import MAX_CALLS
from locum.demo_model.conversation import Answered, Call, Conversation
from locum.demo_model.phrases import Word
from locum.models.chat import ToolDefinition

_MAX_TEXT = 2000
"""Characters of a message that are looked at for calls."""
_MAX_DESCRIPTION = 500
_MAX_OUTPUT = 600
_MAX_ANSWERED = 32

_SENTENCE_END = re.compile(r"[.?!]+(?=\s)|\n")

_SAYING_LITTLE = """
get fetch find retrieve lookup look show list read check query create make set update use do run give tell current
currently the a an of for by to in on at with from and or is it be as this that all any my your user up me new api tool
function data info information call specific given location city name value return result some one when what which who
will can
"""
_COMMON = frozenset(map(phrases.stem, _SAYING_LITTLE.split()))
"""Words that say little of what a function is for."""
_OTHER_WORDS = {
    "weather": "temperature forecast climate",
    "forecast": "weather",
    "temperature": "weather",
    "rain": "weather precipitation",
    "rainy": "rain weather",
    "snow": "weather",
    "sunny": "weather",
    "hot": "temperature weather",
    "cold": "temperature weather",
    "warm": "temperature weather",
    "likelihood": "probability chance",
    "chance": "probability",
    "likely": "probability",
    "cost": "price",
    "share": "stock",
    "email": "mail",
    "mail": "email",
    "clock": "time",
    "convert": "exchange conversion",
    "currency": "exchange",
    "exchange": "currency convert",
    "google": "search web",
    "internet": "web",
    "reserve": "book",
    "reservation": "book",
    "plus": "add sum",
    "sum": "add",
    "times": "multiply",
    "minus": "subtract",
    "divided": "divide",
}
_KOREAN_WORDS = {
    "날씨": "weather temperature forecast",
    "기온": "temperature weather",
    "온도": "temperature weather",
    "비": "rain weather",
    "강수": "rain precipitation",
    "눈": "snow weather",
    "확률": "probability chance",
    "시간": "time",
    "시각": "time",
    "몇시": "time",
    "주가": "stock price",
    "주식": "stock",
    "가격": "price",
    "환율": "exchange rate currency",
    "뉴스": "news",
    "검색": "search",
    "웹": "web",
    "번역": "translate translation",
    "이메일": "email mail",
    "메일": "email mail",
    "예약": "book reservation reserve",
    "주문": "order",
    "일정": "calendar schedule event",
    "항공편": "flight",
    "호텔": "hotel",
    "거리": "distance",
    "더하": "add sum",
    "더해": "add sum",
    "곱하": "multiply",
    "곱해": "multiply",
    "별명": "nickname",
    "고객": "customer",
    "제품": "product",
    "문서": "document",
}


class _Match(msgspec.Struct, frozen=True):
    function: ToolDefinition
    explained: frozenset[int]
    """Indexes of the words of the message that the function is recognised by."""
    score: float
    is_clear: bool
    """Every word of its name that says something is in the message."""


def next_calls(conversation: Conversation, *, clearly: bool) -> tuple[Call, ...]:
    """What is to be called now: what the message asks for and what has not been answered yet.

    clearly: some other skill is at home with the message, and only a function that is clearly meant comes before it.
    """
    answered = conversation.answered
    if not conversation.functions or len(answered) >= _MAX_ANSWERED:
        return ()
    done = {_key(each.call) for each in answered}
    wanted = [call for call in _wanted(conversation, clearly=clearly) if _key(call) not in done]
    return tuple(wanted[: 1 if conversation.one_call_at_a_time else MAX_CALLS])


def described(answered: Iterable[Answered]) -> Iterator[tuple[str, str]]:
    """Each call as `name(city=Seoul)`, and what came back."""
    for each in answered:
        shown = ", ".join(f"{name}={_shown(value)}" for name, value in each.call.arguments.items())
        output = each.output.strip()
        yield f"{each.call.name}({shown})"[:300], output if len(output) <= _MAX_OUTPUT else output[:_MAX_OUTPUT] + "…"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _key(call: Call) -> tuple[str, str]:
    return call.name, json.dumps(call.arguments, sort_keys=True)


def _wanted(conversation: Conversation, *, clearly: bool) -> list[Call]:
    text = conversation.text[:_MAX_TEXT]
    matches = _matches(text, conversation.functions)
    called = {each.call.name for each in conversation.answered}
    if conversation.forced is not None:
        forced = next((each for each in conversation.functions if each.name == conversation.forced), None)
        if forced is None or forced.name in called:
            return []
        own = [match for match in matches if match.function is forced]
        matches = matches if own else [*matches, _Match(forced, frozenset(), 0, is_clear=True)]
        return [call for call in _planned(text, matches) if call.name == forced.name]
    kept = [match for match in matches if match.is_clear or not clearly]
    if not kept and conversation.must_call and not called and not clearly:
        kept = matches[:1] or [_Match(conversation.functions[0], frozenset(), 0, is_clear=False)]
    return _planned(text, kept)


# ---- recognising functions


def _matches(text: str, functions: tuple[ToolDefinition, ...]) -> list[_Match]:
    """The functions that the text asks for, in its order; of those that go by the same words only the best."""
    words = phrases.words(phrases.without_quotations(text))
    meanings = [_meanings(word) for word in words]
    named = [match for each in functions if (match := _by_name(text, each, words, meanings))]
    candidates = named or [match for each in functions if (match := _by_description(text, each, words))]
    chosen: list[_Match] = []
    explained: set[int] = set()
    for match in sorted(candidates, key=lambda match: -match.score):
        if match.explained - explained:
            chosen.append(match)
            explained |= match.explained
    return sorted(chosen[:MAX_CALLS], key=lambda match: min(match.explained))


def _meanings(word: Word) -> frozenset[str]:
    meanings = [word.stem, *_OTHER_WORDS.get(word.stem, "").split()]
    if not word.stem.isascii():
        for cue, others in _KOREAN_WORDS.items():
            if word.stem == cue or (len(cue) > 1 and word.stem.startswith(cue)) or _is_short_cue(word.stem, cue):
                meanings += others.split()
    return frozenset(meanings)


def _is_short_cue(stem: str, cue: str) -> bool:
    """`비가` is about rain and `비밀` is not."""
    return len(cue) == 1 and re.fullmatch(f"{cue}(?:가|는|이|은|도|를|을|올|에서)", stem) is not None


def _by_name(
    text: str, function: ToolDefinition, words: tuple[Word, ...], meanings: list[frozenset[str]]
) -> _Match | None:
    name = phrases.parts(function.name)
    telling = frozenset(part for part in name if part not in _COMMON) or frozenset(name)
    explained = {at for at, each in enumerate(meanings) if each & set(name)}
    if at := re.search(rf"(?<!\w){re.escape(function.name)}(?!\w)", text, re.IGNORECASE):
        explained |= {index for index, word in enumerate(words) if at.start() <= word.start < at.end()}
        return _Match(function, frozenset(explained), 20, is_clear=True) if explained else None
    hits = {part for part in telling if any(part in each for each in meanings)}
    if not hits or 2 * len(hits) < len(telling):
        return None
    exact = {word.stem for word in words}
    share = sum(1 if part in exact else 0.75 for part in hits) / len(telling)
    extra = len(exact & (set(name) - telling)) + len(exact & _telling(function.description))
    score = 5 * share + len(hits) + 0.3 * min(extra, 5)
    return _Match(function, frozenset(explained), score, is_clear=hits == telling)


def _by_description(text: str, function: ToolDefinition, words: tuple[Word, ...]) -> _Match | None:
    about = _telling(function.description)
    spelt = [phrases.stem(member) for member in arguments.members(function.parameters) if len(member) > 2]
    hits = {at for at, word in enumerate(words) if word.stem in about}
    members = {at for at, word in enumerate(words) if word.stem in spelt}
    if not members and len({words[at].stem for at in hits}) < 2:
        return None
    return _Match(function, frozenset(hits | members), len(hits) + 2 * len(members), is_clear=False)


def _telling(description: str | None) -> frozenset[str]:
    """The words of a description that say what the function is for."""
    found = (word.stem for word in phrases.words((description or "")[:_MAX_DESCRIPTION]))
    return frozenset(word for word in found if word not in _COMMON and len(word) > (3 if word.isascii() else 1))


# ---- from functions to calls


def _planned(text: str, matches: list[_Match]) -> list[Call]:
    """Each function's calls, filled from the clauses that are about it."""
    words = phrases.words(phrases.without_quotations(text))
    spans = _spans(text, matches, words)
    calls: list[Call] = []
    for match, span in zip(matches, spans, strict=True):
        own = [word for at, word in enumerate(words) if at in match.explained]
        all_named = [words[at] for each in matches for at in each.explained]
        ignored = _not_names(text, match, all_named)
        piece, offset = _piece(text, match, span, ignored)
        after = _run(own, offset, len(piece))
        for filled in arguments.fill(match.function.parameters, piece, after=after, words=ignored):
            call = Call(match.function.name, filled)
            if _key(call) not in map(_key, calls):
                calls.append(call)
    return calls


def _not_names(text: str, match: _Match, named: list[Word]) -> list[str]:
    return [*{text[word.start : word.end] for word in named}, *phrases.parts(match.function.name)]


def _piece(text: str, match: _Match, span: tuple[int, int], ignored: list[str]) -> tuple[str, int]:
    """The function's own part of the text and where it starts; where that names nothing, all of the text."""
    start, end = span
    piece = text[start:end]
    if arguments.names(match.function.parameters, piece, ignored) or phrases.numbers(piece) or phrases.quoted(piece):
        return piece, start
    return text, 0


def _spans(text: str, matches: list[_Match], words: tuple[Word, ...]) -> list[tuple[int, int]]:
    """From each function's clause to the next function's; the first one's from the beginning of its sentence."""
    clauses = phrases.clauses(text)
    starts: list[int] = []
    for match in matches:
        first = min((words[at].start for at in match.explained), default=0)
        starts.append(next((start for start, _ in reversed(clauses) if start <= first), 0))
    edges = [*sorted(set(starts)), len(text)]
    ends = dict(itertools.pairwise(edges))
    begin = max((match.end() for match in _SENTENCE_END.finditer(text) if match.end() <= edges[0]), default=0)
    return [(begin if start == edges[0] else start, ends.get(start, len(text))) for start in starts]


def _run(own: list[Word], offset: int, length: int) -> tuple[int, int] | None:
    """Start and end, in the piece, of the first run of words that name the function."""
    inside = [word for word in own if offset <= word.start < offset + length]
    if not inside:
        return None
    start, end = inside[0].start, inside[0].end
    for word in inside[1:]:
        if word.start - end > 6:
            break
        end = word.end
    return start - offset, end - offset
