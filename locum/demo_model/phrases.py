"""What prose is made of, as far as the arguments of a call need it: words, clauses, names, numbers, quotations.

English and Korean. Everything is found by rules and none of it is understanding.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

import msgspec

_HANGUL = "가-힣"
_WORD = re.compile(rf"[A-Za-z]+|[{_HANGUL}]+")
_CAMEL = re.compile(rf"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[{_HANGUL}]+")
_QUOTED = re.compile(
    r'"([^"\n]{1,500})"|“([^”\n]{1,500})”|‘([^’\n]{1,500})’|「([^」\n]{1,500})」|`([^`\n]{1,500})`'
    r"|(?<!\w)'([^'\n]{1,500})'(?!\w)"
)
_NUMBER = re.compile(r"(?<![\w.])[-−]?\d{1,15}(?:,\d{3}){0,4}(?:\.\d{1,15})?(?![\d-])")
_BETWEEN_CLAUSES = re.compile(
    rf"[.?!;,\n]+(?=\s|$)|\b(?:and|then|also|plus)\b|그리고|(?<=[{_HANGUL}][와과랑])\s|(?<=하고)\s", re.IGNORECASE
)

_MARKERS = "in|for|of|at|near|to|from|on|about|with|by|between"
_PROPER = r"[A-ZÀ-Þ][\w'’&-]*"
_NAME = re.compile(rf"{_PROPER}(?: (?:(?:de|of|la|el|al|the) )?{_PROPER})*(?:, [A-Z]{{2}}\b)?")
_MARKER_BEFORE = re.compile(rf"\b({_MARKERS})\s+(?:the\s+)?$", re.IGNORECASE)
_BETWEEN_NAMES = re.compile(
    rf"\s*(?:,|[?.!]?\s*,?\s*(?:\band\b|\bor\b|\bvs\b|&|그리고))\s*(?:(?:{_MARKERS})\s+)?(?:the\s+)?", re.IGNORECASE
)
_SMALL_NAME = re.compile(rf"\b({_MARKERS})\s+(?:the\s+)?([a-zà-ÿ][^.,;:?!\n]{{0,80}})")
_KOREAN_WORD = re.compile(rf"[{_HANGUL}]+")
_SENTENCE_START = re.compile(r"(?:^|[.?!:;\n])\W*$")

_NOT_NAMES = """
a an the i i'm i'll it it's is are was do does did can could would will shall should may please hi hello hey ok what
what's which who whose when where why how tell show give get find let let's search send call use using check look and or
also then if my me you your we our this that these those there yes no not in for of at near to from on about with by
between today tomorrow yesterday now right currently tonight next last monday tuesday wednesday thursday friday saturday
sunday january february march april may june july august september october november december
지금 오늘 내일 어제 현재 이번 주말 좀 제발 그리고 또 혹시 어떤 무슨 어느 얼마 얼마나 몇 누구 언제 어디 무엇 뭐 정도
올 할 수 있는 함수 호출 호출해 검색 계산 번역 주문 예약 부탁 사이 거리 단위 섭씨 화씨 대한 대해 관한 위한 현지 확인 조회
"""
_NO_NAMES = frozenset(_NOT_NAMES.split())
_ENDS_SMALL_NAME = re.compile(
    rf"\s+(?:please|today|tomorrow|now|right|tonight|currently|is|are|was|will|that|which|so|as|if|using|{_MARKERS})\b.*"
)
_SMALL_AND = re.compile(r"\s+(?:and|or)\s+")
_NO_SMALL_NAME = re.compile(r"^(?:me|you|it|us|my|your|this|that|these|those|a|an|all|today|tomorrow|now)\b")

_KOREAN_VERB = re.compile(
    "(?:줘|줘요|주세요|어때|어때요|어떻게|세요|까요|을까|[올할될일갈볼울]까|니까|니다|나요|해요|이야|뭐야|도야|돼|돼요"
    "|싶다|싶어|한다|[되하있]니|궁금해|말해|계산해|검색해|번역해|예약해|주문해|확인해|조회해|설명해|부탁해)$"
)
_AFTER_VOWEL = frozenset({"가", "는", "를", "와", "로", "랑"})
_AFTER_CONSONANT = frozenset({"이", "은", "을", "과", "으로", "이랑"})
_PARTICLES = (
    *("에서는", "에서의", "에서", "에게", "한테", "까지", "부터", "으로", "이랑", "하고"),
    *("이", "가", "은", "는", "을", "를", "의", "에", "로", "와", "과", "랑"),
)
_KOREAN_MARKERS = {"에서": "from", "부터": "from", "까지": "to", "으로": "to", "로": "to", "에게": "to", "한테": "to"}
_KOREAN_AND = frozenset({"와", "과", "랑", "이랑", "하고"})


class Word(msgspec.Struct, frozen=True):
    """A word of the text, in the form in which words are compared."""

    stem: str
    start: int
    end: int


class Name(msgspec.Struct, frozen=True):
    """Something that is called so. `marker` is the English preposition of its role, or empty."""

    text: str
    start: int
    end: int
    marker: str = ""


class Group(msgspec.Struct, frozen=True):
    """Names that are listed side by side (`Seoul and Tokyo`), with the marker of the first."""

    names: tuple[str, ...]
    start: int
    marker: str


def words(text: str) -> tuple[Word, ...]:
    return tuple(Word(stem(match[0]), match.start(), match.end()) for match in _WORD.finditer(text))


def parts(identifier: str) -> tuple[str, ...]:
    """`get_rainProbability` is made of `get`, `rain` and `probability`."""
    return tuple(stem(part) for part in _CAMEL.findall(identifier))


def stem(word: str) -> str:
    """A word without its plural, its -ing, or its Korean particle."""
    word = word.lower()
    if not word.isascii():
        return _without_particle(word)[0]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("ing") and len(word) > 5:
        return word[:-3]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word


def without_last_particle(text: str) -> str:
    """Korean text before a verb, as it is said alone: `고양이 사진을` gives `고양이 사진`."""
    before, space, last = text.strip().rpartition(" ")
    return before + space + _without_particle(last)[0]


def has_hangul(text: str) -> bool:
    return _KOREAN_WORD.search(text) is not None


def quoted(text: str) -> list[str]:
    return [next(filter(None, match)) for match in _QUOTED.findall(text)]


def without_quotations(text: str) -> str:
    """The same text, as long as before, with every quotation blotted out."""
    return _QUOTED.sub(lambda match: "_" * len(match[0]), text)


def numbers(text: str) -> list[tuple[float, int, int]]:
    """Value, start and end of every number."""
    found = (match for match in _NUMBER.finditer(text))
    return [(float(match[0].replace(",", "").replace("−", "-")), match.start(), match.end()) for match in found]


def clauses(text: str) -> list[tuple[int, int]]:
    """Start and end of the pieces between full stops, commas and `and`, without gaps."""
    cuts = [match.end() for match in _BETWEEN_CLAUSES.finditer(without_quotations(text))]
    edges = [0, *(cut for cut in dict.fromkeys(cuts) if 0 < cut < len(text)), len(text)]
    return [(start, end) for start, end in itertools.pairwise(edges) if start < end]


def groups(text: str, ignored: Iterable[str] = ()) -> list[Group]:
    """The names in the text, those listed side by side together. `ignored` are words that are no names here.

    Capitalised words where there are any; else what follows a preposition: `the weather in seoul`.
    """
    ignored = frozenset(stem(word) for word in ignored)
    text = without_quotations(text)
    found = sorted([*_proper(text, ignored), *_korean(text, ignored)], key=lambda name: name.start)
    return _grouped(text, found) if found else list(_small(text, ignored))


def _proper(text: str, ignored: frozenset[str]) -> list[Name]:
    inside: list[Name] = []
    at_start: list[Name] = []
    for match in _NAME.finditer(text):
        start, name = match.start(), match[0]
        is_first = _SENTENCE_START.search(text[max(0, start - 20) : start]) is not None
        while name and _is_no_name(name.split()[0], ignored):
            head = re.match(r"\S+\s*", name)
            start += head.end() if head else 0
            name = match[0][start - match.start() :]
            is_first = False
        while name and _is_no_name(name.split()[-1], ignored):
            name = name.rpartition(" ")[0]
        name = re.sub(r"['’]s$", "", name).rstrip("-&'’")
        if not name:
            continue
        marker = _MARKER_BEFORE.search(text, max(0, start - 20), start)
        found = Name(name, start, match.end(), marker[1].lower() if marker else "")
        unsure = is_first and not name.isupper() and " " not in name and not has_hangul(text)
        (at_start if unsure else inside).append(found)
    return inside or at_start


def _is_no_name(word: str, ignored: frozenset[str]) -> bool:
    bare = word.strip(".,").replace("’", "'")
    return bare.lower() in _NO_NAMES or bare.lower().removesuffix("'s") in _NO_NAMES or stem(bare) in ignored


def _korean(text: str, ignored: frozenset[str]) -> Iterator[Name]:
    for match in _KOREAN_WORD.finditer(text):
        bare, particle = _without_particle(match[0])
        if len(bare) < 2 or {bare, match[0]} & (_NO_NAMES | ignored) or _KOREAN_VERB.search(bare):
            continue
        yield Name(bare, match.start(), match.end(), _KOREAN_MARKERS.get(particle, ""))


def _without_particle(word: str) -> tuple[str, str]:
    """A Korean word and its particle; which one can follow is told by the last sound of the word."""
    for particle in _PARTICLES:
        bare = word.removesuffix(particle)
        if bare == word or len(bare) < 2:
            continue
        ends_in_consonant = (ord(bare[-1]) - 0xAC00) % 28 > 0
        if particle in (_AFTER_VOWEL if ends_in_consonant else _AFTER_CONSONANT) and particle != "로":
            continue
        return bare, particle
    return word, ""


def _grouped(text: str, names: list[Name]) -> list[Group]:
    lists: list[list[Name]] = []
    for name in names:
        if lists and _are_listed(text, lists[-1][-1], name):
            lists[-1].append(name)
        else:
            lists.append([name])
    return [_group(text, each) for each in lists]


def _are_listed(text: str, first: Name, second: Name) -> bool:
    between = text[first.end : second.start]
    if _BETWEEN_NAMES.fullmatch(between):
        return first.marker == second.marker or not second.marker or has_hangul(second.text)
    particle = _without_particle(text[first.start : first.end])[1]
    return between.isspace() and has_hangul(first.text) and particle in _KOREAN_AND


def _group(text: str, names: list[Name]) -> Group:
    """`Paris, France` is one name and `Paris, France and Spain` are three."""
    between = [text[first.end : second.start] for first, second in itertools.pairwise(names)]
    if len(names) == 2 and between[0].strip() == "," and not has_hangul(names[0].text):
        return Group((f"{names[0].text}, {names[1].text}",), names[0].start, names[0].marker)
    marker = next((name.marker for name in names if name.marker), "")
    return Group(tuple(dict.fromkeys(name.text for name in names)), names[0].start, marker)


def _small(text: str, ignored: frozenset[str]) -> Iterator[Group]:
    for match in _SMALL_NAME.finditer(text):
        phrase = _ENDS_SMALL_NAME.sub("", match[2]).strip()
        found = [each for each in _SMALL_AND.split(phrase) if each and not _NO_SMALL_NAME.match(each)]
        kept = tuple(each for each in found if not {stem(word) for word in each.split()} & ignored)
        if kept:
            yield Group(kept, match.start(2), match[1].lower())
