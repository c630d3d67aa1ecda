"""Which sessions have to go, and when: pure functions of what is known about each."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from locum.sandbox.host import cgroups
from locum.sandbox.limits import MIB, Limits


class Use(msgspec.Struct, frozen=True):
    """How a session is used: `last` by the clock that the functions below are given."""

    session: str
    last: float
    busy: bool
    memory: int


def expired(uses: Iterable[Use], now: float, idle_seconds: float) -> list[str]:
    """Sessions that nobody has used for so long. A running cell is a use."""
    return [use.session for use in uses if not use.busy and now - use.last >= idle_seconds]


def evicted(uses: Iterable[Use], *, most: int, budget: int) -> list[str]:
    """Idle sessions to end, longest idle first, until the others are within the number and the memory allowed."""
    everyone = list(uses)
    count, memory = len(everyone), sum(use.memory for use in everyone)
    leaving = []
    for use in sorted(everyone, key=lambda use: use.last):
        if count <= most and memory <= budget:
            break
        if not use.busy:
            leaving.append(use.session)
            count -= 1
            memory -= use.memory
    return leaving


def machine_memory() -> int:
    """What there is for this process: the machine's, or less in a container."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(machine, cgroups.memory_limit() or machine)


def most_sessions(limits: Limits, memory: int) -> int:
    return limits.max_sessions or max(1, min(200, memory // (64 * MIB)))


def memory_budget(limits: Limits, memory: int) -> int:
    return limits.memory_budget_bytes or memory // 2
