"""Fills the arguments of a call from prose, as far as the JSON schema of its parameters tells what is wanted.

Whatever the schema says (it is the caller's, and may be anything), there are arguments: what is required is always
there, what is optional only where the text has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from locum.demo_model import expressions, phrases
from locum.demo_model.phrases import Group

MAX_CALLS = 8
_MAX_PROPERTIES = 40
_MAX_DEPTH = 4
_MAX_MEMBERS = 100

_FREE = """
query q text question message content prompt body expression formula code description title subject note input keyword
term topic task reason summary sql command sentence phrase comment
"""
_FREE_TEXT = frozenset(map(phrases.stem, _FREE.split()))
"""Words in the names of parameters that want a sentence rather than a name."""
_MARKERS = {
    "from": "from origin source departure start sender",
    "to": "to destination target recipient arrival end receiver language",
    "in": "location city place country region town address area where timezone zone venue language",
    "at": "location place address venue",
    "near": "location city place address",
    "for": "location city symbol ticker name person user customer guest company product item",
    "of": "location city country symbol ticker name company product item",
    "with": "name person user guest attendee",
    "on": "topic",
}
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}")
_URL = re.compile(r"https?://[^\s<>\"']{1,2000}")
_ID = re.compile(r"(?<!\w)#?(?=[\w-]{0,40}\d)[\w-]{1,64}")
_KINDS = {
    "email": _EMAIL,
    "mail": _EMAIL,
    "to": _EMAIL,
    "recipient": _EMAIL,
    "url": _URL,
    "uri": _URL,
    "id": _ID,
    "number": _ID,
    "date": re.compile(
        r"\d{4}-\d\d-\d\d|\b(?:today|tomorrow|yesterday|(?:next |this )?(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b"
        r"|오늘|내일|모레|어제",
        re.IGNORECASE,
    ),
    "day": re.compile(r"\b(?:today|tomorrow|(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b|오늘|내일", re.IGNORECASE),
    "time": re.compile(r"\b\d{1,2}:\d\d(?: ?[ap]m)?\b|\b\d{1,2} ?[ap]m\b|\d{1,2}시", re.IGNORECASE),
}
_MEMBERS = {
    "celsius": r"°\s?c\b|섭씨|centigrade",
    "fahrenheit": r"°\s?f\b|화씨",
    "c": r"celsius|섭씨",
    "f": r"fahrenheit|화씨",
    "metric": r"celsius|섭씨",
    "imperial": r"fahrenheit|화씨",
}
"""Other spellings of members of an enum."""
_YES = re.compile(r"\b(?:yes|true|yeah|sure)\b|네|예\b", re.IGNORECASE)
_NEGATED = r"\b(?:no|not|without|don't|never|non)[ -](?:\w{1,12} )?"
_SAYING = re.compile(r"\b(?:saying|that says|which says)\b(?: that)?[:,]? *|: +", re.IGNORECASE)
_LEADING = re.compile(r"^(?:\s|[:,-]|(?:for|about|of|on|in|to|the|a|an|that|me|us|please)\b)+", re.IGNORECASE)
_TRAILING = re.compile(r"(?:\s|[.?!,]|\bplease\b)+$", re.IGNORECASE)

_ABSENT: Any = object()
"""Nothing in the text is it, and nothing requires it. (None is a value.)"""


def fill(parameters: Any, text: str, *, after: tuple[int, int] | None, words: Iterable[str]) -> list[dict[str, Any]]:
    """The arguments of each call that the text asks of one function: several where it lists several names.

    after: start and end, in the text, of the words that name the function. words: those words, which are no names.
    """
    schema = _object(parameters)
    filler = _Filler(schema, text, after, words)
    arguments = filler.properties(schema, 0)
    if filler.listed is None:
        return [arguments]
    name, group = filler.listed
    return [{**arguments, name: each} for each in group.names[:MAX_CALLS]]


def names(parameters: Any, text: str, words: Iterable[str]) -> list[Group]:
    """The names in the text that could be arguments of a function with these parameters."""
    return phrases.groups(text, [*words, *_mentioned(_object(parameters), 0)])


def members(parameters: Any) -> list[str]:
    """Every text that some enum among the parameters allows."""
    return list(_mentioned(_object(parameters), 0))


class _Filler:
    """Fills one call. What was used for one parameter is not used for the next."""

    def __init__(self, root: dict[str, Any], text: str, after: tuple[int, int] | None, words: Iterable[str]) -> None:
        self._root = root
        self._text = text
        self._after = after
        self._groups = names(root, text, words)
        self._numbers = phrases.numbers(phrases.without_quotations(text))
        self._quoted = phrases.quoted(text)
        self.listed: tuple[str, Group] | None = None
        """The one parameter that the text lists several values for."""
        self._claimed: list[Group] = []

    def properties(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = {
            name: self._resolved(each)
            for name, each in list(_object(schema.get("properties")).items())[:_MAX_PROPERTIES]
        }
        required = _list(schema.get("required"))
        named = self._named(properties, required)
        self._claimed += named.values()
        found = {}
        for name, each in properties.items():
            is_list = _type(each) == "array"
            group = named.get(name)
            if group is not None and len(group.names) > 1 and not is_list and not depth and self.listed is None:
                self.listed = (name, group)
            value = self._value(name, each, group, required=name in required, depth=depth)
            if value is not _ABSENT:
                found[name] = value
        return found

    def _resolved(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        """The schema behind a reference or a choice: of `anyOf` the first that is not null."""
        known = _object(schema)
        if depth > _MAX_DEPTH:
            return {}
        if isinstance(reference := known.get("$ref"), str):
            target: Any = self._root
            for step in reference.removeprefix("#").split("/")[1:10]:
                target = _object(target).get(step)
            return self._resolved(target, depth + 1)
        for key in ("anyOf", "oneOf", "allOf"):
            choices = [self._resolved(each, depth + 1) for each in _list(known.get(key))[:5]]
            chosen = next((each for each in choices if _type(each) != "null"), None)
            if chosen is not None:
                is_nullable = any(_type(each) == "null" for each in choices)
                return {**chosen, **({"type": [_type(chosen), "null"]} if is_nullable else {})}
        return known

    def _value(self, name: str, schema: dict[str, Any], group: Group | None, *, required: bool, depth: int) -> Any:
        value = self._found(name, schema, group, required=required, depth=depth)
        if value is not _ABSENT or not required:
            return value
        if "default" in schema:
            return schema["default"]
        return None if _is_nullable(schema) else self._made_up(schema)

    def _found(self, name: str, schema: dict[str, Any], group: Group | None, *, required: bool, depth: int) -> Any:
        """What the text says; for a text that is required and can be anything, the rest of the sentence."""
        if "const" in schema:
            return schema["const"]
        if options := _list(schema.get("enum")):
            return next((option for option in options[:_MAX_MEMBERS] if _mentions(self._text, option)), _ABSENT)
        match _type(schema):
            case "number" | "integer" as kind:
                return self._number(name, is_integer=kind == "integer", required=required)
            case "boolean":
                return self._boolean(name)
            case "array":
                return self._array(name, self._resolved(schema.get("items")), group, required=required, depth=depth)
            case "object":
                if depth >= _MAX_DEPTH or not (required or group):
                    return {} if required else _ABSENT
                return self.properties(schema, depth + 1)
            case "string":
                return self._string(name, schema, group, required=required)
            case _:
                return _ABSENT

    def _string(self, name: str, schema: dict[str, Any], group: Group | None, *, required: bool) -> Any:
        stems = phrases.parts(name)
        if match := re.search(rf"(?<!\w){re.escape(name)}\s?[=:]\s?([^\s,;]{{1,200}})", self._text, re.IGNORECASE):
            return match[1].strip("\"'`.:?!")
        for kind in (schema.get("format"), *stems):
            pattern = _KINDS.get(kind) if isinstance(kind, str) else None
            if pattern and (match := pattern.search(self._text)):
                return match[0].removeprefix("#")
        if _FREE_TEXT & set(stems):
            if self._quoted:
                return self._quoted.pop(0)
            if not required:
                return _ABSENT
            if {"expression", "formula"} & set(stems) and (expression := expressions.arithmetic(self._text)):
                return expression
            return self._rest()
        if group is not None:
            return group.names[0]
        if self._quoted:
            return self._quoted.pop(0)
        return self._rest() if required and not _is_nullable(schema) and "default" not in schema else _ABSENT

    def _rest(self) -> str:
        """The sentence without the words that name the function, and without the names that went elsewhere."""
        if match := _SAYING.search(self._text):
            said = self._text[match.end() :]
        elif self._after is None:
            said = self._text
        else:
            start, end = self._after
            said = self._text[end:]
            if phrases.has_hangul(self._text):
                said = phrases.without_last_particle(self._text[:start]) or said
        for group in self._claimed:
            if group.marker:
                said = re.sub(rf"\s{group.marker}\s(?:the )?{re.escape(group.names[0])}\b.*", "", said)
        said = _TRAILING.sub("", _LEADING.sub("", said[:500]))
        return said or self._text.strip()[:500]

    def _number(self, name: str, *, is_integer: bool, required: bool) -> Any:
        """The number beside the parameter's name, else, where one is required, the first that is left."""
        fitting = [each for each in self._numbers if not is_integer or each[0].is_integer()]
        stems = set(phrases.parts(name))
        for each in fitting:
            around = self._text[max(0, each[1] - 25) : each[1]] + " " + self._text[each[2] : each[2] + 20]
            if stems & {word.stem for word in phrases.words(around)}:
                return self._taken(each, is_integer=is_integer)
        return self._taken(fitting[0], is_integer=is_integer) if fitting and required else _ABSENT

    def _taken(self, number: tuple[float, int, int], *, is_integer: bool) -> int | float:
        self._numbers.remove(number)
        return int(number[0]) if is_integer or number[0].is_integer() else number[0]

    def _boolean(self, name: str) -> Any:
        stems = phrases.parts(name)
        if any(re.search(_NEGATED + re.escape(part), self._text, re.IGNORECASE) for part in stems):
            return False
        mentioned = {word.stem for word in phrases.words(self._text)} & set(stems) - {"is", "include", "with", "the"}
        return True if mentioned or _YES.search(self._text) else _ABSENT

    def _array(self, name: str, items: dict[str, Any], group: Group | None, *, required: bool, depth: int) -> Any:
        if options := _list(items.get("enum")):
            return [option for option in options[:_MAX_MEMBERS] if _mentions(self._text, option)] or _ABSENT
        match _type(items):
            case "number" | "integer" as kind:
                fitting = [each for each in self._numbers if kind == "number" or each[0].is_integer()]
                return [self._taken(each, is_integer=kind == "integer") for each in fitting] or _ABSENT
            case "object":
                return [self.properties(items, depth + 1)] if required and depth < _MAX_DEPTH else _ABSENT
            case "boolean" | "array" | "null":
                return _ABSENT
        if self._quoted:
            taken, self._quoted = self._quoted, []
            return taken
        if group is not None:
            return list(group.names)
        if not required:
            return _ABSENT
        return [each.strip() for each in re.split(r",| and |그리고", self._rest()) if each.strip()]

    def _made_up(self, schema: dict[str, Any]) -> Any:
        """A value that the schema allows, where the text has none."""
        if options := _list(schema.get("enum")):
            return options[0]
        match _type(schema):
            case "number" | "integer":
                least = schema.get("minimum")
                return least if isinstance(least, int | float) else 0
            case "boolean":
                return False
            case "array":
                return []
            case "object":
                return {}
            case "null":
                return None
            case _:
                return self._rest()

    def _named(self, properties: dict[str, dict[str, Any]], required: list[Any]) -> dict[str, Group]:
        """Which names go to which parameter: first by preposition (`from Seoul to Busan`), then in their order."""
        takers = [name for name, each in properties.items() if self._takes_names(name, each)]
        given: dict[str, Group] = {}
        for name in takers:
            group = next((group for group in self._groups if _marks(group.marker, name)), None)
            if group is not None:
                self._groups.remove(group)
                given[name] = group
        open_takers = [name for name in takers if name in required and name not in given]
        for group in list(self._groups):
            if not open_takers:
                break
            self._groups.remove(group)
            given.update(_spread(group, open_takers, properties))
            open_takers = [name for name in open_takers if name not in given]
        if open_takers and len(given) == 1:  # between A and B: one group that a preposition gave to the first of two
            ((name, group),) = given.items()
            if name in required and len(group.names) > 1:
                given = _spread(group, [each for each in takers if each == name or each in open_takers], properties)
        return given

    def _takes_names(self, name: str, schema: dict[str, Any]) -> bool:
        if _FREE_TEXT & set(phrases.parts(name)) or "enum" in schema or "const" in schema:
            return False
        kind = _KINDS.get(str(schema.get("format")))
        if kind is not None and kind.search(self._text):
            return False
        if any(part in _KINDS and _KINDS[part].search(self._text) for part in phrases.parts(name)):
            return False
        if _type(schema) == "array":
            items = self._resolved(schema.get("items"))
            return _type(items) == "string" and "enum" not in items
        return _type(schema) == "string"


