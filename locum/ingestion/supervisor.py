"""Server's side of ingestion: keeps the worker process running and executes its writes.

A server answers requests with one interpreter, and everything else that interpreter does delays them. So ingestion runs
in a process of its own (`process.py`), which alone writes derived data. With SQLite the server alone writes the rows
and executes the worker's writes (`writes.py`); on PostgreSQL the worker writes them itself.

Covered: the worker starts with the first store, and again after a crash or a hang; it takes over the claimed files, as
after a crash of the server; it exits with the server. Not covered: it has the server's rights and secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections import Counter

import structlog

from locum.documents import store as document_store
from locum.errors import Unavailable
from locum.framing import read_frame, write_frame
from locum.ingestion import child_process
from locum.ingestion.protocol import (
    Alive,
    Begin,
    Cover,
    Covered,
    ExecuteWrite,
    Finished,
    Rebuild,
    Stop,
    ToServer,
    ToWorker,
    Wake,
    WriteFailed,
    WriteResult,
    decode_to_server,
    encode,
)
from locum.signals.base import Signals
from locum.signals.waiting import until
from locum.store import vector_store_files as rows
from locum.store import vector_stores as stores
from locum.store.database import Database, Reader
from locum.tasks import TaskSet

log = structlog.get_logger(__name__)

_UNHEALTHY_SECONDS = 30.0
"""After so long without a healthy heartbeat the server is not ready."""
_HUNG_SECONDS = 120.0
"""The worker reports every second, and no step of a file holds its interpreter for long."""
_POLL_SECONDS = 2.0
_RETRY_SECONDS = 1.0
_STOP_SECONDS = 5.0
_COVER_SECONDS = 5.0


class Supervisor:
    """Runs the worker process from the first store on until `stop`.

    module: its `main` is run in the process. is_shared: other servers use this database. hung_seconds: of silence,
    after which the process is replaced.

    outcomes: number of files per outcome since the start: `completed`, or the code of their error.
    """

    def __init__(
        self,
        db: Database,
        data: Reader,
        signals: Signals,
        begin: Begin,
        *,
        module: str,
        is_shared: bool = False,
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
        self._writing = TaskSet()
        self._woken = asyncio.Event()
        self._is_stopping = False
        self._running: asyncio.Task[None] | None = None
        self._healthy_at: float | None = None  # None until the worker is needed
        self.outcomes: Counter[str] = Counter()

    def start(self) -> None:
        """Run the worker as soon as there is work for it."""
        self._running = asyncio.create_task(self._run_forever(), name="ingestion")

    async def stop(self) -> None:
        """Let the worker release its files, and end it."""
        self._is_stopping = True
        self._woken.set()
        self._send(Stop())
        if self._running is None:
            return
        await asyncio.wait([self._running], timeout=_STOP_SECONDS)
        self._kill()
        self._running.cancel()
        await asyncio.wait([self._running])

    def wake(self) -> None:
        """Look for files to ingest."""
        self._woken.set()
        self._send(Wake())

    async def wait_until_ingested(self, resource: str, store_id: str, *, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait at most `timeout` seconds until no file of the store is `in_progress`; return whether none is."""
        return await wait_until_ingested(self._db, self._signals, resource, store_id, seconds=timeout)

    def rebuild(self, resource: str, store_id: str) -> None:
        """Rebuild a missing or damaged keyword index. Lost where no worker runs (yet): every search repeats it."""
        self._send(Rebuild(resource, store_id))

    async def cover(self, resource: str, store_id: str) -> None:
        """Bring the store's index up to what other servers have ingested, or return when that takes too long."""
        if not self._is_shared:
            return
        request, covered = Cover(next(self._numbers), resource, store_id), asyncio.Event()
        self._covering[request] = covered
        self._woken.set()
        self._send(request)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(covered.wait(), _COVER_SECONDS)
        finally:
            del self._covering[request]

    @property
    def is_healthy(self) -> bool:
        """Return whether the worker is not needed yet, or has reported lately that it is healthy."""
        if self._running is None or self._running.done():
            return False
        return self._healthy_at is None or asyncio.get_running_loop().time() - self._healthy_at < _UNHEALTHY_SECONDS

    @property
    def pid(self) -> int | None:
        """The worker's process id, while it runs."""
        return self._process.pid if self._process is not None else None

    # ---- the process, from its start to its end

    async def _run_forever(self) -> None:
        await self._wait_until_needed()
        self._healthy_at = asyncio.get_running_loop().time()
        while not self._is_stopping:
            try:
                await self._run()
            except Exception:
                log.exception("the ingestion worker could not be kept running")
            if not self._is_stopping:
                log.warning("the ingestion worker has ended: another one takes over its files")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _wait_until_needed(self) -> None:
        while not self._is_stopping and not await self._is_needed():
            # On a shared database this server may be the last one left to ingest a file.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS if self._is_shared else None):
                    await self._woken.wait()
            self._woken.clear()

    async def _is_needed(self) -> bool:
        """Return whether there is a store, which will want files, or derived data, which may be unreferenced."""
        try:
            return await self._db.read(stores.is_any) or not await self._data.read(document_store.is_empty)
        except Exception as error:
            if not isinstance(error, Unavailable):  # the run worker reports a database that is away
                log.exception("cannot look for files to ingest")
            await asyncio.sleep(_RETRY_SECONDS)
            self._woken.set()
            return False

    async def _run(self) -> None:
        process = await child_process.spawn(self._module, env=os.environ)
        assert process.stdout is not None
        self._process = process
        try:
            self._send_first(process)
            while True:
                async with asyncio.timeout(self._hung_seconds):
                    _, payload = await read_frame(process.stdout)
                self._receive(process, decode_to_server(payload))
        except TimeoutError:
            log.error("the ingestion worker hangs and is replaced", silent_seconds=self._hung_seconds)
        except (asyncio.IncompleteReadError, OSError):
            pass  # it has ended
        finally:
            self._kill()
            self._process = None
            await process.wait()

    def _send_first(self, process: asyncio.subprocess.Process) -> None:
        _send(process, self._begin)
        for request in self._covering:
            _send(process, request)
        if self._is_stopping:
            _send(process, Stop())

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _send(self, message: ToWorker) -> None:
        """Send a message to the worker, if one runs."""
        if self._process is not None:
            _send(self._process, message)

    def _receive(self, process: asyncio.subprocess.Process, message: ToServer) -> None:
        match message:
            case Alive(is_healthy):
                if is_healthy:
                    self._healthy_at = asyncio.get_running_loop().time()
            case ExecuteWrite():
                self._writing.start(self._execute(process, message))
            case Finished():
                self.outcomes.update(message.outcomes)
                for store_id in message.stores:
                    self._signals.changed(store_id)
            case Covered():
                if (covered := self._covering.get(message.request)) is not None:
                    covered.set()

    async def _execute(self, process: asyncio.subprocess.Process, request: ExecuteWrite) -> None:
        """Execute a write and reply to the process that sent it: its successor numbers its own requests."""
        try:
            result: object = await self._db.write(request.write)
        except Exception as error:  # the border of a call
            message = error.message if isinstance(error, Unavailable) else repr(error)
            _send(process, WriteFailed(request.number, type(error).__name__, message))
        else:
            _send(process, WriteResult(request.number, encode(result)))


def _send(process: asyncio.subprocess.Process, message: ToWorker) -> None:
    if process.stdin is not None and not process.stdin.is_closing():
        write_frame(process.stdin, encode(message))


async def wait_until_ingested(db: Reader, signals: Signals, resource: str, store_id: str, *, seconds: float) -> bool:
    """Wait at most `seconds` until no file of the store is `in_progress`; return whether none is."""

    async def look() -> bool:
        return await db.read(lambda conn: rows.is_settled(conn, resource, store_id))

    return await until(signals, store_id, look, bool, seconds=seconds)
