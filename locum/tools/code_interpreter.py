"""The code interpreter: Python cells in the thread's session.

Offered to the model as a function with one string parameter, `code`. A cell that fails is a result like any other: the
model reads the traceback and tries again.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from locum import crashpoints, ids
from locum.blobs.base import Blobs
from locum.clock import Clock
from locum.domain.files import MAX_BYTES, File, Origin, Surface, blob_key, id_prefix
from locum.domain.steps import CodeInterpreter as CodeInterpreterDetails
from locum.domain.steps import CodeInterpreterCall, CodeOutput, Image, ImageOutput, LogOutput, Step
from locum.domain.usage import SessionUsage
from locum.errors import LocumError, NotFound, TooLarge, Unavailable
from locum.models.chat import ToolDefinition
from locum.sandbox.session import (
    CellResult,
    NotWritable,
    Opened,
    Output,
    QuotaExceeded,
    SandboxUnavailable,
    SessionLost,
)

NAME = "code_interpreter"
FILES_HEADING = "Files available to the code interpreter:"
"""Opens the list of files in a prompt: a line `- /mnt/data/NAME` each."""
OTHER_NAMES = ("python", "execute_python", "run_python")
"""What models that were trained on another name for the same tool call it."""

DEFINITION = ToolDefinition(
    name=NAME,
    description=(
        "Runs Python in a stateful session: variables survive from call to call. Returns what the code prints, "
        "the value of its last expression, or the traceback. Files are read and written in /mnt/data. matplotlib "
        "figures are shown to the user. There is no network access. To give the user a file, write it to /mnt/data "
        "and link it in the answer as [name](sandbox:/mnt/data/name)."
    ),
    parameters={
        "type": "object",
        "properties": {"code": {"type": "string", "description": "The Python code to run."}},
        "required": ["code"],
        "additionalProperties": False,
    },
)


MOST_RESTORED = 1000
"""How many files of earlier cells a new session is given at most."""
_MOST_NAMED = 10


class Sandbox(Protocol):
    """The part of the sandbox's client that is used here."""

    async def open(self, session: str, *, lost: bool = False) -> Opened: ...
    async def put(self, session: str, name: str, tag: str, chunks: AsyncIterator[bytes]) -> None: ...
    async def execute(
        self,
        session: str,
        call_id: str,
        code: str,
        on_output: Callable[[str], None] | None = None,
        *,
        preface: str = "",
    ) -> CellResult: ...
    def get(self, session: str, key: str) -> AsyncIterator[bytes]: ...
    async def usage(self, session: str) -> SessionUsage | None: ...


class LeftBehind(msgspec.Struct, frozen=True, kw_only=True):
    """What the cells of a thread have left for a new session of it.

    has_run: there were cells, so there were variables. files: path below /mnt/data -> the file in its newest version,
    newest first.
    """

    has_run: bool = False
    files: dict[str, File] = {}


