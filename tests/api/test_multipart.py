"""Streamed forms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locum.api.multipart import MAX_FIELD_BYTES, MAX_PARTS, parts
from locum.errors import InvalidRequest

TYPE = "multipart/form-data; boundary=XX"


def part(disposition: str, value: bytes = b"v") -> bytes:
    return b"--XX\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + value + b"\r\n"


def read(body: bytes, content_type: str = TYPE, *, chunk: int = 7) -> list[tuple[str, str | None, bytes]]:
    async def stream() -> AsyncIterator[bytes]:
        for at in range(0, len(body), chunk):
            yield body[at : at + chunk]

    async def collect() -> list[tuple[str, str | None, bytes]]:
        return [
            (each.name, each.filename, b"".join([piece async for piece in each.chunks]))
            async for each in parts(content_type, stream())
        ]

    return asyncio.run(collect())


def filename(disposition: str) -> str | None:
    return read(part(f'form-data; name="file"; {disposition}') + b"--XX--\r\n")[0][1]


@pytest.mark.parametrize("chunk", [1, 2, 3, 16, 1000])
def test_parts_come_in_order_however_the_body_is_cut(chunk: int) -> None:
    body = (
        part('form-data; name="purpose"', b"assistants")
        + part('form-data; name="file"; filename="a.bin"', b"\r\n--X\r\n--XY\0\xff")
        + part('form-data; name="empty"', b"")
        + b"--XX--\r\n"
    )
    assert read(body, chunk=chunk) == [
        ("purpose", None, b"assistants"),
        ("file", "a.bin", b"\r\n--X\r\n--XY\0\xff"),
        ("empty", None, b""),
    ]


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        ('filename="한글 데이터.csv"', "한글 데이터.csv"),
        ("filename=plain.csv", "plain.csv"),
        ("filename=\"x.csv\"; filename*=UTF-8''%ED%95%9C.csv", "한.csv"),
        ("filename*=utf-8'ko'%ED%95%9C.csv", "한.csv"),
        ('filename="a;b=c.csv"', "a;b=c.csv"),
        (r'filename="say \"hi\".csv"', 'say "hi".csv'),
        ('filename="say %22hi%22.csv"', 'say "hi".csv'),
        (r'filename="C:\data\x.csv"', r"C:\data\x.csv"),
        ('filename=""', ""),
        ('FILENAME="x.csv"', "x.csv"),
    ],
)
def test_filenames_arrive_as_they_were_meant(disposition: str, expected: str) -> None:
    assert filename(disposition) == expected


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=", "text/plain; boundary=XX"],
)
def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match="Invalid Content-Type"):
        read(b"--XX--\r\n", content_type)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"{}",
        b"--XX",
        b"--XX\r\n",
        b"--XX\r\n\r\nvalue\r\n--XX--\r\n",
        b"--XX\r\nno colon\r\n\r\n\r\n--XX--\r\n",
        part('form-data; name="file"; filename="a"'),
        part('form-data; name="file"; filename="a"', b"x" * 100)[:-20],
        part('attachment; name="file"') + b"--XX--\r\n",
        part("form-data") + b"--XX--\r\n",
        b"--XX\r\n" + b"A: b\r\n" * 1000 + b"\r\nv\r\n--XX--\r\n",
        b"--XX\r\nA: " + b"b" * 100_000 + b"\r\n\r\nv\r\n--XX--\r\n",
    ],
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="could not parse the multipart body"):
        read(body)


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="more than"):
        read(part('form-data; name="x"') * (MAX_PARTS + 1) + b"--XX--\r\n", chunk=4096)


@pytest.mark.parametrize("value", [b"x" * (MAX_FIELD_BYTES + 1), b"\xff", b"a\0b"])
def test_a_field_is_short_text(value: bytes) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield part('form-data; name="purpose"', value) + b"--XX--\r\n"

    async def first() -> str:
        async for each in parts(TYPE, stream()):
            return await each.text()
        raise AssertionError

    with pytest.raises(InvalidRequest, match="'purpose'"):
        asyncio.run(first())


def test_nothing_is_read_ahead_of_whoever_takes_the_chunks() -> None:
    taken = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(100):
            taken += 1
            yield b"x" * 1000
        yield b"\r\n--XX--\r\n"

    async def look() -> None:
        async for each in parts(TYPE, stream()):
            async for _ in each.chunks:
                assert taken <= 2
                return

    asyncio.run(look())


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_body_is_a_form_or_refused(body: bytes, chunk: int) -> None:
    for each in (body, b"--XX\r\n" + body, part('form-data; name="a"; filename="b"', body)):
        try:
            read(each, chunk=chunk)
        except InvalidRequest:
            continue
