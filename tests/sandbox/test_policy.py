"""Who has to go, decided without waiting for anybody's hour to pass."""

from __future__ import annotations

from locum.sandbox.host.policy import Use, evicted, expired, memory_budget, most_sessions
from locum.sandbox.limits import MIB, Limits

USES = [
    Use("old", last=0, busy=False, memory=100),
    Use("running", last=0, busy=True, memory=500),
    Use("young", last=3000, busy=False, memory=100),
]


def test_a_session_expires_an_hour_after_its_last_use() -> None:
    assert expired(USES, now=3599, idle_seconds=3600) == []
    assert expired(USES, now=3600, idle_seconds=3600) == ["old"]
    assert expired(USES, now=99_999, idle_seconds=3600) == ["old", "young"]


def test_the_one_idle_longest_leaves_first_and_nobody_without_need() -> None:
    assert evicted(USES, most=3, budget=700) == []
    assert evicted(USES, most=2, budget=700) == ["old"]
    assert evicted(USES, most=3, budget=600) == ["old"]
    assert evicted(USES, most=3, budget=500) == ["old", "young"]


def test_one_that_runs_code_is_never_put_out() -> None:
    assert evicted(USES, most=0, budget=0) == ["old", "young"]


def test_defaults_follow_the_machine() -> None:
    assert most_sessions(Limits(), 1024 * MIB) == 16
    assert most_sessions(Limits(), 1024 * 1024 * MIB) == 200
    assert most_sessions(Limits(max_sessions=3), 1024 * MIB) == 3
    assert memory_budget(Limits(), 1000) == 500
    assert memory_budget(Limits(memory_budget_bytes=7), 1000) == 7
