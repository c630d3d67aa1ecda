"""This process's worker of runs: claims them, keeps their leases, ends those whose time is over.

One loop (`leases.py`), woken by signals and otherwise once a second: it renews, then it ends, then it claims.
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import Connection

from locum.blobs.base import Blobs
from locum.clock import Clock
from locum.domain.events import Done, Event
from locum.domain.image_urls import PUBLIC, ImageURLs
from locum.domain.runs import Run
from locum.engine.ending import Ending, end_run
from locum.engine.execution import Execution
from locum.engine.recorder import Recorder
from locum.errors import Unavailable
from locum.leases import LEASE_SECONDS, ROUND_SECONDS, Duty, LeaseLoop
from locum.models.routes import Routes
from locum.signals.base import Signals
from locum.store import runs as store
from locum.store.database import Database
from locum.store.runs import Claim
from locum.streams.hub import Streams
from locum.tools.hosted import HostedTools

log = structlog.get_logger(__name__)


class _Held:
    """A run in this worker's hands."""

    def __init__(self, claim: Claim, execution: Execution) -> None:
        self.claim = claim
        self.execution = execution
        self.task = asyncio.get_running_loop().create_task(execution.go(), name=claim.run_id)


class Worker:
    """Works on up to `slots` runs at a time."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        signals: Signals,
        streams: Streams,
        routes: Routes,
        tools: HostedTools,
        blobs: Blobs,
        *,
        owner: str,
        slots: int,
        image_urls: ImageURLs = PUBLIC,
        explain_errors: bool = False,
    ) -> None:
        """explain_errors: callers may read model servers' addresses and words."""
        self._db = db
        self._clock = clock
        self._signals = signals
        self._streams = streams
        self._routes = routes
        self._tools = tools
        self._blobs = blobs
        self._owner = owner
        self._slots = slots
        self._image_urls = image_urls
        self._explain_errors = explain_errors
        self._held: dict[str, _Held] = {}
        self._loop = LeaseLoop("run worker", renew=self._renew, next_duties=self._next_duties)
        self._last_sweep = 0.0

    def start(self) -> None:
        """Start claiming, first of all the runs of an earlier process. Without any, a start writes nothing."""
        self._loop.start(self._sweep, self._look_and_claim)

    async def stop(self) -> None:
        """Claim nothing more and give back what is held: it is taken up where it stands."""
        await self._loop.stop()
        held = list(self._held.values())
        for each in held:
            each.execution.stop("shutdown")
        if held:
            await asyncio.wait([each.task for each in held], timeout=5)

    @property
    def is_healthy(self) -> bool:
        """Return whether the loop runs and has read the rows lately."""
        return self._loop.is_healthy

    async def _next_duties(self) -> list[Duty]:
        woken, cancels = await self._signals.wait_for_work(ROUND_SECONDS)
        for run_id in cancels & self._held.keys():
            self._held[run_id].execution.stop("cancelled")
        duties: list[Duty] = [self._claim if woken else self._look_and_claim]
        now = asyncio.get_running_loop().time()
        if cancels - self._held.keys() or now - self._last_sweep >= ROUND_SECONDS:
            duties.insert(0, self._sweep)
        return duties

    async def _look_and_claim(self) -> None:
        """Nobody called: a look costs a read, only what is there to be claimed costs a write."""
        now = self._clock()
        if await self._db.read(lambda conn: store.any_claimable(conn, self._owner, now=now)):
            await self._claim()

    async def _claim(self) -> None:
        free = self._slots - len(self._held)
        if free <= 0:
            return
        now = self._clock()
        held = tuple(self._held)
        claims = await self._db.write(
            lambda conn: store.claim(conn, self._owner, now=now, lease_until=now + LEASE_SECONDS, limit=free, but=held)
        )
        for claim in claims:
            recorder = Recorder(self._db, self._clock, self._signals, self._streams, claim)
            shared = (self._streams, self._routes, self._tools, self._blobs)
            execution = Execution(
                *(recorder, *shared), image_urls=self._image_urls, explain_errors=self._explain_errors
            )
            held_run = _Held(claim, execution)
            self._held[claim.run_id] = held_run
            held_run.task.add_done_callback(lambda _, run_id=claim.run_id: self._finished(run_id))  # type: ignore[misc]

    def _finished(self, run_id: str) -> None:
        was_full = len(self._held) >= self._slots
        del self._held[run_id]
        if was_full:
            self._signals.wake()

    async def _renew(self) -> None:
        """Keep the leases; let go of runs that are no longer ours, or are to be cancelled by a signal that was lost."""
        held = dict(self._held)
        if not held:
            return
        claims = [each.claim for each in held.values()]
        until = self._clock() + LEASE_SECONDS
        renewed = await self._db.write(lambda conn: store.renew(conn, claims, lease_until=until))
        for run_id, each in held.items():
            match renewed.get(run_id):
                case None:
                    each.execution.stop("lease lost")
                case "cancelling":
                    each.execution.stop("cancelled")

    async def _sweep(self) -> None:
        """End the runs whose time is over and those that were cancelled before anybody had them in hand."""
        self._last_sweep = asyncio.get_running_loop().time()
        now = self._clock()
        for resource, run in await self._db.read(lambda conn: store.to_end(conn, self._owner, now=now)):
            if run.id in self._held:
                self._held[run.id].execution.stop("cancelled" if run.status == "cancelling" else "expired")
                continue
            try:
                await self._end(resource, run)
            except Unavailable:
                raise  # the loop reports an outage once
            except Exception:
                log.exception("run could not be ended", run_id=run.id)

    async def _end(self, resource: str, run: Run) -> None:
        now = int(self._clock())

        def end(conn: Connection) -> tuple[Event, ...]:
            current = store.still_active(conn, resource, run.id)
            if current is None:
                return ()
            store.take_away(conn, resource, run.id)
            ending: Ending = "cancelled" if current.status == "cancelling" else "expired"
            return end_run(conn, resource, current, ending, now=now)

        events = await self._db.write(end)
        self._streams.publish(run.id, *events, Done())
        self._signals.changed(run.id)
