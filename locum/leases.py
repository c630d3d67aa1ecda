"""Loop of the workers that claim rows under a lease: runs (`engine/worker.py`) and files (`ingestion/worker.py`).

Each round renews leases first, so that a process that slept longer than its leases does not mistake its own rows for
abandoned ones. A round that fails is logged and tried again: one duty must not keep the worker from the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from locum.errors import Unavailable

log = structlog.get_logger(__name__)

LEASE_SECONDS = 10.0
ROUND_SECONDS = 1.0
"""A round begins at least this often, woken or not."""

Duty = Callable[[], Awaitable[None]]


class LeaseLoop:
    """Runs rounds until `stop`.

    name: of the worker, for the log. renew: renews the leases; called every third of their time. next_duties: waits for
    work, at most `ROUND_SECONDS`, and returns the other duties of the round.
    """

    def __init__(self, name: str, *, renew: Duty, next_duties: Callable[[], Awaitable[Sequence[Duty]]]) -> None:
        self._name = name
        self._renew = renew
        self._next_duties = next_duties
        self._task: asyncio.Task[None] | None = None
        self._reported: str | None = None
        # In the event loop's time, which nobody sets back.
        self._last_success = 0.0
        self._last_renewal = 0.0

    def start(self, *first: Duty) -> None:
        """Begin with a round of the duties `first`."""
        loop = asyncio.get_running_loop()
        self._last_success = self._last_renewal = loop.time()
        self._task = loop.create_task(self._run_forever(first), name=self._name)

    async def stop(self) -> bool:
        """End the loop in the middle of a round; return whether it had been started."""
        if self._task is None:
            return False
        self._task.cancel()
        await asyncio.wait([self._task])
        return True

    @property
    def is_healthy(self) -> bool:
        """Return whether a round without a failure ended within the last three leases."""
        if self._task is None or self._task.done():
            return False
        return asyncio.get_running_loop().time() - self._last_success < 3 * LEASE_SECONDS

    async def _run_forever(self, first: Sequence[Duty]) -> None:
        await self._run_round(first)
        while True:
            await self._run_round(await self._next_duties())

    async def _run_round(self, duties: Sequence[Duty]) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._last_renewal >= LEASE_SECONDS / 3:
            duties = [self._renew, *duties]
            self._last_renewal = now
        succeeded = [await self._attempt(duty) for duty in duties]
        if all(succeeded):
            self._last_success = now
            self._reported = None

    async def _attempt(self, duty: Duty) -> bool:
        try:
            await duty()
        except Unavailable as error:
            if error.message != self._reported:  # one line per outage, not one per round
                log.warning("a worker's duty failed and is tried again", worker=self._name, reason=error.message)
            self._reported = error.message
            return False
        except Exception:
            log.exception("a worker's duty failed and is tried again", worker=self._name)
            return False
        return True
