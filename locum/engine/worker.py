"""The worker of this process: claims runs, keeps their leases, ends those whose time is over.

One loop, woken by signals and otherwise once a second: claim what is free, renew what is held, expire what is due.
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import Connection

from locum.clock import Clock
from locum.domain.events import Done, Event
from locum.engine.execution import Execution
from locum.engine.recorder import Recorder, end_run
from locum.models.routes import Routes
from locum.signals.local import LocalSignals
from locum.store import runs as store
from locum.store.database import Database
from locum.store.runs import Claim
from locum.streams.hub import Streams
from locum.tools.code_interpreter import CodeInterpreterTool

log = structlog.get_logger(__name__)

LEASE_SECONDS = 10.0
SWEEP_SECONDS = 1.0


class Worker:
    """Runs up to `slots` runs at a time."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        signals: LocalSignals,
        streams: Streams,
        routes: Routes,
        code_interpreter: CodeInterpreterTool,
        *,
        owner: str,
        slots: int,
    ) -> None:
        self._db = db
        self._clock = clock
        self._signals = signals
        self._streams = streams
        self._routes = routes
        self._code_interpreter = code_interpreter
        self._owner = owner
        self._slots = slots
        self._working: dict[str, tuple[Claim, Execution, asyncio.Task[None]]] = {}
        self._loop: asyncio.Task[None] | None = None
        self._last_look = 0.0
        self._last_renewal = 0.0
        self._last_sweep = 0.0

    def start(self) -> None:
        """Begin to claim, first of all what an earlier process left."""
        self._last_look = self._clock()
        self._signals.wake()
        self._loop = asyncio.get_running_loop().create_task(self._run_forever(), name="worker")

    async def stop(self) -> None:
        """Claim nothing more and give back what is held: it is taken up where it stands."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
        tasks = [task for _, _, task in self._working.values()]
        for _, execution, _ in self._working.values():
            execution.stop("shutdown")
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    @property
    def is_healthy(self) -> bool:
        """The loop is alive and has looked at the rows lately."""
        return self._loop is not None and not self._loop.done() and self._clock() - self._last_look < 3 * LEASE_SECONDS

    async def _run_forever(self) -> None:
        while True:
            cancels = await self._signals.wait_for_work(SWEEP_SECONDS)
            for run_id in cancels & self._working.keys():
                self._working[run_id][1].stop("cancelled")
            try:
                await self._claim()
                now = self._clock()
                if now - self._last_renewal >= LEASE_SECONDS / 3:
                    await self._renew()
                    self._last_renewal = now
                if now - self._last_sweep >= SWEEP_SECONDS:
                    await self._sweep()
                    self._last_sweep = now
                self._last_look = now
            except Exception:
                log.exception("the worker could not look after its runs")

    async def _claim(self) -> None:
        free = self._slots - len(self._working)
        if free <= 0:
            return
        now = self._clock()
        # A look costs a read; only what is there to be claimed costs a write.
        if not await self._db.read(lambda conn: store.any_claimable(conn, self._owner, now=now)):
            return
        claims = await self._db.write(
            lambda conn: store.claim(conn, self._owner, now=now, lease_until=now + LEASE_SECONDS, limit=free)
        )
        for claim in claims:
            recorder = Recorder(self._db, self._clock, self._signals, self._streams, claim)
            execution = Execution(recorder, self._streams, self._routes, self._code_interpreter)
            task = asyncio.get_running_loop().create_task(execution.go(), name=claim.run_id)
            self._working[claim.run_id] = (claim, execution, task)
            task.add_done_callback(lambda _, run_id=claim.run_id: self._finished(run_id))  # type: ignore[misc]

    def _finished(self, run_id: str) -> None:
        was_full = len(self._working) >= self._slots
        del self._working[run_id]
        if was_full:
            self._signals.wake()

    async def _renew(self) -> None:
        """Keep the leases; let go of runs that are no longer ours, or are to be cancelled by a signal that was lost."""
        working = dict(self._working)
        if not working:
            return
        claims = [claim for claim, _, _ in working.values()]
        until = self._clock() + LEASE_SECONDS
        held = await self._db.write(lambda conn: store.renew(conn, claims, lease_until=until))
        for run_id, (_, execution, _) in working.items():
            match held.get(run_id):
                case None:
                    execution.stop("lease lost")
                case "cancelling":
                    execution.stop("cancelled")

    async def _sweep(self) -> None:
        """Expire the runs whose time is over: those at work here by their execution, the others by their rows."""
        now = self._clock()
        for resource, run in await self._db.read(lambda conn: store.due(conn, now=now)):
            if run.id in self._working:
                self._working[run.id][1].stop("expired")
                continue

            def expire(conn: Connection, resource: str = resource, run_id: str = run.id) -> tuple[Event, ...]:
                current = store.still_due(conn, resource, run_id, now=now)
                if current is None:
                    return ()
                store.take_away(conn, resource, run_id)
                return end_run(conn, resource, current, "expired", now=int(now))

            events = await self._db.write(expire)
            self._streams.publish(run.id, *events, Done())
            self._signals.changed(run.id)
