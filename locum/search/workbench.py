"""A process for the work that takes a processor for long: cutting texts, local embedding, writing keyword indexes.

Covered: it is as nice as who has it; it dies with that one; it starts at first use, and again when it has died. It is
told everything with each command and keeps nothing but what it has loaded, so a command that died with it
is given again, once. It has none of the server's secrets in its environment. Not covered: it has the server's user's
rights. Files of unknown origin are never parsed here, that is the sandbox's; what comes in is text.
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

from locum.domain.vector_stores import Chunking
from locum.search.chunk import Tokens, TooManyTokens
from locum.search.embedders.base import Kind
from locum.search.processes import hear, read, say, settle, start
from locum.search.units import Ranges, ranges_of_bytes, ranges_to_bytes

_MOST_SECONDS = 600.0
"""Far more than any command takes: the largest file is cut in seconds, and what is embedded comes in portions."""
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")


class WorkbenchError(Exception):
    """A command could not be done; the words are for the log. kind: the name of the error that was met, or ""."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


# ---- what is said


class Cut(msgspec.Struct, frozen=True, tag="cut"):
    """Where the chunks and the windows of a text (UTF-8) are; either may be left out."""

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


# ---- the server's end


class Workbench:
    """The process, as the server sees it. Commands wait for one another.

    module: whose `main` it runs. most_seconds: of a command; a process that takes longer is taken for dead.
    """

    def __init__(self, *, module: str = __name__, most_seconds: float = _MOST_SECONDS) -> None:
        self._module = module
        self._most_seconds = most_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._is_closed = False
        self._working: set[asyncio.Task[Reply]] = set()

    async def cut(self, text: str, chunking: Chunking | None, *, windows: bool) -> tuple[Ranges, Ranges]:
        """Ranges of the chunks and of the windows; those that were not asked for are empty. TooManyTokens."""
        reply = await self._ask(Cut(text.encode(errors="replace"), chunking, windows))
        if isinstance(reply, TooLong):
            raise TooManyTokens
        if not isinstance(reply, Pieces):
            raise _unexpected(reply)
        return ranges_of_bytes(reply.chunks), ranges_of_bytes(reply.windows)

    async def embed(self, directory: Path, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """What the model of that directory makes of the texts."""
        reply = await self._ask(Embed(str(directory), [_clean(each) for each in texts], kind))
        if not isinstance(reply, Rows):
            raise _unexpected(reply)
        return np.frombuffer(reply.values, np.float32).reshape(reply.count, -1)

    async def index(self, directory: Path, *, remove: Iterable[str], add: Iterable[tuple[str, bytes, Ranges]]) -> None:
        """Change a keyword index; it is committed when this returns. add: unit, its document's text in UTF-8, its
        chunks."""
        added = [Added(key, text, ranges_to_bytes(ranges)) for key, text, ranges in add]
        reply = await self._ask(Index(str(directory), list(remove), added))
        if not isinstance(reply, Done):
            raise _unexpected(reply)

    async def close(self) -> None:
        """End the process. It has nothing that is not elsewhere."""
        self._is_closed = True
        await self._end()
        if self._working:
            await asyncio.wait(self._working)

    @property
    def pid(self) -> int | None:
        """Of the process, where there is one."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def _ask(self, command: Command) -> Reply:
        # A command goes on when nobody waits for it any more: its answer must not be taken for the next one's.
        asking = asyncio.create_task(self._ask_in_turn(_encode(command)))
        self._working.add(asking)
        asking.add_done_callback(self._finished)
        return await asyncio.shield(asking)

    def _finished(self, asking: asyncio.Task[Reply]) -> None:
        self._working.discard(asking)
        if not asking.cancelled():
            asking.exception()  # seen, whoever else waits for it

    async def _ask_in_turn(self, said: bytes) -> Reply:
        async with self._turn:
            for is_last in (False, True):
                try:
                    async with asyncio.timeout(self._most_seconds):
                        return await self._exchange(said)
                except (OSError, asyncio.IncompleteReadError) as error:
                    await self._end()
                    if is_last or self._is_closed:
                        raise WorkbenchError("the process that was at work on it died") from error
            raise AssertionError("unreachable")

    async def _exchange(self, said: bytes) -> Reply:
        process = await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        say(process.stdin, said)
        await process.stdin.drain()
        return _replies.decode(await hear(process.stdout))

    async def _started(self) -> asyncio.subprocess.Process:
        if self._is_closed:
            raise WorkbenchError("the server is stopping")
        if self._process is None or self._process.returncode is not None:
            env = {name: os.environ[name] for name in _KEPT if name in os.environ}
            self._process = await start(self._module, env=env)
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _unexpected(reply: Reply) -> WorkbenchError:
    if isinstance(reply, Failed):
        return WorkbenchError(f"{reply.kind}: {reply.reason}", reply.kind)
    return WorkbenchError(f"unexpected answer {type(reply).__name__}")


def _clean(text: str) -> str:
    """As it can be written in UTF-8."""
    return text if text.isascii() else text.encode(errors="replace").decode()


# ---- the process


def main() -> None:
    """Serve the one who started this until it goes away."""
    if (pipes := settle()) is None:
        return
    commands, answers = pipes
    with contextlib.suppress(BrokenPipeError):
        while (said := read(commands)) is not None:
            say(answers, _encode(_answer(_commands.decode(said))))
            answers.flush()


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
    from locum.search.keyword import KeywordWriter

    add = ((each.key, each.text.decode(), ranges_of_bytes(each.ranges)) for each in command.add)
    KeywordWriter(Path(command.directory)).apply(remove=command.remove, add=add)
    return Done()


if __name__ == "__main__":
    main()
