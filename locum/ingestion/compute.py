"""A child process for work that holds a processor for long: cutting texts, local embedding, writing keyword indexes.

Covered: it runs at its parent's nice level and exits with it; it starts at first use and again after a crash, and a
command interrupted by a crash is retried once. Each command is self-contained; loaded models are the only state. None
of the server's secrets are in its environment. Not covered: it has the rights of the server's user. Files of unknown
origin are parsed in the sandbox, never here; what arrives here is text.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import assert_never

import msgspec
import numpy as np
from numpy.typing import NDArray

from locum.documents.types import Ranges, ranges_of_bytes, ranges_to_bytes
from locum.domain.vector_stores import Chunking
from locum.framing import read_frame, read_frame_blocking, write_frame
from locum.ingestion import child_process
from locum.ingestion.chunk import Tokens, TooManyTokens
from locum.models.chat import ModelError
from locum.search.embedders.base import Kind

_COMMAND_SECONDS = 600.0
"""Far more than any command takes: the largest file is cut in seconds, and what is embedded comes in portions."""
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")


class ComputeError(Exception):
    """A command failed; the message is for the log. kind: name of the exception met, or "" after a crash."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


# ---- messages


class Cut(msgspec.Struct, frozen=True, tag="cut"):
    """Find the chunks and the windows of a text (UTF-8); either may be left out."""

    text: bytes
    chunking: Chunking | None
    windows: bool


class Embed(msgspec.Struct, frozen=True, tag="embed"):
    directory: str
    texts: list[str]
    kind: Kind


class Added(msgspec.Struct, frozen=True, array_like=True):
    """A unit for a keyword index: its key, its document's text (UTF-8) and the ranges of its chunks."""

    key: str
    text: bytes
    ranges: bytes


class Index(msgspec.Struct, frozen=True, tag="index"):
    """Take units out of a keyword index, put others into it, commit."""

    directory: str
    remove: list[str]
    add: list[Added]


Command = Cut | Embed | Index


class Pieces(msgspec.Struct, frozen=True, tag="pieces"):
    tokens: int
    chunks: bytes
    windows: bytes


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    count: int
    values: bytes


class Done(msgspec.Struct, frozen=True, tag="done"):
    pass


class TooLong(msgspec.Struct, frozen=True, tag="too_long"):
    pass


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    kind: str
    reason: str


Reply = Pieces | Rows | Done | TooLong | Failed

_encode = msgspec.msgpack.Encoder().encode
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


# ---- the parent's end


