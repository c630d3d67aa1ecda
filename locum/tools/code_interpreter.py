"""The code interpreter: Python cells in the thread's session.

Offered to the model as a function with one string parameter, `code`. A cell that fails is a result like any other: the
model reads the traceback and tries again.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from locum import crashpoints, ids
from locum.blobs.base import Blobs
from locum.clock import Clock
from locum.domain.files import MAX_BYTES, File, Origin, Surface, blob_key, id_prefix
from locum.domain.steps import CodeInterpreter as CodeInterpreterDetails
from locum.domain.steps import CodeInterpreterCall, CodeOutput, Image, ImageOutput, LogOutput
from locum.domain.usage import SessionUsage
from locum.errors import NotFound, TooLarge, Unavailable
from locum.models.chat import ToolDefinition
from locum.sandbox.session import CellResult, Opened, Output, QuotaExceeded, SandboxUnavailable, SessionLost

NAME = "code_interpreter"
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


class Sandbox(Protocol):
    """The part of the sandbox's client that is used here."""

    async def open(self, session: str) -> Opened: ...
    async def put(self, session: str, name: str, tag: str, chunks: AsyncIterator[bytes]) -> None: ...
    async def execute(self, session: str, call_id: str, code: str) -> CellResult: ...
    def get(self, session: str, key: str) -> AsyncIterator[bytes]: ...
    async def usage(self, session: str) -> SessionUsage | None: ...


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
        self, call: CodeInterpreterCall, *, thread_id: str, run_id: str, files: Mapping[str, str], surface: Surface
    ) -> Outcome:
        """Run a call in the thread's session. `files`: file id -> name below /mnt/data of all that must stand there.

        Safe to repeat with the same call after a crash: the sandbox answers a call id it has run from memory.
        """
        usage: SessionUsage | None = None
        try:
            await self._ready()
            notes = await self._place_files(thread_id, files)
            result = await self._sandbox.execute(thread_id, call.id, call.code_interpreter.input)
            usage = result.usage
            crashpoints.reach("cell executed")
            images: list[File] = []
            made: list[File] = []
            for output in (*result.images, *result.files):
                path = output.name if output in result.files else None
                try:
                    file = await self._keep(output, path, call, thread_id, run_id, surface)
                except (Unavailable, TooLarge) as error:
                    notes.append(f"Note: {output.name} could not be kept: {error.message}\n")
                else:
                    (images if path is None else made).append(file)
        except SandboxUnavailable as error:
            return _done(call, f"The code interpreter is not available on this server. {error.message}")
        except SessionLost:
            return _done(
                call,
                "The code interpreter's session was lost while this code ran. All variables were reset; "
                "run again what is needed.",
                usage=usage,
            )
        reset = "Note: this session is new, variables of earlier calls are gone.\n" if result.reset else ""
        return _done(call, "".join(notes) + reset + result.logs, tuple(images), tuple(made), usage)

    async def usage(self, thread_id: str) -> SessionUsage | None:
        """What the thread's session has used so far, with a call that nobody waits for any more."""
        return await self._sandbox.usage(thread_id)

    async def _place_files(self, thread_id: str, files: Mapping[str, str]) -> list[str]:
        """Put what the session lacks; a file that cannot be put is said, and the code runs without it."""
        present = (await self._sandbox.open(thread_id)).files
        notes = []
        for file_id, name in files.items():
            if present.get(name) == file_id:
                continue
            try:
                await self._sandbox.put(thread_id, name, file_id, await self._blobs.get(blob_key(file_id)))
            except (QuotaExceeded, NotFound) as error:
                notes.append(f"Note: the file {name} is not in /mnt/data: {error.message}\n")
        return notes

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


def _done(
    call: CodeInterpreterCall,
    logs: str,
    images: tuple[File, ...] = (),
    made: tuple[File, ...] = (),
    usage: SessionUsage | None = None,
) -> Outcome:
    outputs: tuple[CodeOutput, ...] = (LogOutput(logs),) if logs else ()
    outputs += tuple(ImageOutput(Image(file.id)) for file in images)
    details = CodeInterpreterDetails(
        input=call.code_interpreter.input,
        outputs=outputs,
        written=tuple(file.origin.path for file in made if file.origin and file.origin.path),
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
