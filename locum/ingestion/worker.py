"""Ingestion worker: takes files of vector stores from their row, `in_progress`, to a search index.

A file's row is claimed with a lease, as runs are. Then its document is built (extracted, chunked, embedded; each only
where it has not been done before), put into the keyword index of the store, and the row says `completed`, in this
order. Every step can be repeated: after a crash a file goes on where it was, and nothing is doubled. Files that are
ready at about the same time share one commit of the index and one of the rows. A row is written only while it is
claimed by this worker: a file that was removed or cancelled meanwhile leaves derived data at most, which is
garbage-collected.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress

import structlog

from locum.clock import Clock
from locum.documents.types import Unit
from locum.domain.vector_stores import ErrorCode, FileError
from locum.errors import LocumError, Unavailable
from locum.ingestion.document_builder import DocumentBuilder
from locum.ingestion.extract.parser import Unreadable
from locum.ingestion.indexes import KeywordIndexes
from locum.ingestion.writes import ClaimFiles, CompleteFiles, FailFile, ReleaseFiles, RenewLeases
from locum.leases import LEASE_SECONDS, ROUND_SECONDS, Duty, LeaseLoop
from locum.models.chat import ModelError
from locum.store import vector_store_files as rows
from locum.store.database import Database
from locum.store.vector_store_files import Claim, Ingested

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 3
GATHER_SECONDS = 0.25
"""Longest wait of a ready file for others, while some are being built, to share its commit: a commit takes about as
long for one file as for fifty."""
_MOST_READY = 64
"""Most files that wait for a commit of their index; no further one is begun."""
_INTERNAL_ERROR = "An internal error occurred."
_CLAIMED_PER_SLOT = 2
"""Files claimed for each slot: several at a time, before their slots are free."""


def failure_message(error: LocumError, *, explain: bool) -> str:
    """Return a file's `last_error.message`, in the hosted API's words unless the caller may read more.

    explain: the caller is the owner, and may read addresses, folders and a model server's words.
    """
    if explain:
        return f"The file could not be ingested: {error.message}"
    return f"{_INTERNAL_ERROR} {error.reason}" if isinstance(error, ModelError) else _INTERNAL_ERROR


class _Ready:
    """A file whose document can be put into its store's index."""

    def __init__(self, claim: Claim, unit: Unit, size: int) -> None:
        self.claim = claim
        self.unit = unit
        self.size = size
        self.committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class IngestionWorker:
    """Ingests up to `slots` files at a time.

    changed: called with the id of a store when one of its files left `in_progress`. gather_seconds: longest wait of a
    ready file for others.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        changed: Callable[[str], None],
        builder: DocumentBuilder,
        indexes: KeywordIndexes,
        *,
        owner: str,
        slots: int,
        gather_seconds: float = GATHER_SECONDS,
        explain_errors: bool = False,
    ) -> None:
        self._db = db
        self._clock = clock
        self._changed = changed
        self._builder = builder
        self._indexes = indexes
        self._owner = owner
        self._slots = slots
        self._turns = asyncio.Semaphore(slots)
        self._gather_seconds = gather_seconds
        self._explain_errors = explain_errors
        self._held: dict[int, asyncio.Task[None]] = {}
        self._suspects: set[int] = set()  # of those, the ones that were in hand when a process died
        self._at_work: set[int] = set()  # of those, the ones that are not ready yet, or wait for a slot
        self._ready: defaultdict[tuple[str, str], list[_Ready]] = defaultdict(list)
        self._committing: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._moved = asyncio.Event()  # a file is ready, or done with
        self._woken = asyncio.Event()
        self._loop = LeaseLoop("ingestion worker", renew=self._renew, next_duties=self._next_duties)
        self.outcomes: Counter[str] = Counter()
        """Number of files per outcome since the start: `completed`, or the code of their error."""
        self.on_other_embedder: Callable[[], None] = lambda: None
        """Called when a store got a file while it is searched by another embedder's vectors."""

    def start(self) -> None:
        """Start claiming, first of all the files of an earlier process."""
        self._loop.start(self._claim)

    async def stop(self) -> None:
        """Stop claiming and release all claims: the next worker takes them up."""
        if not await self._loop.stop():
            return
        tasks = [*self._held.values(), *self._committing.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        with suppress(Unavailable):
            await self._db.write(ReleaseFiles(worker=self._owner))

    def wake(self) -> None:
        """Look for files to claim."""
        self._woken.set()

    @property
    def is_healthy(self) -> bool:
        """Return whether the loop runs and has read the rows lately."""
        return self._loop.is_healthy

    # ---- the loop

    async def _next_duties(self) -> list[Duty]:
        with suppress(TimeoutError):
            async with asyncio.timeout(ROUND_SECONDS):
                await self._woken.wait()
        self._woken.clear()
        return [self._claim]

    async def _claim(self) -> None:
        if len(self._at_work) > self._slots or self._suspects:
            return  # some wait for a slot already, or a suspect must be alone
        free = min(_CLAIMED_PER_SLOT * self._slots - len(self._at_work), _MOST_READY - len(self._held))
        now, held = self._clock(), tuple(self._held)
        # A look costs a read, only what is there to be claimed costs a write.
        if free <= 0 or not await self._db.read(lambda conn: rows.any_claimable(conn, self._owner, now=now, but=held)):
            return
        claims = await self._db.write(
            ClaimFiles(worker=self._owner, now=now, until=now + LEASE_SECONDS, limit=free, but=held)
        )
        for claim in claims:
            self._at_work.add(claim.seq)
            if claim.attempts > 1:
                self._suspects.add(claim.seq)
            task = asyncio.create_task(self._ingest(claim), name=claim.file.id)
            self._held[claim.seq] = task
            task.add_done_callback(lambda _, claim=claim: self._finished(claim))  # type: ignore[misc]

    def _finished(self, claim: Claim) -> None:
        del self._held[claim.seq]
        self._suspects.discard(claim.seq)
        self._leaves_work(claim)
        self._changed(claim.file.vector_store_id)

    def _leaves_work(self, claim: Claim) -> None:
        self._at_work.discard(claim.seq)
        self._moved.set()
        self._woken.set()  # another one can be begun

    async def _renew(self) -> None:
        """Renew the leases; drop files whose lease was lost."""
        held = dict(self._held)
        if not held:
            return
        until = self._clock() + LEASE_SECONDS
        renewed = await self._db.write(RenewLeases(worker=self._owner, rows=tuple(held), until=until))
        for seq in held.keys() - renewed:
            held[seq].cancel()

    # ---- one file

    async def _ingest(self, claim: Claim) -> None:
        """Ingest a claimed file and write its outcome. Raises nothing."""
        try:
            await self._ingest_or_raise(claim)
        except Unreadable as error:
            await self._fail(claim, error.code, error.message)
        except Unavailable as error:  # the database, or the disk: not the file's fault
            log.warning(
                "a file waits: its database or disk is unavailable", file_id=claim.file.id, reason=error.message
            )
            await self._give_back(claim, keep_attempts=False)
        except LocumError as error:
            message = failure_message(error, explain=self._explain_errors)
            await self._fail(claim, "server_error", message, reason=error.message)
        except Exception:
            log.exception("a file could not be ingested", file_id=claim.file.id, attempt=claim.attempts)
            await self._give_back(claim, keep_attempts=True)

    async def _ingest_or_raise(self, claim: Claim) -> None:
        if claim.attempts > MAX_ATTEMPTS:
            raise Unreadable(
                "server_error",
                f"The file could not be ingested in {MAX_ATTEMPTS} attempts: each time the server, or a part of it, "
                "failed while it was at work on it. Its log may say how.",
            )
        file = claim.file
        async with self._turns:
            unit, size = await self._builder.build(claim.resource, file.id, file.chunking)
        self._leaves_work(claim)
        at, ready = (claim.resource, file.vector_store_id), _Ready(claim, unit, size)
        self._ready[at].append(ready)
        if at not in self._committing:
            self._committing[at] = asyncio.create_task(self._commit_all(at))
        await ready.committed

    async def _commit_all(self, at: tuple[str, str]) -> None:
        """Commit ready files of a store to its index and rows, batch by batch, until none is left."""
        try:
            while self._ready.get(at):
                await self._gather()
                await self._commit_and_settle(at, self._ready.pop(at))
        finally:
            del self._committing[at]

    async def _commit_and_settle(self, at: tuple[str, str], batch: list[_Ready]) -> None:
        """Commit files together and settle each; on failure one by one: a file that the index rejects fails alone."""
        try:
            await self._commit(*at, batch)
        except Exception as failure:
            if len(batch) > 1 and not isinstance(failure, Unavailable):
                for ready in batch:
                    await self._commit_and_settle(at, [ready])
                return
            for ready in batch:
                if not ready.committed.done():  # its task still waits
                    ready.committed.set_exception(failure)
        else:
            for ready in batch:
                if not ready.committed.done():
                    ready.committed.set_result(None)

    async def _gather(self) -> None:
        """Wait until all files being built are ready, or the time is over, or no further file is begun."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._gather_seconds):
                while self._at_work and len(self._held) < _MOST_READY:
                    self._moved.clear()
                    await self._moved.wait()

    async def _commit(self, resource: str, store_id: str, batch: list[_Ready]) -> None:
        async with self._indexes.held(store_id):
            await self._indexes.put(store_id, {ready.unit for ready in batch})
            ingested = [
                Ingested(claim=ready.claim, document=ready.unit.document, usage_bytes=ready.size) for ready in batch
            ]
            result = await self._db.write(
                CompleteFiles(
                    worker=self._owner,
                    resource=resource,
                    store_id=store_id,
                    ingested=ingested,
                    embedder=self._builder.embedder,
                )
            )
        self.outcomes["completed"] += result.count
        if result.is_other:
            self.on_other_embedder()

    async def _fail(self, claim: Claim, code: ErrorCode, message: str, *, reason: str | None = None) -> None:
        """Write the error that callers read. reason: for the log, where it may say more than the message."""
        error = FileError(code=code, message=message)
        with suppress(Unavailable):  # its lease runs out, and it is tried again
            if await self._db.write(FailFile(worker=self._owner, claim=claim, error=error)):
                self.outcomes[code] += 1
                log.info("a file could not be ingested", file_id=claim.file.id, code=code, reason=reason or message)

    async def _give_back(self, claim: Claim, *, keep_attempts: bool) -> None:
        with suppress(Unavailable):
            await self._db.write(ReleaseFiles(worker=self._owner, rows=(claim.seq,), keep_attempts=keep_attempts))
