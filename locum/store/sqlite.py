"""A database in one file: SQLite with one writer thread and group commit, and a few reader threads.

- Writes queue up for the one connection that writes and checkpoints. All that wait are committed together (each in its
  own savepoint, so that one's error rolls back only its own work): `synchronous=FULL` is paid once per batch. A write
  is acknowledged after the commit, never before.
- Reads run on connections that cannot write, each in a snapshot of its own.
- One server owns the data directory (`data_dir.py`), and one of its processes writes each database: SQLite before
  3.51.3 can corrupt a database when two connections write or checkpoint at once. The other one reads it
  (`SQLiteReader`). One owner is also what makes the leases of a dead process void at start.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection, event

from locum import crashpoints
from locum.errors import StartupError, StorageFull, Unavailable
from locum.store.migrations import upgrade

T = TypeVar("T")

log = structlog.get_logger(__name__)

_MAX_BATCH = 128
_READERS = 4
_CHECK_SECONDS = 5.0
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
RESTORE = (
    "Stop Locum, keep a copy of this file and of those beside it that end in -wal and -shm, and restore a backup. "
    "Without one, `sqlite3 locum.db .recover` prints what can still be read."
)
"""Remedy for rows."""
REBUILD = "All of it can be made again: remove the file."
"""Remedy for derived data."""


def sqlite_engine(path: Path, *, read_only: bool = False, durable: bool = True) -> sa.Engine:
    """An engine whose transactions begin the way Locum needs: writers take the lock at once. durable: what is committed
    outlives a power failure; else the last commits may be lost then, but no more than that."""
    engine = sa.create_engine(
        f"sqlite:///{path}",
        connect_args={"check_same_thread": False},
        poolclass=sa.pool.StaticPool,
        hide_parameters=True,
    )
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={'FULL' if durable else 'NORMAL'}",
            "busy_timeout=5000",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "cache_size=-16384",
            "journal_size_limit=67108864",
            *(("query_only=ON", "wal_autocheckpoint=0") if read_only else ("wal_autocheckpoint=1000",)),
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def check_integrity(connection: Connection, path: Path, *, seconds: float, remedy: str = RESTORE) -> None:
    """Raise StartupError for a damaged database. A check that takes longer than `seconds` ends without a result."""
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    is_late = threading.Event()

    def interrupt() -> None:
        is_late.set()
        driver.interrupt()

    began = time.monotonic()
    timer = threading.Timer(seconds, interrupt)
    timer.start()
    try:
        (result,) = driver.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if not is_late.is_set():
            raise unusable(path, error, remedy) from None
        result = "ok"
    finally:
        timer.cancel()
    if is_late.is_set():  # then even a result is none: pages that were not visited count as lost
        log.info("integrity check of the database stopped", path=str(path), seconds=round(time.monotonic() - began, 1))
    elif result != "ok":
        raise StartupError(f"The database {path} is damaged ({result.splitlines()[-1]}). {remedy}")


def unusable(path: Path, error: BaseException | None, remedy: str = RESTORE) -> StartupError:
    """Return the error of a start, with the remedy if the file is damaged and not just locked or out of reach."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and (code & 0xFF in _DAMAGED or code == sqlite3.SQLITE_IOERR_SHORT_READ):
        return StartupError(f"The database {path} is damaged ({error}). {remedy}")
    return StartupError(f"The database {path} cannot be used: {error}.")


def refuse_emptied(path: Path) -> None:
    """Raise StartupError for an emptied file in a used data directory, which SQLite would take for a new database."""
    if path.exists() and path.stat().st_size == 0 and path.with_name("node").exists():
        reason = "the file is empty, and this directory has been used"
        raise StartupError(f"The database {path} is damaged ({reason}). {RESTORE}")


