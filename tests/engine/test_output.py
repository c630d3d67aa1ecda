"""What a cell prints becomes few pieces, soon, and exactly the text: time is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from locum.engine.output import INTERVAL_SECONDS, LiveOutput


class Timer:
    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when, self.callback, self.cancelled = when, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class Time:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0
        self._timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
        self._timers.append(Timer(self.now + delay, callback))
        return cast(asyncio.TimerHandle, self._timers[-1])

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self._timers if timer.when <= end and not timer.cancelled]:
            first = min(due, key=lambda timer: timer.when)
            self._timers.remove(first)
            self.now = max(self.now, first.when)
            first.callback()
        self.now = end

    @property
    def is_idle(self) -> bool:
        return all(timer.cancelled for timer in self._timers)


def printed(heard: bool = True) -> tuple[LiveOutput, list[str], Time]:
    shown: list[str] = []
    time = Time()
    return LiveOutput(shown.append, lambda: heard, time), shown, time


def test_the_first_piece_is_shown_at_once_and_those_behind_it_together() -> None:
    live, shown, time = printed()
    for piece in "abc":
        live.add(piece)
    assert shown == ["a"]
    time.pass_by(INTERVAL_SECONDS)
    assert shown == ["a", "bc"]
    time.pass_by(1)
    live.add("d")
    assert shown == ["a", "bc", "d"]


def test_a_flood_is_twenty_pieces_a_second() -> None:
    live, shown, time = printed()
    for _ in range(10_000):
        live.add("x")
        time.pass_by(0.0003)
    assert 50 <= len(shown) <= 62
    assert "".join(shown) == live.text[: len("".join(shown))]


def test_at_its_end_the_rest_is_shown_at_once() -> None:
    live, shown, time = printed()
    live.add("a")
    live.add("b")
    live.end("abc")
    assert shown == ["a", "bc"]
    assert time.is_idle


def test_what_was_stopped_says_nothing_more() -> None:
    live, shown, time = printed()
    live.add("a")
    live.add("b")
    live.stop()
    time.pass_by(1)
    assert (shown, live.text) == (["a"], "ab")


def test_who_comes_in_the_middle_gets_what_there_was() -> None:
    shown: list[str] = []
    time, listeners = Time(), 0
    live = LiveOutput(shown.append, lambda: listeners > 0, time)
    live.add("a")
    time.pass_by(1)
    live.add("b")
    assert shown == []
    listeners = 1
    time.pass_by(1)
    assert shown == ["ab"]
    live.add("c")
    assert shown == ["ab", "c"]


def test_what_nobody_heard_is_shown_whole_in_the_end() -> None:
    live, shown, _ = printed(heard=False)
    live.add("a")
    live.end("ab")
    assert shown == ["ab"]


@given(
    st.lists(st.tuples(st.text(max_size=3), st.floats(0, 0.2), st.booleans())),
    st.text(max_size=3),
)
def test_the_pieces_are_the_text_whatever_happens(said: list[tuple[str, float, bool]], rest: str) -> None:
    shown: list[str] = []
    time, heard = Time(), False
    live = LiveOutput(shown.append, lambda: heard, time)
    for piece, pause, heard in said:  # noqa: B007 - the closure looks at it
        live.add(piece)
        time.pass_by(pause)
        assert "".join(shown) == live.text[: len("".join(shown))]
    whole = "".join(piece for piece, _, _ in said) + rest
    live.end(whole)
    assert "".join(shown) == whole
    assert "" not in shown
    assert time.is_idle