def left_behind(steps: Iterable[Step], made: Mapping[str, File], attached: Mapping[str, File]) -> LeftBehind:
    """steps: of the thread, oldest first. made: path -> the newest file that a cell made there and that still exists,
    oldest first. attached: name -> the file that a caller has put there.

    A path whose last version was deleted, by a cell or by a caller through the Files API, stays empty; one that a
    caller has put a newer file to is the caller's.
    """
    has_run, last_written = False, dict[str, str]()
    for step in steps:
        for call in step.tool_calls:
            if not isinstance(call, CodeInterpreterCall):
                continue
            has_run |= call.is_done or not step.is_open
            last_written.update(dict.fromkeys(call.code_interpreter.written, call.id))
            for path in call.code_interpreter.removed:
                last_written.pop(path, None)
    files = {
        path: file
        for path, file in reversed(list(made.items()))
        if file.origin
        and last_written.get(path) == file.origin.call_id
        and not (path in attached and attached[path].created_at > file.created_at)
    }
    return LeftBehind(has_run=has_run, files=files)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is done, the files it made (their bytes are stored, their rows are not yet), and what its session has
    used."""

    call: CodeInterpreterCall
    files: tuple[File, ...] = ()
    usage: SessionUsage | None = None


class CodeInterpreterTool:
    """Runs calls in the sandbox and brings back what they made."""

    def __init__(self, sandbox: Sandbox, blobs: Blobs, clock: Clock, *, ready: Callable[[], Awaitable[object]]) -> None:
        """`ready` returns once the sandbox has been started."""
        self._sandbox = sandbox
        self._ready = ready
        self._blobs = blobs
        self._clock = clock

    async def run(
        self,
        call: CodeInterpreterCall,
        *,
        thread_id: str,
        run_id: str,
        files: Mapping[str, str],
        left_behind: Callable[[], Awaitable[LeftBehind]],
        surface: Surface,
        on_output: Callable[[str], None],
    ) -> Outcome:
        """Run a call in the thread's session. `files`: file id -> name below /mnt/data of all that must stand there;
        `left_behind` is asked where the session is new. What `on_output` is given begins the call's logs.

        Safe to repeat with the same call after a crash: the sandbox answers a call id it has run from memory.
        """
        printed: list[str] = []
        usage: SessionUsage | None = None

        def hear(piece: str) -> None:
            printed.append(piece)
            on_output(piece)

        try:
            await self._ready()
            preface = await self._prepare(thread_id, files, left_behind)
            result = await self._sandbox.execute(
                thread_id, call.id, call.code_interpreter.input, on_output=hear, preface=preface
            )
            usage = result.usage
            crashpoints.reach("cell executed")
            images: list[File] = []
            made: list[File] = []
            lines = [result.logs]
            removed = list(result.removed)
            for output in (*result.images, *result.files):
                path = output.name if output in result.files else None
                try:
                    file = await self._keep(output, path, call, thread_id, run_id, surface)
                except (Unavailable, TooLarge) as error:
                    lines.append(f"Note: {output.name} could not be kept: {error.message}\n")
                    removed += [path] if path else []  # what is kept of an earlier one is not what stands there
                else:
                    (images if path is None else made).append(file)
        except SandboxUnavailable as error:
            off = f"The code interpreter is not available on this server. {error.message}"
            return _done(call, _lines("".join(printed), off))
        except SessionLost:
            lost = (
                "The code interpreter's session was lost while this code ran. All variables were reset; "
                "run again what is needed."
            )
            return _done(call, _lines("".join(printed), lost), usage=usage)
        return _done(call, _lines(*lines), tuple(images), tuple(made), tuple(removed), usage)

    async def usage(self, thread_id: str) -> SessionUsage | None:
        """What the thread's session has used so far, with a call that nobody waits for any more."""
        return await self._sandbox.usage(thread_id)

    async def _prepare(
        self, thread_id: str, files: Mapping[str, str], left_behind: Callable[[], Awaitable[LeftBehind]]
    ) -> str:
        """Open the session and put what it lacks; returns what there is to say of that. A file that cannot be put is
        named, and the code runs without it."""
        present = await self._sandbox.open(thread_id)
        left = LeftBehind()
        if present.fresh and (left := await left_behind()).has_run:
            await self._sandbox.open(thread_id, lost=True)
        notes = []
        for file_id, name in files.items():
            if present.files.get(name) != file_id:
                content = left.files[name].id if name in left.files else file_id  # a cell has changed it
                if problem := await self._put(thread_id, name, file_id, content):
                    notes.append(f"Note: the file {name} is not in /mnt/data: {problem.message}\n")
        names = set(files.values())
        mine = [(path, file) for path, file in left.files.items() if path not in names]
        notes += await self._restore(thread_id, mine, present.files)
        return "".join(notes)

    async def _restore(self, thread_id: str, mine: list[tuple[str, File]], present: Mapping[str, str]) -> list[str]:
        """Give a new session what cells wrote in an earlier one, newest first; what does not fit is left out."""
        missing: list[str] = []
        why, too_large = f"only the newest {MOST_RESTORED} files are put back.", MAX_BYTES + 1
        for count, (path, file) in enumerate(mine):
            if count >= MOST_RESTORED or file.bytes >= too_large:
                missing.append(path)
            elif present.get(path) != file.id and (problem := await self._put(thread_id, path, file.id, file.id)):
                missing.append(path)
                why = problem.message
                if isinstance(problem, QuotaExceeded):
                    too_large = file.bytes
        notes = []
        if len(mine) > len(missing):
            notes.append("Note: the files of earlier calls are in /mnt/data again.\n")
        if missing:
            named = ", ".join(missing[:_MOST_NAMED])
            more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
            notes.append(f"Note: of the files of earlier calls, {named}{more} could not be put back: {why}\n")
        return notes

    async def _put(self, thread_id: str, name: str, tag: str, file_id: str) -> LocumError | None:
        """Put the content of a file; returns why that cannot be done."""
        try:
            await self._sandbox.put(thread_id, name, tag, await self._blobs.get(blob_key(file_id)))
        except (QuotaExceeded, NotWritable, NotFound) as problem:
            return problem
        return None

    async def _keep(
        self, output: Output, path: str | None, call: CodeInterpreterCall, thread_id: str, run_id: str, surface: Surface
    ) -> File:
        file_id = ids.new(id_prefix(surface))
        written = await self._blobs.put(
            blob_key(file_id), self._sandbox.get(thread_id, output.key), max_bytes=MAX_BYTES
        )
        return File(
            id=file_id,
            created_at=int(self._clock()),
            filename=output.name.rsplit("/", 1)[-1],
            purpose="assistants_output",
            bytes=written.bytes,
            sha256=written.sha256,
            origin=Origin(thread_id=thread_id, run_id=run_id, call_id=call.id, path=path),
        )