_Job = tuple[Callable[[Connection], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]
_Answer = tuple[_Job, Any, BaseException | None]


class SQLiteReader:
    """The reading half of a database in one file, for a process that does not write it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._engines: list[sa.Engine] = []
        self._threads = ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="locum-read")

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, fn)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        for engine in self._engines:
            engine.dispose()

    def _read(self, fn: Callable[[Connection], T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            engine = sqlite_engine(self._path, read_only=True)
            self._engines.append(engine)
            connection = self._local.connection = engine.connect()
        with connection.begin():
            return fn(connection)


class SQLite:
    """A `Database` in one file. Opening it checks its integrity and brings it to the schema of this release: what
    `prepare` does."""

    def __init__(
        self,
        path: Path,
        prepare: Callable[[Connection], None] = upgrade,
        *,
        durable: bool = True,
        check_seconds: float = _CHECK_SECONDS,
        remedy: str = RESTORE,
    ) -> None:
        """check_seconds: longest duration of the integrity check, 0 for none. remedy: advice for a damaged file."""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer_engine = sqlite_engine(path, durable=durable)
        try:
            if check_seconds:
                with self._writer_engine.connect() as connection:
                    check_integrity(connection, path, seconds=check_seconds, remedy=remedy)
            with self._writer_engine.begin() as connection:
                prepare(connection)
        except sa.exc.DatabaseError as error:
            self._writer_engine.dispose()
            raise unusable(path, error.orig, remedy) from None
        except StartupError:
            self._writer_engine.dispose()
            raise
        self._closing = False
        self._reader = SQLiteReader(path)
        self._writer = threading.Thread(target=self._write_forever, name="locum-write", daemon=True)
        self._writer.start()

    async def write(self, fn: Callable[[Connection], T]) -> T:
        if self._closing:
            raise Unavailable("The server is stopping.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((fn, future, loop))
        # A caller that is cancelled must not make the commit's fate unknown to the next reader of the row: the
        # transaction runs to its end either way.
        return await asyncio.shield(future)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await self._reader.read(fn)

    async def close(self) -> None:
        self._closing = True
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        self._writer_engine.dispose()
        await self._reader.close()

    def _write_forever(self) -> None:
        with self._writer_engine.connect() as connection:
            while batch := self._next_batch():
                self._commit(connection, batch)

    def _next_batch(self) -> list[_Job]:
        """Everything that waits, at least one; empty when the database is to close."""
        job = self._jobs.get()
        batch: list[_Job] = []
        while job is not None:
            batch.append(job)
            if len(batch) == _MAX_BATCH:
                break
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
        else:
            self._jobs.put(None)  # seen while collecting: the next round ends
            return batch
        return batch

    def _commit(self, connection: Connection, batch: list[_Job]) -> None:
        """Run a batch and commit it; every job is answered, whatever happens."""
        answers = _run_alone(connection, batch[0]) if len(batch) == 1 else _run_together(connection, batch)
        if any(error is None for _, _, error in answers):
            crashpoints.reach("commit")
        for loop in {job[2] for job in batch}:
            mine = [answer for answer in answers if answer[0][2] is loop]
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, mine)


def _run_alone(connection: Connection, job: _Job) -> list[_Answer]:
    """One job needs no savepoint: the transaction is its own."""
    try:
        with connection.begin():
            result = job[0](connection)
            if not connection.connection.in_transaction:
                raise sa.exc.OperationalError("COMMIT", None, Exception("the transaction was undone"))
    except Exception as error:
        return [(job, None, _told(error))]
    return [(job, result, None)]


def _run_together(connection: Connection, batch: list[_Job]) -> list[_Answer]:
    try:
        with connection.begin():
            return [_try(connection, job) for job in batch]
    except Exception as error:  # the commit failed, or SQLite undid the whole transaction (disk full, I/O error)
        refused = _refusal(error)
        return [(job, None, refused) for job in batch]


def _try(connection: Connection, job: _Job) -> _Answer:
    """Run a job in a savepoint of its own: its error undoes only its own work."""
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.execute("SAVEPOINT job")  # the driver's own: SQLAlchemy's costs as much as the job
    try:
        result = job[0](connection)
    except Exception as error:
        if not driver.in_transaction:
            raise  # not only the savepoint is gone: what ran before it in this batch is, too
        driver.execute("ROLLBACK TO job")
        driver.execute("RELEASE job")
        return job, None, _told(error)
    driver.execute("RELEASE job")
    return job, result, None


def _told(error: Exception) -> Exception:
    """What a job's caller hears: its own error, or that the database is not well."""
    return _refusal(error) if isinstance(error, sa.exc.OperationalError) else error


def _refusal(error: Exception) -> Exception:
    reason = getattr(error, "orig", None) or error
    if "full" in str(reason):  # SQLite's words: database or disk is full
        return StorageFull("There is no room left on the disk. Nothing of this request was kept.")
    return Unavailable(f"The database could not write ({reason}). Nothing of this request was kept.")


def _resolve(answers: list[_Answer]) -> None:
    for (_, future, _), result, error in answers:
        if future.cancelled():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
