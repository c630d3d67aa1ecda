from __future__ import annotations

import itertools

import pytest

from locum.domain import runs
from locum.domain.runs import FOLLOWS, InvalidTransition, LastError, Run, Usage
from locum.errors import InvalidRequest


def run(status: str) -> Run:
    return Run(
        id="run_1",
        created_at=0,
        thread_id="thread_1",
        assistant_id="asst_1",
        status=status,  # type: ignore[arg-type]
        model="m",
        instructions="",
        tools=(),
        expires_at=600,
    )


MOVES = {
    "in_progress": lambda each: runs.start(each, now=1),
    "completed": lambda each: runs.complete(each, now=1, usage=Usage()),
    "failed": lambda each: runs.fail(each, now=1, error=LastError(code="server_error", message="x"), usage=Usage()),
    "cancelled": lambda each: runs.cancelled(each, now=1, usage=Usage()),
    "expired": lambda each: runs.expire(each, usage=Usage()),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(FOLLOWS, MOVES)))
def test_a_run_moves_only_as_the_table_says(before: str, after: str) -> None:
    if before == after == "in_progress":
        assert MOVES[after](run(before)).status == "in_progress"  # claimed again after its worker died
    elif after in FOLLOWS[before]:  # type: ignore[index]
        assert MOVES[after](run(before)).status == after
    else:
        with pytest.raises(InvalidTransition):
            MOVES[after](run(before))


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired", "incomplete", "cancelling"])
def test_cancelling_a_run_that_is_over_is_refused_in_the_hosted_words(status: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^Cannot cancel run with status '{status}'.$"):
        runs.request_cancel(run(status))


def test_a_run_that_is_being_cancelled_still_shows_when_it_would_expire() -> None:
    assert runs.request_cancel(run("in_progress")).expires_at == 600


def test_a_run_that_is_over_expires_no_more() -> None:
    assert runs.complete(run("in_progress"), now=1, usage=Usage()).expires_at is None
