"""The process that ingests files, as the server sees it: what the two say to each other, and how it is kept running.

A server answers requests with one interpreter: whatever else that does, requests wait for. So the pipeline and all that
it needs (`locum.ingestion` puts it together) are in a process of their own, which alone writes what is derived from
files. The server keeps what is not to be lost: with SQLite it alone writes the rows, and carries out what that process
wants written (`store/ingestion.py`). On PostgreSQL the process writes them itself.

Covered: it starts when there is a store, and again when it has died or hangs; it takes up what was in hand, as after a
crash of the server; it dies with the server. Not covered: it has the server's rights and secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections import Counter

import msgspec
import structlog

from locum.errors import StorageFull, Unavailable
from locum.search import derived, processes
from locum.signals.local import LocalSignals
from locum.signals.waiting import until
from locum.store import vector_store_files as rows
from locum.store import vector_stores as stores
from locum.store.database import Database, Reader
from locum.store.ingestion import Write

log = structlog.get_logger(__name__)

MODULE = "locum.ingestion"
ALIVE_SECONDS = 1.0
_UNWELL_SECONDS = 30.0
"""Then the server is not ready any more."""
_HUNG_SECONDS = 120.0
"""It speaks once a second, and no step of a file keeps its interpreter for long."""
_LOOK_SECONDS = 2.0
_AGAIN_SECONDS = 1.0
_STOP_SECONDS = 5.0
_COVER_SECONDS = 5.0


# ---- what the server says


class Begin(msgspec.Struct, frozen=True, tag=True):
    """The first message. settings: as JSON; owner: whose hands the files are in; keyless: nobody but this machine's own
    user gets in."""

    settings: bytes
    owner: str
    keyless: bool


class Wake(msgspec.Struct, frozen=True, tag=True):
    """There may be a file to claim."""


class Rebuild(msgspec.Struct, frozen=True, tag=True):
    """The keyword index of the store is missing or spoiled."""

    resource: str
    store_id: str


class Cover(msgspec.Struct, frozen=True, tag=True):
    """Have what other servers have ingested in the store's keyword index; answered with Covered."""

    number: int
    resource: str
    store_id: str


class Written(msgspec.Struct, frozen=True, tag=True):
    """What a Want gave: as msgpack."""

    number: int
    result: bytes


