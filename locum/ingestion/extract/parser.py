"""A file's text: plain text is decoded here, all else is parsed in the sandbox, a session to a file.

Files are a stranger's bytes, and parsers are large programs in C and C++: whatever needs one runs behind the walls of
the code interpreter, in a sandboxd of its own whose zygote has the parsers loaded (`parsers`). It is begun with the
first file that needs it, let go of when no file is being parsed, and then ends by itself.

Text in UTF-8, UTF-16 or ASCII needs no builder: Python's own decoders, which read every request too, take some 40 MB a
second, in a thread. Which of the many other encodings a text is in, charset-normalizer guesses, with compiled code and
for up to seconds: behind the walls.

Covered: what a session says is read as the work of hostile code: bounded, UTF-8, clean, pages in order. A file that
kills its parser, or takes too long or too much, fails by itself. Not covered: what the text says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from locum import ids
from locum.documents.text import TooMuchText, decode, decode_clean
from locum.ingestion.extract.file_types import HEAD_BYTES, Kind, Unreadable, identify
from locum.sandbox.client import Mode, Sandbox
from locum.sandbox.limits import MIB, Limits
from locum.sandbox.output import clean as clean_output
from locum.sandbox.profile import Profile
from locum.sandbox.session import CellResult, Output, QuotaExceeded, SandboxUnavailable, SessionLost, Status

__all__ = ["Parsed", "Parser", "SandboxParser", "Unreadable"]

log = structlog.get_logger("locum.search")

Chunks = Callable[[], AsyncIterator[bytes]]
"""A file's bytes from the first on, as often as they are asked for."""

MOST_TEXT_BYTES = 64 * MIB
"""Of a file's text in UTF-8: thirteen bytes for each of the 5,000,000 tokens that a file may have."""
MOST_MARKUP_BYTES = 128 * MIB
"""Of a file that is text or HTML, which is read as a whole; in UTF-16 a character has two bytes at least."""

LIMITS = Limits(
    idle_seconds=600,
    cell_seconds=180,
    cpu_seconds=60,
    grace_seconds=0.5,
    memory_bytes=1024 * MIB,
    disk_bytes=640 * MIB,  # the largest file there is, and its text
    inodes=64,
    processes=16,
    open_files=64,
    images_per_cell=0,
    files_per_cell=4,
    files_bytes_per_cell=MOST_TEXT_BYTES + MIB,
    max_sessions=8,
    spare_sessions=1,
)
PROFILE = Profile(own=("locum.ingestion.extract.parsers",))

_FILE = "file"
_CODE = f"from locum.ingestion.extract.parsers import main\nmain({_FILE!r}, {{!r}}, {MOST_TEXT_BYTES})"
_BEGINNING_BYTES = 64 * 1024
_DECODED_AT_ONCE = 16 * 1024
"""Bytes of a text that take less time than going to a thread and back, or not much more."""
_MOST_OUTCOME_BYTES = MIB
_MOST_WORDS = 500
_ATTEMPTS = 2
_NEEDED_FOR: dict[Kind, str] = {
    "pdf": "PDF files are",
    "office": "Documents of Word and PowerPoint are",
    "html": "HTML files are",
    "text": "Text that is not in UTF-8, UTF-16 or ASCII is",
}


class Parsed(msgspec.Struct, frozen=True):
    """A file's text, in normal form C; pages: where each page begins (characters), of files that have pages."""

    text: str
    pages: tuple[int, ...] = ()


class Parser(Protocol):
    """Makes texts of files. version: of what it makes; another version makes another text of the same file."""

    version: str

    async def parse(self, filename: str, chunks: Chunks) -> Parsed:
        """The text of a file; Unreadable when it has none for us."""
        ...


class _Outcome(msgspec.Struct, forbid_unknown_fields=True):
    error: str | None
    pages: list[int]


