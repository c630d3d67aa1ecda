"""What a parser makes of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

from locum.domain.vector_stores import ErrorCode


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """A file's text, in NFC. pages: where each page begins, in code points; none of a file that has no pages."""

    text: str
    pages: tuple[int, ...] = ()


class Unreadable(Exception):
    """The file cannot be read; the message tells its owner why, and what would help."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Parser(Protocol):
    """version: of another one, the same file may get another text."""

    version: str

    async def parse(self, filename: str, chunks: Callable[[], AsyncIterator[bytes]]) -> Parsed:
        """The text of a file; Unreadable."""
        ...