class Refused(msgspec.Struct, frozen=True, tag=True):
    """A Want that could not be carried out. error: its class."""

    number: int
    error: str
    message: str


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Give back what is in hand, and end."""


# ---- what the process says


class Alive(msgspec.Struct, frozen=True, tag=True):
    """Once a second. is_well: files that wait are looked for, and can be."""

    is_well: bool


class Want(msgspec.Struct, frozen=True, tag=True):
    """Carry this out in the rows."""

    number: int
    write: Write


class Moved(msgspec.Struct, frozen=True, tag=True):
    """Files of these stores are not being ingested any more. outcomes: what became of how many since the last time."""

    stores: list[str]
    outcomes: dict[str, int]


class Covered(msgspec.Struct, frozen=True, tag=True):
    asked: Cover


ToProcess = Begin | Wake | Rebuild | Cover | Written | Refused | Stop
ToServer = Alive | Want | Moved | Covered

encode = msgspec.msgpack.Encoder().encode
to_process: msgspec.msgpack.Decoder[ToProcess] = msgspec.msgpack.Decoder(ToProcess)
_to_server: msgspec.msgpack.Decoder[ToServer] = msgspec.msgpack.Decoder(ToServer)


class Ingester:
    """The process, from the first store on until `stop`. is_shared: other servers are on this database. hung_seconds:
    of silence, after which another one is started.

    outcomes: how many files became what since the start: `completed`, or the code of their error.
    """

    def __init__(
        self,
        db: Database,
        data: Reader,
        signals: LocalSignals,
        begin: Begin,
        *,
        is_shared: bool = False,
        module: str = MODULE,
        hung_seconds: float = _HUNG_SECONDS,
    ) -> None:
        self._db = db
        self._data = data
        self._signals = signals
        self._begin = begin
        self._is_shared = is_shared
        self._module = module
        self._hung_seconds = hung_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = itertools.count()
        self._covering: dict[Cover, asyncio.Event] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._is_stopping = False
        self._running: asyncio.Task[None] | None = None
        self._well_at: float | None = None  # None while it is not needed
        self.outcomes: Counter[str] = Counter()

    def start(self) -> None:
        """Have it run as soon as there is something for it."""
        self._running = asyncio.create_task(self._run_forever(), name="ingestion")

    async def stop(self) -> None:
        """Let it give back what is in hand, and end it."""
        self._is_stopping = True
        self._woken.set()
        self._say(Stop())
        if self._running is None:
            return
        await asyncio.wait([self._running], timeout=_STOP_SECONDS)
        self._kill()
        self._running.cancel()
        await asyncio.wait([self._running])

    def wake(self) -> None:
        """There may be files to ingest."""
        self._woken.set()
        self._say(Wake())

    async def settled(self, resource: str, store_id: str, *, timeout: float) -> bool:  # noqa: ASYNC109
        """Whether no file of the store is being ingested any more; waits for that at most `timeout` seconds."""

        return await settled(self._db, self._signals, resource, store_id, seconds=timeout)

    def damaged(self, resource: str, store_id: str) -> None:
        """The keyword index of the store is missing or spoiled. Said in vain where there is no process (yet): each
        search says it again."""
        self._say(Rebuild(resource, store_id))

    async def cover(self, resource: str, store_id: str) -> None:
        """Have what other servers have ingested in the index here, or go on with that when it takes too long for who
        wants to search."""
        if not self._is_shared:
            return
        asked, covered = Cover(next(self._numbers), resource, store_id), asyncio.Event()
        self._covering[asked] = covered
        self._woken.set()
        self._say(asked)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(covered.wait(), _COVER_SECONDS)
        finally:
            del self._covering[asked]

    @property
    def is_healthy(self) -> bool:
        """It is not needed, or has said lately that it is well."""
        if self._running is None or self._running.done():
            return False
        return self._well_at is None or asyncio.get_running_loop().time() - self._well_at < _UNWELL_SECONDS

    @property
    def pid(self) -> int | None:
        """Of the process, where there is one."""
        return self._process.pid if self._process is not None else None

    # ---- from its first to its last

    async def _run_forever(self) -> None:
        await self._until_needed()
        self._well_at = asyncio.get_running_loop().time()
        while not self._is_stopping:
            try:
                await self._run()
            except Exception:
                log.exception("the process that ingests files could not be kept running")
            if not self._is_stopping:
                log.warning("the process that ingests files has ended: another one takes up its files")
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _until_needed(self) -> None:
        while not self._is_stopping and not await self._is_needed():
            # Who shares the database may be all that is left of those who were to ingest a file.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS if self._is_shared else None):
                    await self._woken.wait()
            self._woken.clear()

    async def _is_needed(self) -> bool:
        """There is a store, which will want files, or something derived that may be superfluous."""
        try:
            return await self._db.read(stores.is_any) or not await self._data.read(derived.is_empty)
        except Exception:  # whatever it was this time
            log.exception("cannot look for files to ingest")
            await asyncio.sleep(_AGAIN_SECONDS)
            self._woken.set()
            return False

    async def _run(self) -> None:
        """From its start until it ends."""
        process = await processes.start(self._module, env=os.environ)
        assert process.stdout is not None
        self._process = process
        try:
            self._say(self._begin)
            for asked in self._covering:
                self._say(asked)
            if self._is_stopping:
                self._say(Stop())
            while True:
                async with asyncio.timeout(self._hung_seconds):
                    message = await processes.hear(process.stdout)
                self._hear(process, _to_server.decode(message))
        except TimeoutError:
            log.error("the process that ingests files hangs", silent_seconds=self._hung_seconds)
        except (asyncio.IncompleteReadError, OSError):
            pass  # it has ended
        finally:
            self._kill()
            self._process = None
            await process.wait()

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _say(self, message: ToProcess) -> None:
        """Where there is somebody to hear it."""
        if self._process is not None:
            _say(self._process, message)

    def _hear(self, process: asyncio.subprocess.Process, message: ToServer) -> None:
        match message:
            case Alive(is_well):
                if is_well:
                    self._well_at = asyncio.get_running_loop().time()
            case Want():
                writing = asyncio.create_task(self._carry_out(process, message))
                self._writing.add(writing)
                writing.add_done_callback(self._writing.discard)
            case Moved():
                self.outcomes.update(message.outcomes)
                for store_id in message.stores:
                    self._signals.changed(store_id)
            case Covered():
                if (covered := self._covering.get(message.asked)) is not None:
                    covered.set()

    async def _carry_out(self, process: asyncio.subprocess.Process, want: Want) -> None:
        """Tells the one that asked: another one has numbers of its own."""
        try:
            result: object = await self._db.write(want.write)
        except Exception as error:  # the border of a call
            message = error.message if isinstance(error, Unavailable) else repr(error)
            _say(process, Refused(want.number, type(error).__name__, message))
        else:
            _say(process, Written(want.number, encode(result)))


def _say(process: asyncio.subprocess.Process, message: ToProcess) -> None:
    if process.stdin is not None and not process.stdin.is_closing():
        processes.say(process.stdin, encode(message))


async def settled(db: Reader, signals: LocalSignals, resource: str, store_id: str, *, seconds: float) -> bool:
    """Whether no file of the store is being ingested any more; waits for that at most so long."""

    async def look() -> bool:
        return await db.read(lambda conn: rows.is_settled(conn, resource, store_id))

    return await until(signals, store_id, look, bool, seconds=seconds)


def refusal(refused: Refused) -> Exception:
    """The error that a write met, for who asked for it."""
    for kind in (Unavailable, StorageFull):
        if refused.error == kind.__name__:
            return kind(refused.message)
    return RuntimeError(f"{refused.error}: {refused.message}")
