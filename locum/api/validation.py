"""From pydantic's findings to the hosted validator's words: the first finding only, with its path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from locum.domain.files import Surface
from locum.domain.image_urls import PUBLIC, ImageURLs
from locum.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)

STORES_PER_OBJECT, IMAGE_URLS = "stores_per_object", "image_urls"
"""What validators find in their context."""
STRING, OTHER = "<string>", "<other>"
"""Tags of unions; they are no part of a path."""


def tag(kind: str) -> str:
    """The tag of a union's member of that type."""
    return f"<{kind}>"


_TAGS = {STRING, OTHER, *map(tag, ("code_interpreter", "function", "file_search", "text", "image_url", "image_file"))}
_TAGS |= set(map(tag, ("auto", "static", "comparison", "compound")))

_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a decimal",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def wrong_prefix(prefix: str) -> PydanticCustomError:
    """For validators: an id of another kind."""
    return PydanticCustomError("wrong_prefix", "wrong prefix", {"prefix": prefix})


def wrong_type(expected: str) -> PydanticCustomError:
    """For validators: a value of another type; `expected` with its article."""
    return PydanticCustomError("wrong_type", "wrong type", {"expected": expected})


def missing(at: str) -> PydanticCustomError:
    """For validators of objects: `at`, a path inside, is required there."""
    return PydanticCustomError("missing", "missing", {"at": at})


def parse(
    model: type[M],
    body: dict[str, Any],
    *,
    surface: Surface,
    stores_per_object: int = 1,
    image_urls: ImageURLs = PUBLIC,
) -> M:
    """The body as a model, or InvalidRequest. stores_per_object: how many vector stores an assistant or thread may
    have. image_urls: the addresses that messages may hold."""
    try:
        return model.model_validate(body, context={STORES_PER_OBJECT: stores_per_object, IMAGE_URLS: image_urls})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    raise explain(first, surface=surface)


def explain(found: ErrorDetails, *, surface: Surface) -> InvalidRequest:
    """One finding in the API's words."""
    kind, value, context = found["type"], found["input"], found.get("ctx", {})
    path = path_of(found["loc"], context.get("at"))
    match kind:
        case "missing":
            return _invalid(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")
        case "extra_forbidden":
            return _invalid(f"Unknown parameter: '{path}'.", path, "unknown_parameter")
        case "wrong_prefix":
            return invalid_id(path, value, _file_prefix(context["prefix"], surface))
        case "wrong_type":
            return _invalid_type(path, context["expected"], value)
        case "literal_error" if isinstance(value, str):
            supported = supported_values(re.findall(r"'([^']*)'", context["expected"]))
            return _invalid(f"Invalid value: '{_shown(value)}'. {supported}", path, "invalid_value")
        case "literal_error":
            return _invalid_type(path, "a string", value)
        case "string_too_long" if found["loc"][-1] == "[key]" and len(found["loc"]) > 2:
            return _property_name_too_long(path_of(found["loc"][:-2]), len(value), context["max_length"])
        case "string_too_long" | "string_too_short":
            return _wrong_length(path, "string", value, context)
        case "too_long" if isinstance(value, dict):
            return _too_many_properties(path, len(value), context["max_length"])
        case "too_long" | "too_short":
            return _wrong_length(path, "array", value, context)
        case "string_pattern_mismatch":
            message = (
                f"Invalid '{path}': string does not match pattern. "
                f"Expected a string that matches the pattern '{context['pattern']}'."
            )
            return _invalid(message, path, "invalid_value")
        case "less_than_equal":
            return _out_of_range(path, value, context["le"], "above maximum", "<=")
        case "greater_than_equal":
            return _out_of_range(path, value, context["ge"], "below minimum", ">=")
        case _ if kind in _EXPECTED:
            return _invalid_type(path, _EXPECTED[kind], value)
        case _:
            return _invalid(f"Invalid '{path}': {found['msg']}.", path, "invalid_value")


def invalid_id(path: str, value: str, prefix: str) -> InvalidRequest:
    """An id that cannot be one of that kind."""
    message = f"Invalid '{path}': '{_shown(value)}'. Expected an ID that begins with '{prefix}'."
    return _invalid(message, path, "invalid_value")


def supported_values(values: Iterable[str]) -> str:
    """`Supported values are: 'a', 'b', and 'c'.`"""
    *others, last = (f"'{each}'" for each in values)
    if not others:
        return f"Supported values are: {last}."
    comma = "," if len(others) > 1 else ""
    return f"Supported values are: {', '.join(others)}{comma} and {last}."


def path_of(loc: tuple[int | str, ...], at: str | None = None) -> str:
    """Return the path of a value as errors name it: `messages[0].content`. at: path inside of the value."""
    path = ""
    for each in (*loc, *([at] if at else [])):
        if isinstance(each, int):
            path += f"[{each}]"
        elif each not in _TAGS:
            path += f".{each}" if path else each
    return path


def _invalid(message: str, path: str, code: str) -> InvalidRequest:
    return InvalidRequest(message, param=path or None, code=code)


def _invalid_type(path: str, expected: str, value: object) -> InvalidRequest:
    return _invalid(
        f"Invalid type for '{path}': expected {expected}, but got {_kind(value)} instead.", path, "invalid_type"
    )


def _wrong_length(path: str, noun: str, value: str | list[Any], context: dict[str, Any]) -> InvalidRequest:
    article = "an" if noun == "array" else "a"
    if "max_length" in context:
        wrong, bound, code = "too long", f"maximum length {context['max_length']}", f"{noun}_above_max_length"
    else:
        wrong, bound, code = "too short", f"minimum length {context['min_length']}", f"{noun}_below_min_length"
    got = f"{article} {noun} with length {len(value)}" if value else f"an empty {noun}"
    if noun == "array" and not value:
        wrong, code = "empty array", "empty_array"
        return _invalid(
            f"Invalid '{path}': {wrong}. Expected an array with {bound}, but got {got} instead.", path, code
        )
    message = f"Invalid '{path}': {noun} {wrong}. Expected {article} {noun} with {bound}, but got {got} instead."
    return _invalid(message, path, code)


def _out_of_range(path: str, value: float, bound: float, wrong: str, sign: str) -> InvalidRequest:
    noun = "decimal" if isinstance(bound, float) else "integer"
    message = (
        f"Invalid '{path}': {noun} {wrong} value. Expected a value {sign} {_number(bound)}, "
        f"but got {_number(value)} instead."
    )
    return _invalid(message, path, f"{noun}_{'above_max' if 'above' in wrong else 'below_min'}_value")


def _too_many_properties(path: str, got: int, most: int) -> InvalidRequest:
    message = (
        f"Invalid '{path}': too many properties. Expected an object with at most {most} properties, "
        f"but got an object with {got} properties instead."
    )
    return _invalid(message, path, "object_above_max_properties")


def _property_name_too_long(path: str, got: int, most: int) -> InvalidRequest:
    message = (
        f"Invalid '{path}': property name too long. Expected a property name with maximum length {most}, "
        f"but got one with length {got} instead."
    )
    return _invalid(message, path, "property_name_above_max_length")


def _file_prefix(prefix: str, surface: Surface) -> str:
    return "assistant" if prefix == "file" and surface == "azure" else prefix


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _shown(value: str) -> str:
    return value if len(value) <= 100 else f"{value[:100]}…"


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