class ComputeProcess:
    """Handle of the process in its parent. Commands run one after the other.

    module: its `main` is run in the child. command_seconds: of a command; a process that takes longer is killed.
    """

    def __init__(self, *, module: str = __name__, command_seconds: float = _COMMAND_SECONDS) -> None:
        self._module = module
        self._command_seconds = command_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._is_closed = False
        self._working: set[asyncio.Task[Reply]] = set()

    async def cut(self, text: str, chunking: Chunking | None, *, windows: bool) -> tuple[Ranges, Ranges]:
        """Ranges of the chunks and of the windows; those that were not asked for are empty. TooManyTokens."""
        reply = await self._run(Cut(text.encode(errors="replace"), chunking, windows))
        if isinstance(reply, TooLong):
            raise TooManyTokens
        if not isinstance(reply, Pieces):
            raise _unexpected(reply)
        return ranges_of_bytes(reply.chunks), ranges_of_bytes(reply.windows)

    async def embed(self, directory: Path, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Return what the model of that directory makes of the texts, a row each. Raises ModelError."""
        try:
            reply = await self._run(Embed(str(directory), [_clean(text) for text in texts], kind))
            if not isinstance(reply, Rows):
                raise _unexpected(reply)
        except ComputeError as error:
            # An error of the model comes again; a crash of the process may have been chance.
            raise ModelError(
                f"the model in {directory} cannot be used: {error}",
                kind="misconfigured" if error.kind else "unavailable",
            ) from None
        return np.frombuffer(reply.values, np.float32).reshape(reply.count, -1)

    async def index(self, directory: Path, *, remove: Iterable[str], add: Iterable[tuple[str, bytes, Ranges]]) -> None:
        """Change a keyword index; it is committed when this returns. add: unit, its document's text in UTF-8, its
        chunks."""
        added = [Added(key, text, ranges_to_bytes(ranges)) for key, text, ranges in add]
        reply = await self._run(Index(str(directory), list(remove), added))
        if not isinstance(reply, Done):
            raise _unexpected(reply)

    async def close(self) -> None:
        """End the process."""
        self._is_closed = True
        await self._end()
        if self._working:
            await asyncio.wait(self._working)

    @property
    def pid(self) -> int | None:
        """Of the process, where there is one."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def _run(self, command: Command) -> Reply:
        # A command goes on when nobody waits for it any more: its answer must not be taken for the next one's.
        asking = asyncio.create_task(self._run_in_turn(_encode(command)))
        self._working.add(asking)
        asking.add_done_callback(self._finished)
        return await asyncio.shield(asking)

    def _finished(self, asking: asyncio.Task[Reply]) -> None:
        self._working.discard(asking)
        if not asking.cancelled():
            asking.exception()  # seen, whoever else waits for it

    async def _run_in_turn(self, command: bytes) -> Reply:
        async with self._turn:
            for is_last in (False, True):
                try:
                    async with asyncio.timeout(self._command_seconds):
                        return await self._exchange(command)
                except (OSError, asyncio.IncompleteReadError) as error:
                    await self._end()
                    if is_last or self._is_closed:
                        raise ComputeError("the process that was at work on it died") from error
            raise AssertionError("unreachable")

    async def _exchange(self, command: bytes) -> Reply:
        process = await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        write_frame(process.stdin, command)
        await process.stdin.drain()
        _, reply = await read_frame(process.stdout)
        return _replies.decode(reply)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._is_closed:
            raise ComputeError("the server is stopping")
        if self._process is None or self._process.returncode is not None:
            env = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            self._process = await child_process.spawn(self._module, env=env)
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _unexpected(reply: Reply) -> ComputeError:
    if isinstance(reply, Failed):
        return ComputeError(f"{reply.kind}: {reply.reason}", reply.kind)
    return ComputeError(f"unexpected answer {type(reply).__name__}")


def _clean(text: str) -> str:
    """As it can be written in UTF-8."""
    return text if text.isascii() else text.encode(errors="replace").decode()


# ---- the process


def main() -> None:
    """Carry out the parent's commands until it goes away."""
    if (pipes := child_process.enter("locum: compute")) is None:
        return
    commands, replies = pipes
    with contextlib.suppress(BrokenPipeError):
        while (command := read_frame_blocking(commands)) is not None:
            write_frame(replies, _encode(_answer(_commands.decode(command))))
            replies.flush()


def _answer(command: Command) -> Reply:
    try:
        match command:
            case Cut():
                return _cut(command)
            case Embed():
                return _embed(command)
            case Index():
                return _index(command)
            case _:
                assert_never(command)
    except TooManyTokens:
        return TooLong()
    except Exception as error:  # the border of a command: the process lives on
        return Failed(type(error).__name__, str(error))


def _cut(command: Cut) -> Reply:
    tokens = Tokens(command.text.decode())
    chunks = tokens.chunks(command.chunking).tobytes() if command.chunking is not None else b""
    return Pieces(tokens.count, chunks, tokens.windows().tobytes() if command.windows else b"")


_models: dict[str, object] = {}


def _embed(command: Embed) -> Reply:
    from locum.search.embedders.onnx import OnnxModel

    model = _models.get(command.directory)
    if not isinstance(model, OnnxModel):
        model = _models[command.directory] = OnnxModel(Path(command.directory))
    rows = model.embed(command.texts, command.kind)
    return Rows(len(rows), rows.tobytes())


def _index(command: Index) -> Reply:
    from locum.search.keyword.index import KeywordWriter

    add = ((unit.key, unit.text.decode(), ranges_of_bytes(unit.ranges)) for unit in command.add)
    KeywordWriter(Path(command.directory)).apply(remove=command.remove, add=add)
    return Done()


if __name__ == "__main__":
    main()
