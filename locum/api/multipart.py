"""Streamed `multipart/form-data`: parts as they arrive, never a whole body in memory or in a temporary file.

Whoever takes a part's chunks sets the pace: nothing more is read from the client until they are consumed.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from locum.errors import InvalidRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 32
MAX_FIELD_BYTES = 64 * 1024


class _Begin(msgspec.Struct, frozen=True):
    headers: dict[str, str]


class _End(msgspec.Struct, frozen=True):
    pass


_Piece = _Begin | _End | bytes


class Part:
    """A field or, where it has a filename, a file."""

    def __init__(self, name: str, filename: str | None, chunks: AsyncIterator[bytes]) -> None:
        self.name = name
        self.filename = filename
        self.chunks = chunks

    async def text(self) -> str:
        """The value of a field."""
        value = bytearray()
        async for chunk in self.chunks:
            value += chunk
            if len(value) > MAX_FIELD_BYTES:
                raise InvalidRequest(f"Invalid '{self.name}': longer than {MAX_FIELD_BYTES} bytes.", param=self.name)
        try:
            text = value.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(f"Invalid '{self.name}': not UTF-8.", param=self.name) from None
        if "\0" in text:
            raise InvalidRequest(f"Invalid '{self.name}': NUL characters are not allowed.", param=self.name)
        return text


async def parts(content_type: str, body: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
    """The parts of a form, in order. What is left of one is skipped when the next is asked for."""
    pieces = _pieces(_boundary(content_type), body)
    count = 0
    async for piece in pieces:
        if not isinstance(piece, _Begin):
            continue
        count += 1
        if count > MAX_PARTS:
            raise _malformed(f"more than {MAX_PARTS} parts")
        name, filename = _disposition(piece.headers.get("content-disposition", ""))
        chunks = _chunks(pieces)
        yield Part(name, filename, chunks)
        async for _ in chunks:
            pass


class Form:
    """A form of one file, the part `file`, and of text fields, which may come before or after it."""

    def __init__(self, parts: AsyncIterator[Part], *, file: str, fields: Collection[str]) -> None:
        self._parts = parts
        self._file = file
        self._names = fields
        self._values: dict[str, str] = {}
        self._file_bytes = 0

    async def file(self) -> tuple[str, AsyncIterator[bytes]]:
        """Read up to the file; return its name and its bytes. Consume these before calling `fields`."""
        part = await self._next_file()
        if part is None:
            message = f"Missing required parameter: '{self._file}'."
            raise InvalidRequest(message, param=self._file, code="missing_required_parameter")
        return part.filename or "", self._counted(part.chunks)

    async def fields(self) -> dict[str, str]:
        """Read the rest of the form; return all its fields. InvalidRequest if the file was empty."""
        if await self._next_file() is not None:
            message = f"Invalid '{self._file}': expected one file, but got several instead."
            raise InvalidRequest(message, param=self._file, code="invalid_value")
        if self._file_bytes == 0:
            message = f"Invalid '{self._file}': the file is empty."
            raise InvalidRequest(message, param=self._file, code="invalid_value")
        return self._values

    async def _next_file(self) -> Part | None:
        async for part in self._parts:
            if part.name in self._names:
                self._values[part.name] = await part.text()
            elif part.name != self._file:
                name = part.name[:100]
                raise InvalidRequest(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
            elif part.filename is None:
                message = f"Invalid type for '{self._file}': expected a file, but got a string instead."
                raise InvalidRequest(message, param=self._file, code="invalid_type")
            else:
                return part
        return None

    async def _counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self._file_bytes += len(chunk)
            yield chunk


@asynccontextmanager
async def form(
    content_type: str, body: AsyncIterator[bytes], *, file: str, fields: Collection[str] = ()
) -> AsyncIterator[Form]:
    """Open a form for reading; see `Form`."""
    async with aclosing(parts(content_type, body)) as open_parts:
        yield Form(open_parts, file=file, fields=fields)


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise InvalidRequest(
            f"Invalid Content-Type: '{content_type[:100]}'. Expected 'multipart/form-data' with a boundary."
        )
    return options[b"boundary"]


async def _chunks(pieces: AsyncIterator[_Piece]) -> AsyncGenerator[bytes, None]:
    async for piece in pieces:
        if not isinstance(piece, bytes):
            return
        yield piece


async def _pieces(boundary: bytes, body: AsyncIterator[bytes]) -> AsyncGenerator[_Piece, None]:
    sink = _Sink()
    try:
        parser = MultipartParser(boundary, sink.callbacks())
        async for chunk in body:
            parser.write(chunk)
            while sink.ready:
                yield sink.ready.popleft()
    except FormParserError as error:
        raise _malformed(str(error)) from None
    if not sink.has_ended:
        raise _malformed("it ends before its closing boundary")


class _Sink:
    """Collects what the parser finds in one chunk."""

    def __init__(self) -> None:
        self.ready: deque[_Piece] = deque()
        self.has_ended = False
        self._headers: dict[str, str] = {}
        self._name = b""
        self._value = b""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": lambda: self.ready.append(_Begin(self._headers)),
            "on_part_data": lambda data, start, end: self.ready.append(bytes(data[start:end])),
            "on_part_end": lambda: self.ready.append(_End()),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers = {}

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._name = self._value = b""

    def _end(self) -> None:
        self.has_ended = True


_PARAMETER = re.compile(r';\s*(?P<name>[\w*]+)\s*=\s*(?:"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<bare>[^;\s]*))')


def _disposition(header: str) -> tuple[str, str | None]:
    """Name and filename. Clients write the filename as UTF-8, with browsers' escapes, or as RFC 5987's `filename*`."""
    found = {
        match["name"].lower(): match["bare"] if match["quoted"] is None else _unescaped(match["quoted"])
        for match in _PARAMETER.finditer(header)
    }
    if not header.lower().startswith("form-data") or "name" not in found:
        raise _malformed("a part has no name")
    return found["name"], _extended(found.get("filename*")) or found.get("filename")


def _unescaped(quoted: str) -> str:
    # A backslash escapes quotes and itself only: `C:\x.csv` of old browsers keeps its own.
    return re.sub(r'\\(["\\])', r"\1", quoted).replace("%22", '"')


def _extended(value: str | None) -> str | None:
    match = re.fullmatch(r"(?i:utf-8)'[^']*'(.*)", value or "")
    return unquote(match[1], errors="replace") if match else None


def _malformed(why: str) -> InvalidRequest:
    return InvalidRequest(f"We could not parse the multipart body of your request: {why}.")
