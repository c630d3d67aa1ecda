"""Bytes that are, or only look like, a JSON object."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locum.api.bodies import MAX_DEPTH, MAX_VALUES, parse_object, read
from locum.errors import InvalidRequest, TooLarge


@pytest.mark.parametrize("raw", [b"", b"{}"])
def test_an_empty_body_is_an_empty_object(raw: bytes) -> None:
    assert parse_object(raw) == {}


@pytest.mark.parametrize(
    "raw",
    [
        b"  \r\n ",
        b"{",
        b"nope",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\udc00\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": 1,}',
        b'{"a": "\x00"}',
        b"\x00",
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 20_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        '{"a": 1}'.encode("utf-16"),
        b"--boundary\r\n",
    ],
)
def test_what_is_not_json_is_refused_in_the_hosted_words(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="We could not parse the JSON body of your request"):
        parse_object(raw)


@pytest.mark.parametrize("raw", [b"[]", b'"a"', b"1", b"null", b"true"])
def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="expected an object"):
        parse_object(raw)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "a\0b"}, "name"),
        ({"messages": [{"content": "\0"}]}, "messages[0].content"),
        ({"metadata": {"k\0": "v"}}, "metadata"),
        ({"k\0": "v"}, None),
    ],
)
def test_nul_characters_are_refused_where_they_stand(body: dict[str, Any], param: str | None) -> None:
    with pytest.raises(InvalidRequest, match="NUL characters are not allowed") as refused:
        parse_object(json.dumps(body).encode())
    assert refused.value.param == param


def test_the_letters_of_an_escaped_nul_are_no_nul() -> None:
    assert parse_object(rb'{"a": "\\u0000"}') == {"a": r"\u0000"}


def test_nesting_has_a_limit() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' * levels + b"1" + b"}" * levels

    assert parse_object(nested(MAX_DEPTH - 1))
    with pytest.raises(InvalidRequest, match="nested deeper"):
        parse_object(nested(MAX_DEPTH + 1))


def test_integers_that_no_encoder_takes_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="integer out of range") as refused:
        parse_object(b'{"a": [1, 123456789012345678901234567890]}')
    assert refused.value.param == "a[1]"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [[]] * MAX_VALUES},
        {"messages": [{}] * MAX_VALUES},
        {"messages": [[[]] * (MAX_VALUES // 2), [[]] * (MAX_VALUES // 2)]},
        {"messages": [0] * MAX_VALUES},
        {"messages": ["a"] * MAX_VALUES},
        {"messages": ['"'] * MAX_VALUES},
        {"messages": ["\\"] * MAX_VALUES},
        {"messages": ['\\"'] * MAX_VALUES},
        {"metadata": {str(number): 1 for number in range(MAX_VALUES)}},
        {"messages": [{"role": "user", "content": "a"}] * (MAX_VALUES // 3)},
    ],
    ids=lambda body: str(body)[:30],
)
def test_more_values_than_the_maximum_are_refused_before_they_are_decoded(body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    for sent in (raw, raw[:-1]):  # the second is no JSON: it was not decoded
        with pytest.raises(TooLarge, match=f"more than the maximum of {MAX_VALUES} values"):
            parse_object(sent)


@pytest.mark.parametrize("text", ["a, ", "[", "{,", '",', '\\",', '"', "\\", '\\\\"[', "한, "])
def test_texts_may_hold_any_number_of_commas_and_brackets(text: str) -> None:
    body = {"role": "user", "content": [{"type": "text", "text": text * MAX_VALUES}] * 2, "metadata": {text: text}}
    assert parse_object(json.dumps(body).encode()) == body
    assert parse_object(json.dumps(body, ensure_ascii=False).encode()) == body


@pytest.mark.parametrize("element", [0, "", '"', '\\"', ",", None])
def test_as_many_values_as_the_maximum_are_accepted(element: Any) -> None:
    body = {"messages": [element] * (MAX_VALUES - 1)}
    assert parse_object(json.dumps(body).encode()) == body


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    try:
        value = parse_object(raw)
    except InvalidRequest:
        return
    msgspec.json.encode(value)


def test_a_body_beyond_the_limit_is_refused_before_it_is_read() -> None:
    taken = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b"x" * 10

    with pytest.raises(TooLarge):
        asyncio.run(read(chunks(), max_bytes=95))
    assert taken == 10
