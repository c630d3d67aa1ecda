"""What sandboxd counts since it began, for whoever watches over it: figures of all sessions together, no names."""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal

import msgspec

End = Literal["idle", "evicted", "died", "deleted"]
"""Why a session, or its process, is gone. One that died is counted when it gets a new process, with its files."""
CellOutcome = Literal["ok", "error", "timeout", "interrupted", "died"]

CELL_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
START_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Distribution(msgspec.Struct, kw_only=True):
    """How many values were at most each of `bounds` and above the one before; the last count is of all larger ones."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float = 0.0

    @classmethod
    def of(cls, bounds: tuple[float, ...]) -> Distribution:
        return cls(bounds=bounds, counts=[0] * (len(bounds) + 1))

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Stats(msgspec.Struct, kw_only=True):
    """`sessions`, `busy_sessions` and `memory_bytes` are of this moment, all else of all time."""

    sessions: int = 0
    busy_sessions: int = 0
    memory_bytes: int = 0
    opened: int = 0
    ended: dict[End, int] = msgspec.field(
        default_factory=lambda: dict.fromkeys(("idle", "evicted", "died", "deleted"), 0)
    )
    cells: dict[CellOutcome, int] = msgspec.field(
        default_factory=lambda: dict.fromkeys(("ok", "error", "timeout", "interrupted", "died"), 0)
    )
    cpu_seconds: float = 0.0
    cell_seconds: Distribution = msgspec.field(default_factory=lambda: Distribution.of(CELL_SECONDS))
    start_seconds: Distribution = msgspec.field(default_factory=lambda: Distribution.of(START_SECONDS))
