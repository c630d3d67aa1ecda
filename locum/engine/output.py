"""What a running cell prints, on its way to those who listen: at once, but not in more pieces than anybody can read."""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable
from typing import Protocol

INTERVAL_SECONDS = 0.05
"""Between two pieces: a flood of output is twenty events a second."""
_LOOK_SECONDS = 0.25
"""How often what nobody hears looks for a listener."""


class Timers(Protocol):
    """The part of an event loop that is used here."""

    def time(self) -> float: ...
    def call_later(self, delay: float, callback: Callable[[], object], /) -> TimerHandle: ...


class LiveOutput:
    """The logs of one call while it runs. The pieces given to `show` are, joined, exactly the text so far.

    While nobody listens nothing is shown; who comes in the middle soon gets what there was in one piece.
    """

    def __init__(self, show: Callable[[str], None], is_heard: Callable[[], bool], timers: Timers) -> None:
        self.text = ""
        self._show = show
        self._is_heard = is_heard
        self._timers = timers
        self._told = 0
        self._next = timers.time()
        self._timer: TimerHandle | None = None

    def add(self, piece: str) -> None:
        """More of it."""
        self.text += piece
        if self._timer is None:
            wait = self._next - self._timers.time()
            if wait > 0:
                self._timer = self._timers.call_later(wait, self._flush)
            else:
                self._flush()

    def end(self, text: str) -> None:
        """All of it, which begins with what has been added. The rest is shown whether or not anybody listens yet."""
        self.stop()
        self.text = text
        self._tell()

    def stop(self) -> None:
        """Show nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._timer = None
        self._next = self._timers.time() + INTERVAL_SECONDS
        if self._is_heard():
            self._tell()
        else:
            self._timer = self._timers.call_later(_LOOK_SECONDS, self._flush)

    def _tell(self) -> None:
        rest, self._told = self.text[self._told :], len(self.text)
        if rest:
            self._show(rest)
