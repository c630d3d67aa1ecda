"""What has been told of one run, in order and numbered: bounded, and read from any place that is still there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import msgspec

from locum.domain.events import Done, Event, MessageDelta, MessageEvent, RunEvent, StepDelta, StepEvent, ThreadCreated
from locum.domain.replay import Key, closes, deltas_of, is_beginning, key_of, object_of, opens
from locum.streams import pieces
from locum.streams.pieces import Place

MAX_EVENTS = 20_000
MAX_BYTES = 4 * 1024 * 1024
"""What a log keeps at most, roughly; beyond that the oldest goes."""

Render = Callable[[Event], tuple[str, bytes]]
"""An event's name and its data on one line, in some dialect."""

_OBJECT_BYTES = 1000
_PIECE_BYTES = 64

_weigh = msgspec.json.Encoder(enc_hook=lambda value: None).encode


class _Entry:
    """One event, or the pieces of one text: `first` is the number of the (first) event."""

    __slots__ = ("bytes", "event", "first", "pieces", "place")

    def __init__(self, first: int, event: Event | None, place: Place | None, pieces: list[str], size: int) -> None:
        self.first = first
        self.event = event
        self.place = place
        self.pieces = pieces
        self.bytes = size

    def __len__(self) -> int:
        return len(self.pieces) or 1

    def events(self, at: int) -> list[tuple[int, Event]]:
        """The events from number `at` on, numbered."""
        at, place = max(at, self.first), self.place
        if place is not None:
            texts = self.pieces[at - self.first :]
            return [(number, pieces.join(place, text)) for number, text in enumerate(texts, at)]
        return [(self.first, self.event)] if self.event is not None and at == self.first else []

    @property
    def key(self) -> Key:
        """What it tells; all pieces of a text tell the same."""
        event = self.event if self.place is None else pieces.join(self.place, "")
        assert event is not None
        return key_of(event)


