"""The languages of words: of those in Latin letters, as their function words say; of others, as their letters do."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache

from locum.search.keyword.words import WORDS_IN, Remembered, is_unspaced

# Words that are frequent in a language and say nothing by themselves.
_FUNCTION_WORDS = {
    "en": (
        "a an and are as at be been but by can could did do does for from had has have he her his how i if in into is "
        "it its may me my not of on or our she should so such than that the their them then there these they this "
        "those to was we were what when where which while who whom whose why will with would you your"
    ),
    "de": (
        "aber als am an auch auf aus bei bin bis das dass dem den der des die diese dieser doch du ein eine einem "
        "einen einer eines er es für hat haben ich ihr im in ist kann man mein mit nach nicht noch nur oder sein sich "
        "sie sind so über um und uns unter vom von vor war warum was welche wenn wer werden wie wird wo zu zum zur"
    ),
    "fr": (
        "à au aux avec ce ces cette comment d dans de des du elle elles en est et être il ils je l la le les leur lui "
        "mais ne nous on ont ou où par pas plus pour qu que quel quelle quels qui sa se ses si son sont sur un une "
        "vous"
    ),
    "es": (
        "al como con cómo cuál cuándo de del dónde el ella ellos en entre es esta este está están fue ha han la las lo "
        "los más muy no o para pero por porque que qué se ser si sin sobre son su sus también un una uno y ya"
    ),
    "it": (
        "al alla anche che chi ci come con cosa da dal dalla dei del della delle di dove e è gli ha hanno i il in la "
        "le lo ma nel nella non o per perché più quale quando questa questo se si sono su suo un una uno"
    ),
    "pt": (
        "à ao aos as com como da das de do dos e é ela ele em entre essa esse está eu foi isso mais mas muito na nas "
        "não no nos o onde os ou para pela pelo por porque qual quando que quem são se sem seu sua também um uma você"
    ),
    "nl": (
        "aan als bij dan dat de deze die dit door een en er haar heeft het hij hoe hun ik in is je kan maar met naar "
        "niet nog of om onder ook op over te tot uit van voor waar waarom wat we welke wie worden wordt ze zich zijn"
    ),
    "sv": (
        "alla att av de den det dig du där efter eller en ett från för han har hon hur här i inte jag kan med men mot "
        "när och om på sin som så till under ut vad var vi vilka vilken är över"
    ),
    "da": (
        "af at blev de den der det dig du efter eller en er et for fra ham han har hun hvad hvem hvilken hvor hvordan "
        "i ikke jeg kan med men mod når og om på sig sin som så til ud var ved vi være"
    ),
    "no": (
        "av at ble de den der det du eller en er et etter for fra ham han har hun hva hvem hvilken hvor hvordan i ikke "
        "jeg kan med men mot når og om på seg sin som så til ut var ved vi være"
    ),
    "fi": (
        "että ei eivät en hän he ja joka jos jossa kanssa kuin kuinka kun me miksi mikä missä mitä mutta myös ne niin "
        "nyt oli olla on ovat se sen sitä tai tämä vai vain"
    ),
    "hu": (
        "a az azt csak de egy el és ez ezt ha hogy hogyan hol ki kell lehet még meg mely mert mi mint milyen mit nem "
        "van vagy volt"
    ),
    "ro": (
        "a al ale au ca care ce cea cel cu cum de din dar este fi fost în la mai nu o pe pentru prin sau se sunt și ș "
        "un unde unei unui va"
    ),
    "pl": (
        "a ale być co czy dla do gdzie i ich jak jaki jest już kiedy kto która które który lub na nie o od po przez "
        "się są tak to w z za ze że"
    ),
    "cs": (
        "a ale by být co do i jak jako je jeho jsou k kde kdo kdy která které který na nebo od po pro při s se si tak "
        "to v ve z za že"
    ),
    "tr": (
        "ama bir bu çok da daha de değil en gibi hangi için ile ise kadar ki kim mi mu nasıl ne neden nerede o olan "
        "olarak sonra şu var ve veya ya"
    ),
    "id": (
        "ada adalah agar akan apa atau bagaimana dalam dan dapat dari dengan di ini itu juga karena ke oleh pada "
        "sebagai siapa sudah tidak untuk yang"
    ),
    "ru": (
        "а без был была были быть в во вы где для до его ее если есть же за и из или их к как какие какой когда кто "
        "ли мы на не нет но о об он она они от по при с со так то только у что чтобы это"
    ),
    "el": (
        "αν από για δεν είναι και με μια να ο η οι το τα τη την της του των ή θα στη στην στο που πώς πως σε τι τον"
    ),
    "ar": "أن أو إلى التي الذي إن عن على في كان كما كيف لا لم ما متى من هذا هذه هل هو هي و أين قد بين",
    "hi": ("और का कि की के को क्या कैसे कौन कहाँ जो तक तो था थी थे नहीं ने पर भी में यह या से है हैं हो"),
}
LANGUAGES = tuple(_FUNCTION_WORDS)
DEFAULT_LANGUAGE = "en"
"""Of a text without function words: names, code, tables."""

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
for _language, _frequent in _FUNCTION_WORDS.items():
    for _word in unicodedata.normalize("NFKC", _frequent).split():
        _VOTES.setdefault(_word, []).append(_language)


Counts = tuple[tuple[str, int], ...]


class Said:
    """What words say about languages. letters: how many there are of each, _LATIN being one of many. votes: how many
    function words of each. Compared by identity: words that say the same have the same."""

    __slots__ = ("has_accents", "has_unspaced", "letters", "votes")

    def __init__(self, letters: Counts, votes: Counts, has_accents: bool, has_unspaced: bool) -> None:
        self.letters, self.votes = letters, votes
        self.has_accents, self.has_unspaced = has_accents, has_unspaced

    @property
    def language(self) -> str | None:
        """The one whose function words are the most; None where there is none of any."""
        return self._elected(LANGUAGES)

    @property
    def shares(self) -> dict[str, float]:
        """Language -> its share of the letters; empty where there are none (but digits, say).

        Words in Latin letters without a function word among them are of DEFAULT_LANGUAGE, or of `latin` if they have
        accents: of some other, then.
        """
        letters = dict(self.letters)
        if "ja" in letters:
            letters["ja"] += letters.pop("zh", 0)
        if latin := letters.pop(_LATIN, 0):
            letters[self._elected(_IN_LATIN) or (_LATIN if self.has_accents else DEFAULT_LANGUAGE)] = latin
        total = sum(letters.values())
        return {language: count / total for language, count in letters.items()}

    def _elected(self, among: Collection[str]) -> str | None:
        votes = dict(self.votes)
        best = max(among, key=lambda language: votes.get(language, 0))
        return best if best in votes else None


def said_by(written: Iterable[str]) -> Said:
    """What these words, as they are written, say."""
    return _sum(Counter(map(_SAID_BY.__getitem__, written)).items())


def together(parts: Iterable[Said]) -> Said:
    """What parts of a text say."""
    return _sum((each, 1) for each in parts)


def _sum(counts: Iterable[tuple[Said, int]]) -> Said:
    letters: dict[str, int] = {}
    votes: dict[str, int] = {}
    has_accents = has_unspaced = False
    for said, count in counts:
        for language, size in said.letters:
            letters[language] = letters.get(language, 0) + size * count
        for language, size in said.votes:
            votes[language] = votes.get(language, 0) + size * count
        has_accents |= said.has_accents
        has_unspaced |= said.has_unspaced
    return Said(tuple(letters.items()), tuple(votes.items()), has_accents, has_unspaced)


def is_frequent(word: str, language: str | None) -> bool:
    """Whether it is a function word of the language."""
    return language in _VOTES.get(word, ())


def are_alike(language: str, other: str) -> bool:
    """Whether they are written in the same letters."""
    return _script_of(language) == _script_of(other)


def _script_of(language: str) -> str:
    return language if language in _SCRIPTS.values() or language not in (*LANGUAGES, _LATIN) else _LATIN


_IN_LATIN = tuple(language for language in LANGUAGES if _script_of(language) == _LATIN)


def _said_by_word(written: str) -> Said:
    letters, votes = Counter[str](), Counter[str]()
    has_accents = has_unspaced = False
    for word in WORDS_IN[written]:
        for language, size in _letters(word):
            letters[language] += size
            has_accents |= language == _LATIN and not word.isascii()
        votes.update(_VOTES.get(word, ()))
        has_unspaced |= is_unspaced(word)
    return _same(tuple(letters.items()), tuple(votes.items()), has_accents, has_unspaced)


def _letters(word: str) -> Iterator[tuple[str, int]]:
    """Language -> letters, though not of digits."""
    each = word if is_unspaced(word) else word[0]
    size = _LETTERS_OF_A_CHARACTER if is_unspaced(word) else len(word)
    for script in map(_script, each):
        if script == "LATIN":
            yield _LATIN, size
        elif script != "DIGIT":
            yield _SCRIPTS.get(script, script.lower()), size


_same = lru_cache(maxsize=10_000)(Said)
_SAID_BY = Remembered(_said_by_word)


@lru_cache(maxsize=10_000)
def _script(character: str) -> str:
    return unicodedata.name(character, "DIGIT").partition(" ")[0]
