"""What happens to a run, to whoever listens: one log per run, one writer at a time, any number of readers.

The writer is the engine while it works on the run here, and whoever reads the rows while another server does. A log is
bounded, and kept for a while behind its end, so that a client whose connection broke goes on where it was. Events about
objects are sent after their commit; deltas are never stored. All methods are called from the event loop's thread.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import monotonic

from locum.clock import Clock, system_clock
from locum.domain.events import Done, Event, RunEvent, StreamError
from locum.domain.replay import key_of, missing
from locum.streams.log import MAX_BYTES, MAX_EVENTS, Log, Render, encode

KEEP_SECONDS = 60.0
"""How long a log is kept that nobody adds to any more."""
MAX_KEPT = 1000
"""How many such logs are kept at most."""

_STOPPING = "the server is stopping. Retrieve the run later, it goes on."
_BEHIND = StreamError(message="The stream was read too slowly and has been cut off. The run goes on: retrieve it.")
_ID = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")


class _Stream:
    """The log of a run and who reads it. `is_worked_on`: the engine works on the run in this process."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.readers: set[Reader] = set()
        self.was_read = False
        self.is_worked_on = False
        self.broken: StreamError | None = None

    def wake(self) -> None:
        for reader in self.readers:
            reader.wake()


class Reader:
    """One client's place in a log. `take` what there is, `wait` for more, until `is_over`."""

    def __init__(self, stream: _Stream, at: int, before: tuple[Event, ...] = (), *, answered: int = 0) -> None:
        self._stream = stream
        self._at = at
        self._before = before
        self._answered = answered
        self._waiting: asyncio.Future[None] | None = None
        self.is_over = False
        stream.readers.add(self)
        stream.was_read = True

    def take(self, render: Render) -> bytes:
        """Everything there is to tell by now, as it stands in a stream; the last of all is `done`."""
        if self.is_over:
            return b""
        log, first = self._stream.log, b""
        if self._before:
            first, self._before = self._snapshot(render), ()
        if self._at < log.first:
            return first + self._break_off(render, _BEHIND)
        body, self._at, self.is_over = log.encoded(render, self._at, self._answered)
        if self._stream.broken is not None and not self.is_over:
            return first + body + self._break_off(render, self._stream.broken)
        return first + body if first else body

    async def wait(self) -> None:
        """Until there may be something to take."""
        if self._at < self._stream.log.next or self._stream.broken is not None or self.is_over:
            return
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def wake(self) -> None:
        """There may be something, or none will come: whoever waits should look."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def close(self) -> None:
        """Stop listening."""
        self.is_over = True
        self._stream.readers.discard(self)
        self.wake()

    def _snapshot(self, render: Render) -> bytes:
        """What was told before the log: its ids are those of no event in it, so who comes back begins anew."""
        log = self._stream.log
        ids = (f"{log.stamp}.{self._at - 1}.{number}" for number in range(1, len(self._before) + 1))
        return b"".join([encode(render, event, id_) for event, id_ in zip(self._before, ids, strict=True)])

    def _break_off(self, render: Render, error: StreamError) -> bytes:
        self.is_over = True
        return encode(render, error, None) + encode(render, Done(), None)


class Streams:
    """The streams of this process."""

    def __init__(
        self,
        clock: Clock = system_clock,
        *,
        monotonic: Callable[[], float] = monotonic,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._streams: dict[str, _Stream] = {}
        self._kept: dict[str, float] = {}
        """Since when nobody adds to them, oldest first."""
        self._stamp = 0
        self._is_stopping = False

    def open(self, run_id: str) -> Reader:
        """A reader that sees every event published from now on."""
        stream = self._heard(run_id)
        return Reader(stream, stream.log.next)

    def open_at(self, run_id: str, event_id: str) -> Reader | None:
        """A reader that sees exactly what came behind that event; None where it is not known here any more."""
        stream, match = self._streams.get(run_id), _ID.fullmatch(event_id)
        if stream is None or match is None or int(match[1]) != stream.log.stamp:
            return None
        at, answered = int(match[2]) + 1, stream.log.answered()
        if not stream.log.first <= at <= stream.log.next:
            return None
        return Reader(self._heard(run_id), at, answered=answered)

    def open_whole(self, run_id: str, replayed: tuple[Event, ...], *, goes_on: bool) -> Reader:
        """A reader that sees the whole run. replayed: the run from its rows. goes_on: the engine works on it here."""
        stream = self._heard(run_id)
        log = stream.log
        if log.is_whole:
            return Reader(stream, log.first, answered=log.answered())
        before = missing(replayed, log.events(), goes_on=goes_on)
        log.told_before.update(map(key_of, before))
        return Reader(stream, log.first, before, answered=log.answered())

    def tell(self, events: tuple[Event, ...]) -> Reader:
        """A reader of these events alone: of a run that is over, and that nothing is kept of."""
        log = self._new_log()
        for event in (*events, Done()):
            log.add(event)
        return Reader(_Stream(log), 1)

    def count_readers(self) -> int:
        """How many clients listen."""
        return sum(len(stream.readers) for stream in self._streams.values())

    def publish(self, run_id: str, *events: Event) -> None:
        """Tell of the run. What is told of a run that nobody reads or works on here is not kept."""
        stream = self._streams.get(run_id)
        begins = any(isinstance(event, RunEvent) and event.what == "in_progress" for event in events)
        if stream is None:
            if not begins:
                return
            stream = self._begin(run_id)
        if begins:
            stream.is_worked_on = True
            self._kept.pop(run_id, None)
        for event in events:
            stream.log.add(event)
        stream.wake()
        if stream.log.is_at_end:
            stream.is_worked_on = False
        if not stream.is_worked_on:
            self._let_go(run_id, stream)

    def make_up(self, run_id: str, event: Event) -> None:
        """Deltas follow of an object whose earlier ones were not told, as nobody listened: tell them now."""
        if (stream := self._streams.get(run_id)) is not None:
            stream.log.make_up(event)

    def catch_up(self, run_id: str, replayed: tuple[Event, ...], *, is_over: bool) -> None:
        """Tell what the rows say of a run that another server works on."""
        if (stream := self._streams.get(run_id)) is None:
            return
        if stream.log.is_at_end and stream.log.has_told(replayed[-1]):
            return
        if not stream.readers and not stream.log.is_whole:
            self._kept.pop(run_id, None)  # no use: it has neither the beginning nor the end
            del self._streams[run_id]
            return
        at = stream.log.next
        stream.log.add_missing(replayed)
        if is_over and not stream.log.is_at_end:
            stream.log.add(Done())
        if stream.log.next > at:
            stream.wake()
            self._let_go(run_id, stream)

    def is_read(self, run_id: str) -> bool:
        """Someone listens, or has listened and may come back: deltas are worth making, and what was sent cannot be
        unsent."""
        stream = self._streams.get(run_id)
        return stream is not None and (bool(stream.readers) or (stream.was_read and stream.is_worked_on))

    def has_readers(self, run_id: str) -> bool:
        """Someone listens now."""
        stream = self._streams.get(run_id)
        return stream is not None and bool(stream.readers)

    def is_known(self, run_id: str) -> bool:
        """There is a log of the run."""
        return run_id in self._streams

    def is_worked_on(self, run_id: str) -> bool:
        """The engine works on the run here and tells of it."""
        stream = self._streams.get(run_id)
        return stream is not None and stream.is_worked_on

    def break_off(self, run_id: str, reason: str) -> None:
        """Nothing more will be told of the run here; its readers learn that this is not its end."""
        if (stream := self._streams.pop(run_id, None)) is not None:
            self._kept.pop(run_id, None)
            stream.broken = StreamError(message=f"The stream ends before the run: {reason}")
            stream.wake()

    def end_all(self) -> None:
        """The server stops: every reader's stream ends cleanly."""
        self._is_stopping = True
        for run_id in tuple(self._streams):
            self.break_off(run_id, _STOPPING)

    def _heard(self, run_id: str) -> _Stream:
        """The stream, begun if need be; from now on with deltas."""
        stream = self._streams.get(run_id) or self._begin(run_id)
        if not stream.was_read:
            stream.log.hear_no_deltas_of_what_is_open()
        if not stream.is_worked_on:
            self._let_go(run_id, stream)
        if self._is_stopping:
            self.break_off(run_id, _STOPPING)
        return stream

    def _begin(self, run_id: str) -> _Stream:
        self._streams[run_id] = stream = _Stream(self._new_log())
        return stream

    def _new_log(self) -> Log:
        """Stamped with the time in milliseconds, so that ids of a run go up also from server to server."""
        self._stamp = max(self._stamp + 1, int(self._clock() * 1000))
        return Log(self._stamp, max_events=self._max_events, max_bytes=self._max_bytes)

    def _let_go(self, run_id: str, stream: _Stream) -> None:
        """Nobody adds to the log: keep it for a while if it was read, and forget those kept long enough."""
        now = self._monotonic()
        self._kept.pop(run_id, None)
        if stream.was_read or not stream.log.is_at_end:
            self._kept[run_id] = now
        else:
            del self._streams[run_id]
        while self._kept:
            oldest, since = next(iter(self._kept.items()))
            if now - since < KEEP_SECONDS and len(self._kept) <= MAX_KEPT:
                break
            del self._kept[oldest]
            if self._streams[oldest].readers and not self._streams[oldest].log.is_at_end:
                self._kept[oldest] = now  # they wait for a run that another server works on
                break
            del self._streams[oldest]