def _lines(*texts: str) -> str:
    """Texts, each on a line of its own."""
    joined = ""
    for text in texts:
        joined += f"\n{text}" if joined and text and not joined.endswith("\n") else text
    return joined


def _done(
    call: CodeInterpreterCall,
    logs: str,
    images: tuple[File, ...] = (),
    made: tuple[File, ...] = (),
    removed: tuple[str, ...] = (),
    usage: SessionUsage | None = None,
) -> Outcome:
    outputs: tuple[CodeOutput, ...] = (LogOutput(logs),) if logs else ()
    outputs += tuple(ImageOutput(Image(file.id)) for file in images)
    details = CodeInterpreterDetails(
        input=call.code_interpreter.input,
        outputs=outputs,
        written=tuple(file.origin.path for file in made if file.origin and file.origin.path),
        removed=removed,
    )
    return Outcome(call=CodeInterpreterCall(call.id, details), files=(*images, *made), usage=usage)


def result_for_model(call: CodeInterpreterCall) -> str:
    """What the model reads of a call that is done."""
    parts = []
    for output in call.code_interpreter.outputs or ():
        match output:
            case LogOutput(logs=logs):
                parts.append(logs.rstrip("\n"))
            case ImageOutput():
                parts.append("[An image was drawn; the user sees it above your answer.]")
    if written := call.code_interpreter.written:
        parts.append("[Files written: " + ", ".join(f"/mnt/data/{path}" for path in written) + "]")
    return "\n".join(parts) or "[The code ran and printed nothing.]"


def code_of(arguments: str) -> str:
    """The code in a call's arguments. Models that do not keep to the schema are met halfway: a JSON string, an object
    with one string of another name, or plain Python are taken as the code."""
    return _code_of(arguments).encode(errors="replace").decode()  # half a surrogate pair is no text


def _code_of(arguments: str) -> str:
    try:
        value = json.loads(arguments, strict=False)
    except (ValueError, RecursionError):
        return arguments
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        code = value.get("code")
        if isinstance(code, str):
            return code
        strings = [each for each in value.values() if isinstance(each, str)]
        if len(strings) == 1:
            return strings[0]
    return arguments


_OPENING = re.compile(r'\s*\{\s*"code"\s*:\s*"')
_SAFE = re.compile(
    r'(?:[^"\\]|\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))*'
)


class CodeReader:
    """Reads the code out of arguments that are still being written, so that it can be shown as it comes."""

    def __init__(self) -> None:
        self._raw = ""
        self._position: int | None = None

    def feed(self, fragment: str) -> str:
        """The next piece of code that is certain; "" when none is (yet)."""
        self._raw += fragment
        if self._position is None:
            opening = _OPENING.match(self._raw)
            if opening is None:
                return ""
            self._position = opening.end()
        match = _SAFE.match(self._raw, self._position)
        piece = match.group() if match else ""
        self._position += len(piece)
        return str(json.loads(f'"{piece}"', strict=False)).encode(errors="replace").decode() if piece else ""
