"""Citations: the markers that stand for what file search found, and the reader that finds them in an answer. Pure.

A marker is `【k:n†source】`: passage n of search k of the run, both from 0. What models write instead of it is read
too, where it can mean nothing else; what stands in the message is always the marker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from locum.domain.messages import FileCitation
from locum.domain.steps import FileSearchCall, ToolCall

Place = tuple[int, int]
"""The number of a search in its run, and of a passage in it."""

_MAX_NAME = 200
"""Characters of what may stand behind the dagger (models put file names and lines there)."""
_NUMBER = r"\d{1,4}"
_NUMBERS = rf"{_NUMBER}(?:\s?[:：]\s?{_NUMBER})?"
_ITEM = re.compile(rf"\s?({_NUMBER})(?:\s?[:：]\s?({_NUMBER}))?\s?(†.*)?", re.DOTALL)
_BETWEEN = re.compile(rf"[,;、]\s?(?={_NUMBER}\s?[:：†])")
_BRACKETED = re.compile(
    rf"【\s?{_NUMBERS}(?:\s?[†,;、][^【】\n]{{0,{_MAX_NAME}}})?\s?】"
    rf"|\[\s?{_NUMBERS}\s?†[^\[\]\n]{{0,{_MAX_NAME}}}\]"
)
_HELD = re.compile(
    rf"【\s?(?:{_NUMBER}\s?(?:[:：]\s?(?:{_NUMBER}\s?)?)?(?:(?<=[\d\s])[†,;、][^【】\n]{{0,{_MAX_NAME}}})?)?\Z"
    rf"|\[\s?(?:{_NUMBER}\s?(?:[:：]\s?(?:{_NUMBER}\s?)?)?(?:(?<=[\d\s])†[^\[\]\n]{{0,{_MAX_NAME}}})?)?\Z"
)
"""The end of a text that may turn out to be the beginning of a marker."""
_MOST_HELD = _MAX_NAME + 20


class Cited(msgspec.Struct, frozen=True):
    """A marker, and what it stands for."""

    text: str
    citation: FileCitation


def marker(place: Place) -> str:
    """What the model is to write behind a statement, and what clients replace."""
    return f"【{place[0]}:{place[1]}†source】"


def sources(calls: Iterable[ToolCall]) -> dict[Place, FileCitation]:
    """What the markers of a run stand for: all that its searches have found."""
    return {
        (call.file_search.number, index): FileCitation(file_id=each.file_id, quote=each.quote)
        for call in calls
        if isinstance(call, FileSearchCall)
        for index, each in enumerate(call.file_search.results or ())
    }


def without_markers(text: str) -> str:
    """Text of a file in which nothing can be taken for a marker: a passage speaks for itself alone."""
    return _BRACKETED.sub(lambda found: found[0].translate(_PLAIN), text)


_PLAIN = str.maketrans({"【": "(", "】": ")", "[": "(", "]": ")", "†": " "})


class CitationReader:
    """Cuts an answer, fed in fragments, into words and citations; what may become a marker is held back until it is
    whole. A marker that stands for nothing is left out: clients would show it to their users as it is."""

    def __init__(self, sources: Mapping[Place, FileCitation]) -> None:
        self._sources = sources
        self._searches = {search for search, _ in sources}
        self._buffer = ""

    def feed(self, fragment: str) -> Iterator[str | Cited]:
        """The pieces that this fragment completes; none is empty."""
        self._buffer += fragment
        held = _HELD.search(self._buffer, max(0, len(self._buffer) - _MOST_HELD))
        whole = held.start() if held else len(self._buffer)
        text, self._buffer = self._buffer[:whole], self._buffer[whole:]
        yield from self._read(text)

    def close(self) -> Iterator[str | Cited]:
        """What was held back, at the end."""
        text, self._buffer = self._buffer, ""
        yield from self._read(text)

    def _read(self, text: str) -> Iterator[str | Cited]:
        at = 0
        for found in _BRACKETED.finditer(text):
            cited = self._cited(found[0])
            if cited is None:
                continue
            if found.start() > at:
                yield text[at : found.start()]
            yield from cited
            at = found.end()
        if at < len(text):
            yield text[at:]

    def _cited(self, bracketed: str) -> list[Cited] | None:
        """What stands in the brackets; None where they are no marker, and words like any other."""
        places = []
        for item in _BETWEEN.split(bracketed[1:-1]):
            match = _ITEM.fullmatch(item)
            if match is None:
                return None
            places.append(self._place(match[1], match[2]))
        known = [place for place in places if place in self._sources]
        if len(known) < len(places) and "†" not in bracketed:  # `【9:30】` may be the time of day
            return None
        return [Cited(marker(place), self._sources[place]) for place in known if place]

    def _place(self, first: str, second: str | None) -> Place | None:
        """Where there was one search only, models leave its number out."""
        if second is not None:
            return int(first), int(second)
        return (next(iter(self._searches)), int(first)) if len(self._searches) == 1 else None
