"""What is metered: sessions of the code interpreter, with the hours, cells, CPU time and memory they took."""

from __future__ import annotations

from typing import Literal

import msgspec

_HOUR = 3600

By = Literal["resource", "thread", "day"]
"""What sums are of."""


class SessionUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a session has used from its opening to its last use. Figures only grow: of two looks at the same session the
    later one says all that the earlier one did, so nothing is added up and nothing can be counted twice.

    instance: the session's own name; another session of the same thread has another. peak_memory_bytes: the most that
    its processes and files took together while a cell ran.
    """

    instance: str
    opened_at: int
    last_used_at: int
    cells: int
    cpu_seconds: float
    peak_memory_bytes: int

    @property
    def hours(self) -> int:
        """The hours since its opening that had begun when it was last used: the unit of the hosted fee."""
        return started_hours(self.opened_at, self.last_used_at)


class UsageSum(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the sessions of a resource, of a thread, or of a day (its first second) used together."""

    resource: str | None = None
    thread_id: str | None = None
    day: int | None = None
    sessions: int
    hours: int
    cells: int
    cpu_seconds: float
    peak_memory_bytes: int


def started_hours(opened_at: int, last_used_at: int) -> int:
    """One at least, and one more with each full hour."""
    return 1 + max(0, last_used_at - opened_at) // _HOUR
