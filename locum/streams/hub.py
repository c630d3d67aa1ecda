"""What happens to a run, to whoever listens now: one writer (the engine), any number of readers (routes).

A stream lives while someone reads it. Events about objects are sent after their commit; deltas are never stored. All
methods are called from the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

from locum.domain.events import Done, Event, StreamError

MAX_WAITING = 10_000
"""Events a slow reader may be behind before it is cut off; the run goes on without it."""


_STOPPING = "the server is stopping. Retrieve the run later, it goes on."


class Reader:
    """One client's view of a run, from the moment it was opened."""

    def __init__(self, streams: Streams, run_id: str) -> None:
        self._streams = streams
        self._run_id = run_id
        self._waiting: list[Event] = []
        self._news = asyncio.Event()
        self._ended = False

    def offer(self, event: Event) -> None:
        """Called by the writer."""
        if self._ended:
            return
        self._waiting.append(event)
        self._ended = isinstance(event, Done) or len(self._waiting) > MAX_WAITING
        self._news.set()

    async def batches(self) -> AsyncIterator[list[Event]]:
        """Whatever has come since the last look, until `Done`."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                batch, self._waiting = self._waiting, []
                yield batch
                if self._ended and not self._waiting:
                    return
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening."""
        self._streams.drop(self._run_id, self)


class Streams:
    """The readers of each run."""

    def __init__(self) -> None:
        self._readers: defaultdict[str, list[Reader]] = defaultdict(list)
        self._is_stopping = False

    def open(self, run_id: str) -> Reader:
        """A reader that sees every event published from now on."""
        reader = Reader(self, run_id)
        self._readers[run_id].append(reader)
        if self._is_stopping:
            self.break_off(run_id, _STOPPING)
        return reader

    def publish(self, run_id: str, *events: Event) -> None:
        """Tell the readers of a run."""
        for reader in tuple(self._readers.get(run_id, ())):
            for event in events:
                reader.offer(event)

    def is_read(self, run_id: str) -> bool:
        """Someone listens: deltas are worth making, and what was sent cannot be unsent."""
        return run_id in self._readers

    def break_off(self, run_id: str, reason: str) -> None:
        """Nothing more will be told of the run here; its readers learn that this is not its end."""
        self.publish(run_id, StreamError(message=f"The stream ends before the run: {reason}"), Done())

    def end_all(self) -> None:
        """The server stops: every reader's stream ends cleanly."""
        self._is_stopping = True
        for run_id in tuple(self._readers):
            self.break_off(run_id, _STOPPING)

    def drop(self, run_id: str, reader: Reader) -> None:
        """Forget a reader."""
        readers = self._readers.get(run_id)
        if readers and reader in readers:
            readers.remove(reader)
            if not readers:
                del self._readers[run_id]
