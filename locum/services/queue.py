"""Busy threads: callers who would rather wait than be told that a run is active."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from locum.errors import InvalidRequest, Unavailable
from locum.signals.base import Signals

T = TypeVar("T")

_LOOK_SECONDS = 1.0


class ThreadBusy(InvalidRequest):
    """The thread has an active run."""

    def __init__(self, message: str, *, run_id: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class ThreadQueue:
    """First come, first served among those who wait in this process; between servers, whoever is quicker.

    `attempt` raises ThreadBusy for as long as the thread is.
    """

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._lines: dict[str, list[asyncio.Event]] = {}

    async def when_free(self, thread_id: str, seconds: float, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` gives once the thread is free; after `seconds` what it raises then."""
        if seconds <= 0:
            return await attempt()
        deadline = asyncio.get_running_loop().time() + seconds
        line = self._lines.setdefault(thread_id, [])
        turn = asyncio.Event()
        line.append(turn)
        try:
            if line[0] is not turn and not await _within(turn.wait(), deadline):
                return await attempt()
            return await self._attempt_until(deadline, attempt)
        finally:
            line.remove(turn)
            if line:
                line[0].set()
            else:
                self._lines.pop(thread_id, None)

    async def _attempt_until(self, deadline: float, attempt: Callable[[], Awaitable[T]]) -> T:
        clock = asyncio.get_running_loop().time
        while True:
            try:
                return await attempt()
            except ThreadBusy as busy:
                if clock() >= deadline:
                    raise
                run_id = busy.run_id
            if self._signals.is_stopping:
                raise Unavailable("The server is stopping.")
            with self._signals.watch(run_id) as change:
                try:  # it may have ended before the watch began
                    return await attempt()
                except ThreadBusy as busy:
                    if busy.run_id == run_id:
                        await _within(change.wait(), min(deadline, clock() + _LOOK_SECONDS))


async def _within(waiting: Awaitable[object], deadline: float) -> bool:
    """Whether it came before the deadline."""
    with suppress(TimeoutError):
        await asyncio.wait_for(waiting, max(0.0, deadline - asyncio.get_running_loop().time()))
        return True
    return False
