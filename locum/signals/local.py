"""Signals within one process. All methods are called from the event loop's thread."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class LocalSignals:
    """Who waits for what. Nothing is kept for those who come later."""

    def __init__(self) -> None:
        self._work = asyncio.Event()
        self._cancels: set[str] = set()
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.is_stopping = False
        """Nobody should wait any longer."""

    def wake(self) -> None:
        """There may be a run to claim, or one to cancel."""
        self._work.set()

    def cancel(self, run_id: str) -> None:
        """Its row says `cancelling` (or it is gone): whoever works on it should look."""
        self._cancels.add(run_id)
        self._work.set()

    async def wait_for_work(self, timeout_seconds: float) -> tuple[bool, set[str]]:
        """Return at the next wake-up or after `timeout_seconds`: whether there was one, and the runs to cancel."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._work.wait(), timeout_seconds)
        woken = self._work.is_set()
        self._work.clear()
        cancels, self._cancels = self._cancels, set()
        return woken, cancels

    def changed(self, object_id: str) -> None:
        """The run's row, or a file of the vector store, has changed."""
        for watcher in self._watchers.get(object_id, ()):
            watcher.set()

    def stop(self) -> None:
        """The server stops: whoever waits for a change goes on."""
        self.is_stopping = True
        for object_id in tuple(self._watchers):
            self.changed(object_id)

    @contextmanager
    def watch(self, object_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the run's row, or a file of the vector store, changes; clear it before looking
        at the rows."""
        watcher = asyncio.Event()
        self._watchers[object_id].add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[object_id].discard(watcher)
            if not self._watchers[object_id]:
                del self._watchers[object_id]