def _spread(group: Group, takers: list[str], properties: dict[str, dict[str, Any]]) -> dict[str, Group]:
    """The names of a group to as many parameters as there are; a single taker gets them all."""
    if len(takers) == 1 or len(group.names) == 1 or _type(properties[takers[0]]) == "array":
        return {takers[0]: group}
    return {taker: Group((name,), group.start, group.marker) for taker, name in zip(takers, group.names, strict=False)}


def _marks(marker: str, name: str) -> bool:
    return bool(marker) and not set(_MARKERS.get(marker, "").split()).isdisjoint(phrases.parts(name))


def _mentions(text: str, option: Any) -> bool:
    if not isinstance(option, str | int | float) or isinstance(option, bool):
        return False
    spelt = re.escape(str(option)).replace("_", "[ _-]?").replace(r"\-", "[ _-]?")
    other = _MEMBERS.get(str(option).lower())
    pattern = rf"(?<![A-Za-z0-9]){spelt}(?![A-Za-z0-9])" + (f"|{other}" if other else "")
    return re.search(pattern, text, re.IGNORECASE) is not None


def _mentioned(schema: Any, depth: int) -> Iterable[str]:
    schema = _object(schema)
    yield from (option for option in _list(schema.get("enum"))[:_MAX_MEMBERS] if isinstance(option, str) and option)
    if depth < _MAX_DEPTH:
        for each in list(_object(schema.get("properties")).values())[:_MAX_PROPERTIES]:
            yield from _mentioned(each, depth + 1)
        yield from _mentioned(schema.get("items"), depth + 1) if "items" in schema else ()


def _type(schema: dict[str, Any]) -> str:
    """The one type looked at: of several the first that is not null; guessed where the schema names none."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _is_nullable(schema: dict[str, Any]) -> bool:
    return "null" in _list(schema.get("type"))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
