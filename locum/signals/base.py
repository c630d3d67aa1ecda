"""Signals: wake-ups without state, which may be lost. Whoever waits for one also polls the rows."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Protocol


class Signals(Protocol):
    """All methods are called from the event loop's thread. Signals are not kept for watchers that come later."""

    is_stopping: bool
    """The server stops: nobody should wait any longer."""

    def wake(self) -> None:
        """Announce a run that may be claimed, or cancelled."""
        ...

    def cancel(self, run_id: str) -> None:
        """Announce that a run's row says `cancelling` or is gone, to the worker that holds it."""
        ...

    async def wait_for_work(self, timeout_seconds: float) -> tuple[bool, set[str]]:
        """Wait for a wake-up, at most so long; return whether there was one, and the runs to cancel."""
        ...

    def changed(self, object_id: str) -> None:
        """Announce a change of a run's row, or of a file of a vector store, by the id of the run or store."""
        ...

    def stop(self) -> None:
        """Let all watchers go on: the server stops."""
        ...

    def watch(self, object_id: str) -> AbstractContextManager[asyncio.Event]:
        """Return an event that is set at each change of the object; clear it before reading the rows."""
        ...
