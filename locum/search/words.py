"""A text as the terms that keyword search compares.

Words are compared by their stems, without case and accents. What is written without spaces between words, and Korean,
whose words take endings, is compared by pairs of characters. A document's language is that of its function words. A
query is looked for in every language that documents are in, so that its own need not be known: a few words seldom tell.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import NamedTuple

import Stemmer

VERSION = 1
"""Of the terms. An index of other terms is of no use: raise this with every change of what `terms` gives."""

LONGEST = 64
"""Characters of a word; what is longer is no word."""

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"  # Hangul
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_MARKS = (  # within a word, though neither letters nor digits
    "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u0900-\u0963\u0966-\u0dff"  # vowels of the scripts of India
)
_WORD = re.compile(rf"\w[\w{_MARKS}{_UNSPACED}]*")
_PIECE = re.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+")
_MAY_HAVE_PARTS = re.compile(r"[A-Za-z0-9][A-Z]|[0-9][a-z]")
"""What a name of several parts has in it, and some other words."""
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ACCENT = re.compile("[\u0300-\u036f]")

# Language -> the stemmer's name, and words that are frequent in it and say nothing by themselves.
_LANGUAGES = {
    "en": (
        "english",
        "a an and are as at be been but by can could did do does for from had has have he her his how i if in into is "
        "it its may me my not of on or our she should so such than that the their them then there these they this "
        "those to was we were what when where which while who whom whose why will with would you your",
    ),
    "de": (
        "german",
        "aber als am an auch auf aus bei bin bis das dass dem den der des die diese dieser doch du ein eine einem "
        "einen einer eines er es für hat haben ich ihr im in ist kann man mein mit nach nicht noch nur oder sein sich "
        "sie sind so über um und uns unter vom von vor war warum was welche wenn wer werden wie wird wo zu zum zur",
    ),
    "fr": (
        "french",
        "à au aux avec ce ces cette comment d dans de des du elle elles en est et être il ils je l la le les leur lui "
        "mais ne nous on ont ou où par pas plus pour qu que quel quelle quels qui sa se ses si son sont sur un une "
        "vous",
    ),
    "es": (
        "spanish",
        "al como con cómo cuál cuándo de del dónde el ella ellos en entre es esta este está están fue ha han la las lo "
        "los más muy no o para pero por porque que qué se ser si sin sobre son su sus también un una uno y ya",
    ),
    "it": (
        "italian",
        "al alla anche che chi ci come con cosa da dal dalla dei del della delle di dove e è gli ha hanno i il in la "
        "le lo ma nel nella non o per perché più quale quando questa questo se si sono su suo un una uno",
    ),
    "pt": (
        "portuguese",
        "à ao aos as com como da das de do dos e é ela ele em entre essa esse está eu foi isso mais mas muito na nas "
        "não no nos o onde os ou para pela pelo por porque qual quando que quem são se sem seu sua também um uma você",
    ),
    "nl": (
        "dutch",
        "aan als bij dan dat de deze die dit door een en er haar heeft het hij hoe hun ik in is je kan maar met naar "
        "niet nog of om onder ook op over te tot uit van voor waar waarom wat we welke wie worden wordt ze zich zijn",
    ),
    "sv": (
        "swedish",
        "alla att av de den det dig du där efter eller en ett från för han har hon hur här i inte jag kan med men mot "
        "när och om på sin som så till under ut vad var vi vilka vilken är över",
    ),
    "da": (
        "danish",
        "af at blev de den der det dig du efter eller en er et for fra ham han har hun hvad hvem hvilken hvor hvordan "
        "i ikke jeg kan med men mod når og om på sig sin som så til ud var ved vi være",
    ),
    "no": (
        "norwegian",
        "av at ble de den der det du eller en er et etter for fra ham han har hun hva hvem hvilken hvor hvordan i ikke "
        "jeg kan med men mot når og om på seg sin som så til ut var ved vi være",
    ),
    "fi": (
        "finnish",
        "että ei eivät en hän he ja joka jos jossa kanssa kuin kuinka kun me miksi mikä missä mitä mutta myös ne niin "
        "nyt oli olla on ovat se sen sitä tai tämä vai vain",
    ),
    "hu": (
        "hungarian",
        "a az azt csak de egy el és ez ezt ha hogy hogyan hol ki kell lehet még meg mely mert mi mint milyen mit nem "
        "van vagy volt",
    ),
    "ro": (
        "romanian",
        "a al ale au ca care ce cea cel cu cum de din dar este fi fost în la mai nu o pe pentru prin sau se sunt și ș "
        "un unde unei unui va",
    ),
    "pl": (
        "polish",
        "a ale być co czy dla do gdzie i ich jak jaki jest już kiedy kto która które który lub na nie o od po przez "
        "się są tak to w z za ze że",
    ),
    "cs": (
        "czech",
        "a ale by být co do i jak jako je jeho jsou k kde kdo kdy která které který na nebo od po pro při s se si tak "
        "to v ve z za že",
    ),
    "tr": (
        "turkish",
        "ama bir bu çok da daha de değil en gibi hangi için ile ise kadar ki kim mi mu nasıl ne neden nerede o olan "
        "olarak sonra şu var ve veya ya",
    ),
    "id": (
        "indonesian",
        "ada adalah agar akan apa atau bagaimana dalam dan dapat dari dengan di ini itu juga karena ke oleh pada "
        "sebagai siapa sudah tidak untuk yang",
    ),
    "ru": (
        "russian",
        "а без был была были быть в во вы где для до его ее если есть же за и из или их к как какие какой когда кто "
        "ли мы на не нет но о об он она они от по при с со так то только у что чтобы это",
    ),
    "el": (
        "greek",
        "αν από για δεν είναι και με μια να ο η οι το τα τη την της του των ή θα στη στην στο που πώς πως σε τι τον",
    ),
    "ar": ("arabic", "أن أو إلى التي الذي إن عن على في كان كما كيف لا لم ما متى من هذا هذه هل هو هي و أين قد بين"),
    "hi": (
        "hindi",
        "और का कि की के को क्या कैसे कौन कहाँ जो तक तो था थी थे नहीं ने पर भी में यह या से है हैं हो",
    ),
}
DEFAULT_LANGUAGE = "en"
"""Of a text without function words: names, code, tables."""
LANGUAGES = tuple(_LANGUAGES)

# The first word of a character's name in Unicode -> the language that is most often written so. What is not here is
# taken for a language of its own.
_SCRIPTS = {
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "KATAKANA-HIRAGANA": "ja",
    "CJK": "zh",
    "IDEOGRAPHIC": "zh",
    "CYRILLIC": "ru",
    "GREEK": "el",
    "ARABIC": "ar",
    "DEVANAGARI": "hi",
}
_LATIN = "latin"
_LETTERS_OF_A_CHARACTER = 3
"""What one Korean, Chinese or Japanese character says takes about so many letters elsewhere."""

_VOTES: dict[str, list[str]] = {}
for _language, (_, _frequent) in _LANGUAGES.items():
    for _word in unicodedata.normalize("NFKC", _frequent).split():
        _VOTES.setdefault(_word, []).append(_language)

_STEMS = 50_000
"""Words whose stems are remembered, of all languages."""

_threads = threading.local()


def words(text: str) -> list[str]:
    """The words of a text in small letters; of what is written without spaces, its runs. Parts of names that are
    written together (`chunkSize`, `chunk_size`) are words too."""
    if text.isascii() and not _MAY_HAVE_PARTS.search(text):  # as most of what is English
        return [word for word in _ASCII_WORD.findall(text.lower()) if len(word) <= LONGEST]
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).replace("_", " ")):
        if word.isascii():
            if not (word.islower() or word.istitle() or word.isupper()):
                found += (part.lower() for part in _HUMP.findall(word) if 1 < len(part) < len(word))
            found.append(word.lower())
        else:
            found += (piece.casefold() for piece in _PIECE.findall(word))
    return [word for word in found if len(word) <= LONGEST or is_unspaced(word)]


def is_unspaced(word: str) -> bool:
    """Whether it belongs to a script that is compared by pairs of characters."""
    return not word.isascii() and _IS_UNSPACED.match(word) is not None


def is_character(term: str) -> bool:
    """Whether a term of a query is to be looked for among the characters."""
    return len(term) == 1 and is_unspaced(term)


def language_of(words: Iterable[str]) -> str | None:
    """The language whose function words are the most among these words; None where there is none of any."""
    votes = dict.fromkeys(LANGUAGES, 0)
    for word in words:
        for language in _VOTES.get(word, ()):
            votes[language] += 1
    language = max(votes, key=votes.__getitem__)
    return language if votes[language] else None


def languages_of(words: Iterable[str]) -> dict[str, float]:
    """Language -> its share of the letters of these words; empty where there are none (but digits, say).

    Words in Latin letters without a function word among them are of DEFAULT_LANGUAGE, or of `latin` if they have
    accents: of some other, then.
    """
    letters: dict[str, int] = {}
    latin: list[str] = []
    for word in words:
        if is_unspaced(word):
            written = [(_script(character), _LETTERS_OF_A_CHARACTER) for character in word]
        else:
            written = [(_script(word[0]), len(word))]
        for script, size in written:
            if script == "LATIN":
                latin.append(word)
            elif script != "DIGIT":
                language = _SCRIPTS.get(script, script.lower())
                letters[language] = letters.get(language, 0) + size
    if "ja" in letters:
        letters["ja"] += letters.pop("zh", 0)
    if latin:
        language = language_of(latin) or (DEFAULT_LANGUAGE if all(map(str.isascii, latin)) else _LATIN)
        letters[language] = sum(map(len, latin))
    return {language: count / sum(letters.values()) for language, count in letters.items()}


@lru_cache(maxsize=10_000)
def _script(character: str) -> str:
    return unicodedata.name(character, "DIGIT").partition(" ")[0]


def are_alike(language: str, other: str) -> bool:
    """Whether they are written in the same letters."""
    return _script_of(language) == _script_of(other)


def _script_of(language: str) -> str:
    return language if language in _SCRIPTS.values() or language not in (*LANGUAGES, _LATIN) else _LATIN


class Terms(NamedTuple):
    """What a document's text is found by. language: the one it is mostly in. characters: of what is compared by pairs
    of them, each by itself, for the query that is a single one."""

    language: str
    terms: list[str]
    characters: list[str]


def terms(text: str) -> Terms:
    """The terms of a document's text, in their order."""
    found = words(text)
    shares = languages_of(found)
    mostly = max(shares, key=shares.__getitem__, default=DEFAULT_LANGUAGE)
    stemmed_as = mostly if mostly in _LANGUAGES else DEFAULT_LANGUAGE
    of_words = [term for word in found for term in terms_of(word, stemmed_as)]
    return Terms(mostly, of_words, [character for word in found if is_unspaced(word) for character in word])


def terms_of(word: str, language: str) -> list[str]:
    """The terms of a word of a document in this language."""
    return _pairs(word) if is_unspaced(word) else [_stem(word, language)]


def query_terms(text: str, languages: Collection[str]) -> list[tuple[str, ...]]:
    """The distinct words of a query, each as the terms that it may be in documents of these languages.

    Without the function words of its own language, unless it consists of them.
    """
    found = list(dict.fromkeys(words(text)))
    own = language_of(found)
    telling = [word for word in found if own not in _VOTES.get(word, ())] or found
    stemmed_as = [language for language in LANGUAGES if language in languages or language == DEFAULT_LANGUAGE]
    queried: list[tuple[str, ...]] = []
    for word in telling:
        if is_unspaced(word):
            queried += ((pair,) for pair in _pairs(word) or [word])
        else:
            queried.append(tuple(dict.fromkeys(_stem(word, language) for language in stemmed_as)))
    return list(dict.fromkeys(queried))


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]


@lru_cache(maxsize=_STEMS)
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
        stemmers[language] = Stemmer.Stemmer(_LANGUAGES[language][0], 0)
    return stemmers[language]
