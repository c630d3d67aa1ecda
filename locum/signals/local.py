"""Signals within one process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class LocalSignals:
    """`Signals` for one server. Methods are documented there."""

    def __init__(self) -> None:
        self._work = asyncio.Event()
        self._cancels: set[str] = set()
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.is_stopping = False

    def wake(self) -> None:
        self._work.set()

    def cancel(self, run_id: str) -> None:
        self._cancels.add(run_id)
        self._work.set()

    async def wait_for_work(self, timeout_seconds: float) -> tuple[bool, set[str]]:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._work.wait(), timeout_seconds)
        woken = self._work.is_set()
        self._work.clear()
        cancels, self._cancels = self._cancels, set()
        return woken, cancels

    def changed(self, object_id: str) -> None:
        for watcher in self._watchers.get(object_id, ()):
            watcher.set()

    def stop(self) -> None:
        self.is_stopping = True
        for object_id in tuple(self._watchers):
            self.changed(object_id)

    @contextmanager
    def watch(self, object_id: str) -> Iterator[asyncio.Event]:
        watcher = asyncio.Event()
        self._watchers[object_id].add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[object_id].discard(watcher)
            if not self._watchers[object_id]:
                del self._watchers[object_id]