class SandboxParser:
    """The Parser of a server. `directory` is its sandboxd's own; at most `at_once` files are parsed at a time."""

    version = "1"

    def __init__(
        self,
        directory: Path,
        *,
        mode: Mode = "auto",
        accepts_weak: bool = False,
        limits: Limits = LIMITS,
        at_once: int = 2,
        python: Path | None = None,
    ) -> None:
        """mode, accepts_weak: as of the code interpreter's Sandbox. python: another than the server's own, which has
        the parsers' libraries too."""
        budget = limits.memory_budget_bytes or at_once * limits.memory_bytes
        self._limits = msgspec.structs.replace(limits, memory_budget_bytes=budget)
        self._sandbox = Sandbox(
            directory, mode=mode, accepts_weak=accepts_weak, limits=self._limits, python=python, profile=PROFILE
        )
        self._turns = asyncio.Semaphore(at_once)
        self._busy = 0

    async def start(self) -> Status:
        """Begin now what else the first file begins; how files are held while they are parsed."""
        return await self._sandbox.start()

    async def parse(self, filename: str, chunks: Chunks) -> Parsed:
        data, is_whole = await _beginning(chunks)
        kind = identify(filename, data[:HEAD_BYTES])
        async with self._turns:  # what is read as a whole is memory
            if kind not in ("text", "html"):
                return await self._parse_in_sandbox(kind, chunks)
            data = data if is_whole else await _read(chunks)
            if kind == "text" and (text := await _decode(data)) is not None:
                return _worded(Parsed(text))
            return await self._parse_in_sandbox(kind, lambda: _once(data))

    async def close(self) -> None:
        """End the sandboxd, and whatever is being parsed."""
        await self._sandbox.close()

    async def _parse_in_sandbox(self, kind: Kind, chunks: Chunks) -> Parsed:
        async with self._presence():
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    return await self._parse_in_session(kind, chunks)
                except SessionLost as lost:
                    log.warning("parser_lost", attempt=attempt, reason=lost.message)
                except SandboxUnavailable as failure:
                    raise Unreadable("server_error", self._why_not(kind, failure)) from failure
        raise Unreadable(
            "server_error", "The parser died while it read this file, and so did what it ran in. Try again."
        )

    @contextlib.asynccontextmanager
    async def _presence(self) -> AsyncIterator[None]:
        """While a file is being parsed, the sandboxd has company; without any it ends after its time."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            if not self._busy:
                await self._sandbox.hang_up()

    async def _parse_in_session(self, kind: Kind, chunks: Chunks) -> Parsed:
        session = ids.new("parse_")
        try:
            await self._sandbox.open(session)
            try:
                await self._sandbox.put(session, _FILE, "", chunks())
            except QuotaExceeded:
                raise _invalid(f"The file is larger than {self._limits.disk_bytes // MIB} MiB.") from None
            result = await self._sandbox.execute(session, session, _CODE.format(kind))
            return await self._read_outcome(session, kind, result)
        finally:
            await self._sandbox.delete(session)

    async def _read_outcome(self, session: str, kind: Kind, result: CellResult) -> Parsed:
        if not result.ok:
            raise _invalid(self._why_failed(kind, result))
        files = {file.name: file for file in result.files}
        try:
            outcome = msgspec.json.decode(await self._get(session, files["outcome"]), type=_Outcome)
            if outcome.error is not None:
                raise _invalid(clean_output(outcome.error)[:_MOST_WORDS])
            data = await self._get(session, files["text"])
            return _checked(await asyncio.to_thread(decode_clean, data), outcome.pages)
        except (KeyError, ValueError) as failure:
            log.warning("parser_misbehaved", kind=kind, said=repr(failure)[:_MOST_WORDS])
            raise _invalid("The parser of this file answered with something that is no text.") from failure

    async def _get(self, session: str, file: Output) -> bytes:
        if file.size > (_MOST_OUTCOME_BYTES if file.name == "outcome" else MOST_TEXT_BYTES):
            raise ValueError(f"{file.name} has {file.size} bytes")
        return b"".join([piece async for piece in self._sandbox.get(session, file.key)])

    def _why_failed(self, kind: Kind, result: CellResult) -> str:
        limits = self._limits
        if result.error == "Timeout":
            return f"Parsing the file took longer than {limits.cell_seconds:g} seconds, and was stopped."
        if result.error == "MemoryError":
            return f"Parsing the file takes more than {limits.memory_bytes // MIB} MiB of memory."
        if result.error == "SessionDied":
            used = result.usage.cpu_seconds if result.usage else 0
            if limits.cpu_seconds is not None and used >= limits.cpu_seconds - 1:
                return (
                    f"Parsing the file took more than {limits.cpu_seconds} seconds of processor time, and was stopped."
                )
            return f"The parser died of the file: {result.reason}."
        log.error("parser_failed", kind=kind, error=result.error, output=result.logs)
        return f"The file is damaged, or made in a way that the parser does not know ({result.error})."

    def _why_not(self, kind: Kind, failure: SandboxUnavailable) -> str:
        status = self._sandbox.status
        if status.tier != "off":
            return f"The file could not be parsed: {failure.message}."
        fix = f" To have it: {status.fix}." if status.fix else ""
        return f"{_NEEDED_FOR[kind]} parsed in the sandbox, which this server does not have: {status.reason}.{fix}"


def _worded(parsed: Parsed) -> Parsed:
    if not parsed.text.strip():
        raise _invalid("The file has no text in it.")
    return parsed


def _checked(text: str, pages: list[int]) -> Parsed:
    """ValueError unless the pages are places in the text, in order."""
    if any(not 0 <= page <= len(text) for page in pages) or any(first > second for first, second in pairwise(pages)):
        raise ValueError("pages that are not in order")
    return _worded(Parsed(text, tuple(pages)))


async def _decode(data: bytes) -> str | None:
    try:
        if len(data) <= _DECODED_AT_ONCE:
            return decode(data, MOST_TEXT_BYTES)
        return await asyncio.to_thread(decode, data, MOST_TEXT_BYTES)
    except TooMuchText:
        raise _invalid(f"The file has more than {MOST_TEXT_BYTES // MIB} MiB of text.") from None


async def _beginning(chunks: Chunks) -> tuple[bytes, bool]:
    """What a file begins with, and whether that is all of it, which then need not be read again."""
    data, stream = b"", chunks()
    try:
        async for piece in stream:
            data += piece
            if len(data) > _BEGINNING_BYTES:
                return data, False
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
    return data, True


async def _read(chunks: Chunks) -> bytes:
    data = bytearray()
    async for piece in chunks():
        data += piece
        if len(data) > MOST_MARKUP_BYTES:
            raise _invalid(f"The file is larger than {MOST_MARKUP_BYTES // MIB} MiB, the most for text and HTML.")
    return bytes(data)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _invalid(message: str) -> Unreadable:
    return Unreadable("invalid_file", message)
