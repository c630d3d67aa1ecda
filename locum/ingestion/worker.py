"""The worker of this process: takes the files that stores are given to where searches find them.

A file's row is claimed with a lease, as runs are; then its document is made (read, cut, embedded; each only where it
has not been made before), its unit put into the keyword index of the store, and the row says `completed`, in this
order. Every step can be taken again: after a crash the file goes on where it was, and nothing is there twice. Files
that are ready together, or nearly so, share one commit of the index and one of the rows. What becomes of a row is
written only while it is this worker's: of a file that was removed or cancelled meanwhile nothing is left but derived
data, which is swept in time.
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
from locum.store import vector_store_files as rows
from locum.store.database import Database
from locum.store.vector_store_files import Claim, Ingested

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 3
GATHER_SECONDS = 0.25
"""How long a file that is ready waits, while others are at work, for those to share its commit: a commit takes about as
long for one file as for fifty."""
_MOST_READY = 64
"""Files that wait for a commit of their index; more are not begun."""
_CLAIMED_PER_SLOT = 2
"""Files are claimed several at a time, before their slots are free."""


class _Ready:
    """A file whose unit can be put into its store's index."""

    def __init__(self, claim: Claim, unit: Unit, size: int) -> None:
        self.claim = claim
        self.unit = unit
        self.size = size
        self.committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class IngestionWorker:
    """Ingests up to `slots` files at a time. changed: told the id of a store, a file of which is not being ingested any
    more. gather_seconds: the most that a file that is ready waits for others."""

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
        self._held: dict[int, asyncio.Task[None]] = {}
        self._suspects: set[int] = set()  # of those, the ones that were in hand when a process died
        self._at_work: set[int] = set()  # of those, the ones that are not ready yet, or wait for a slot
        self._ready: defaultdict[tuple[str, str], list[_Ready]] = defaultdict(list)
        self._committing: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._moved = asyncio.Event()  # a file is ready, or done with
        self._woken = asyncio.Event()
        self._loop = LeaseLoop("ingestion worker", renew=self._renew, next_duties=self._next_duties)
        self.outcomes: Counter[str] = Counter()
        """How many files became what since the start: `completed`, or the code of their error."""
        self.on_other_embedder: Callable[[], None] = lambda: None
        """Called when a store got a file while it is searched by other vectors than these files get."""

    def start(self) -> None:
        """Begin to claim, first of all what an earlier process had in hand."""
        self._woken.set()
        self._loop.start()

    async def stop(self) -> None:
        """Claim nothing more and give back what is in hand: it is taken up again at the next start."""
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
        """There may be a file to claim."""
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
            return  # some wait for a slot already, or one is to be alone
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
        """Keep the leases; let go of files that are no longer ours to ingest."""
        held = dict(self._held)
        if not held:
            return
        until = self._clock() + LEASE_SECONDS
        renewed = await self._db.write(RenewLeases(worker=self._owner, rows=tuple(held), until=until))
        for seq in held.keys() - renewed:
            held[seq].cancel()

    # ---- one file

    async def _ingest(self, claim: Claim) -> None:
        """From a claim to what becomes of it. Raises nothing."""
        try:
            await self._ingest_or_raise(claim)
        except Unreadable as error:
            await self._fail(claim, error.code, error.message)
        except Unavailable as error:  # the database, or the disk: not the file's fault
            log.warning("a file has to wait", file_id=claim.file.id, reason=error.message)
            await self._give_back(claim, keep_attempts=False)
        except LocumError as error:
            await self._fail(claim, "server_error", f"The file could not be ingested: {error.message}")
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
            unit, size = await self._builder.make(claim.resource, file.id, file.chunking)
        self._leaves_work(claim)
        at, ready = (claim.resource, file.vector_store_id), _Ready(claim, unit, size)
        self._ready[at].append(ready)
        if at not in self._committing:
            self._committing[at] = asyncio.create_task(self._commit_all(at))
        await ready.committed

    async def _commit_all(self, at: tuple[str, str]) -> None:
        """Put what is ready into the store's index and say so in the rows, until nothing is ready any more."""
        try:
            while self._ready.get(at):
                await self._gather()
                await self._commit_or_tell(at, self._ready.pop(at))
        finally:
            del self._committing[at]

    async def _commit_or_tell(self, at: tuple[str, str], batch: list[_Ready]) -> None:
        """Commit files together and tell each of them; where that fails, one by one, so that a file which the index
        cannot take fails alone."""
        try:
            await self._commit(*at, batch)
        except Exception as failure:
            if len(batch) > 1 and not isinstance(failure, Unavailable):
                for each in batch:
                    await self._commit_or_tell(at, [each])
                return
            for each in batch:
                if not each.committed.done():  # somebody still waits for it
                    each.committed.set_exception(failure)
        else:
            for each in batch:
                if not each.committed.done():
                    each.committed.set_result(None)

    async def _gather(self) -> None:
        """Until all that is at work is ready, or that takes too long, or nothing more is begun before a commit."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._gather_seconds):
                while self._at_work and len(self._held) < _MOST_READY:
                    self._moved.clear()
                    await self._moved.wait()

    async def _commit(self, resource: str, store_id: str, batch: list[_Ready]) -> None:
        async with self._indexes.held(store_id):
            await self._indexes.put(store_id, {each.unit for each in batch})
            ingested = [
                Ingested(claim=each.claim, document=each.unit.document, usage_bytes=each.size) for each in batch
            ]
            done = await self._db.write(
                CompleteFiles(
                    worker=self._owner,
                    resource=resource,
                    store_id=store_id,
                    ingested=ingested,
                    embedder=self._builder.embedder,
                )
            )
        self.outcomes["completed"] += done.count
        if done.is_other:
            self.on_other_embedder()

    async def _fail(self, claim: Claim, code: ErrorCode, message: str) -> None:
        error = FileError(code=code, message=message)
        with suppress(Unavailable):  # its lease runs out, and it is tried again
            if await self._db.write(FailFile(worker=self._owner, claim=claim, error=error)):
                self.outcomes[code] += 1
                log.info("a file cannot be searched", file_id=claim.file.id, code=code, reason=message)

    async def _give_back(self, claim: Claim, *, keep_attempts: bool) -> None:
        with suppress(Unavailable):
            await self._db.write(ReleaseFiles(worker=self._owner, rows=(claim.seq,), keep_attempts=keep_attempts))