class Log:
    """`stamp` tells it from every other log of the run: an event's id is `stamp.number`."""

    def __init__(self, stamp: int, *, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self.stamp = stamp
        self.next = 1
        self.told_before: set[Key] = set()
        """What readers who came late were told before the log's first event."""
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._entries: list[_Entry] = []
        self._bytes = 0
        self._unheard: set[str] = set()
        self._dropped: set[Key] = set()
        self._encoded: dict[Render, tuple[int, int, bytes]] = {}

    @property
    def first(self) -> int:
        """The number of the oldest event that is kept."""
        return self._entries[0].first if self._entries else self.next

    @property
    def is_whole(self) -> bool:
        """It has everything from the beginning of the run."""
        if not self._entries or self.first != 1:
            return False
        event = self._entries[0].event
        return isinstance(event, ThreadCreated) or (isinstance(event, RunEvent) and event.what == "created")

    @property
    def is_at_end(self) -> bool:
        """Its last event is `Done`."""
        return bool(self._entries) and isinstance(self._entries[-1].event, Done)

    def add(self, event: Event) -> None:
        """Tell one event more."""
        if self._unheard and self._is_unheard(event):
            return
        piece = pieces.split(event)
        if piece is None:
            self._append(_Entry(self.next, event, None, [], _size(event)))
        else:
            place, text = piece
            last = self._entries[-1] if self._entries else None
            size = _PIECE_BYTES + len(text)
            if last is not None and last.place == place:
                last.pieces.append(text)
                last.bytes += size
                self.next += 1
                self._bytes += size
            else:
                self._append(_Entry(self.next, None, place, [text], size))
        if self._bytes > self._max_bytes or self.next - self.first > self._max_events:
            self._trim()

    def add_missing(self, replayed: tuple[Event, ...]) -> None:
        """Tell of the run what its rows know and has not been told; nothing more of what has been told to its end."""
        told = {entry.key for entry in self._entries} | self.told_before | self._dropped
        closed = {object_of(event) for event in self.events() if closes(event)} - {None}
        has_begun = any(key[0] == "run" for key in told)
        for event in replayed:
            is_past = object_of(event) in closed or (has_begun and is_beginning(event))
            if not is_past and key_of(event) not in told:
                self.add(event)

    def has_told(self, event: Event) -> bool:
        """Whether this, or the same of it, is among what is kept."""
        key = key_of(event)
        return any(entry.key == key for entry in self._entries)

    def events(self) -> list[Event]:
        """What is kept; of a text's pieces the first stands for all."""
        return [entry.events(entry.first)[0][1] for entry in self._entries]

    def hear_no_deltas_of_what_is_open(self) -> None:
        """Nobody has listened, so deltas were not made: those of what is open by now would be a text without its
        beginning. They are left out, and told whole when it closes."""
        events = self.events()
        gone = {object_of(event) for event in events if closes(event)}
        self._unheard = {
            about for event in events if opens(event) and (about := object_of(event)) not in gone and about
        }
        if self._unheard:
            self._entries = [entry for entry in self._entries if not self._is_delta_of_unheard(entry)]
            self._bytes = sum(entry.bytes for entry in self._entries)

    def make_up(self, event: Event) -> None:
        """Tell now what has been left out of the deltas of an object that is still open, as the event knows it."""
        if object_of(event) in self._unheard:
            self._unheard.discard(object_of(event) or "")
            for delta in deltas_of(event):
                self.add(delta)

    def read(self, at: int, answered: int) -> tuple[list[tuple[int, Event]], bool]:
        """The events from number `at` on; whether the last of them is the end.

        answered: before this number an end was none, as the run went on, and its question has had its answer.
        """
        if self._entries and at >= self._entries[-1].first and self._entries[-1].place is not None:
            return self._entries[-1].events(at), False  # a reader who keeps up
        found: list[tuple[int, Event]] = []
        start = bisect_right(self._entries, at, key=lambda entry: entry.first) - 1
        for entry in self._entries[max(start, 0) :]:
            for number, event in entry.events(at):
                if number < answered and _is_rest(event):
                    continue
                found.append((number, event))
                if isinstance(event, Done):
                    return found, True
        return found, False

    def answered(self) -> int:
        """The number behind the last end that the run has gone on from."""
        for entry in reversed(self._entries[:-1]):
            if isinstance(entry.event, Done):
                return entry.first + 1
        return 0

    def encoded(self, render: Render, at: int, answered: int) -> tuple[bytes, int, bool]:
        """What `read` finds, as bytes; the number to go on from; whether that was the end.

        Readers who keep up ask for the same: it is encoded once for all of one dialect.
        """
        known = self._encoded.get(render)
        if known is not None and known[:2] == (at, self.next) and at >= answered:
            return known[2], self.next, False
        events, is_end = self.read(at, answered)
        body = b"".join([encode(render, event, f"{self.stamp}.{number}") for number, event in events])
        if is_end:
            return body, events[-1][0] + 1, True
        self._encoded[render] = (at, self.next, body)
        return body, self.next, False

    def _append(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self.next += len(entry)
        self._bytes += entry.bytes

    def _is_unheard(self, event: Event) -> bool:
        about = object_of(event)
        if about not in self._unheard:
            return False
        if closes(event):
            self.make_up(event)
        return isinstance(event, MessageDelta | StepDelta)

    def _is_delta_of_unheard(self, entry: _Entry) -> bool:
        _, event = entry.events(entry.first)[0]
        return isinstance(event, MessageDelta | StepDelta) and object_of(event) in self._unheard

    def _trim(self) -> None:
        """Drop the oldest half."""
        keep_bytes, keep_events = self._max_bytes // 2, self._max_events // 2
        count = 0
        for entry in self._entries[:-1]:
            if self._bytes <= keep_bytes and self.next - entry.first <= keep_events:
                break
            self._bytes -= entry.bytes
            self._dropped.add(entry.key)
            count += 1
        del self._entries[:count]
        only = self._entries[0]
        if only.place is not None and (self._bytes > keep_bytes or self.next - only.first > keep_events):
            half = len(only.pieces) // 2
            size = sum(map(len, only.pieces[:half])) + _PIECE_BYTES * half
            del only.pieces[:half]
            only.first += half
            only.bytes -= size
            self._bytes -= size


def encode(render: Render, event: Event, id_: str | None) -> bytes:
    """One event as it stands in a stream. The id comes last: simple readers look for `event` and `data` first. What
    ends a stream has none: who comes back with the id before it is told the end once more."""
    name, data = render(event)
    if id_ is None or name in ("done", "error"):
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
    return b"event: %b\ndata: %b\nid: %b\n\n" % (name.encode(), data, id_.encode())


def _is_rest(event: Event) -> bool:
    return isinstance(event, Done) or (isinstance(event, RunEvent) and event.what == "requires_action")


def _size(event: Event) -> int:
    match event:
        case MessageEvent(message=message):
            return _OBJECT_BYTES + len(message.text)
        case RunEvent(run=run):
            return _OBJECT_BYTES + len(run.instructions)
        case StepEvent() | StepDelta():
            return _OBJECT_BYTES + len(_weigh(event))
        case _:
            return _OBJECT_BYTES
