from __future__ import annotations

import pytest

from locum.domain.usage import started_hours


@pytest.mark.parametrize(
    ("opened_at", "last_used_at", "hours"),
    [
        (0, 0, 1),
        (0, 1, 1),
        (0, 3599, 1),
        (0, 3600, 2),
        (0, 3601, 2),
        (0, 7199, 2),
        (0, 7200, 3),
        (1_750_000_000, 1_750_000_000 + 24 * 3600 - 1, 24),
        (1_750_003_599, 1_750_003_601, 1),  # the clock's hours do not matter, only the session's own
        (10, 5, 1),
    ],
)
def test_hours_are_counted_from_the_opening_and_count_when_they_have_begun(
    opened_at: int, last_used_at: int, hours: int
) -> None:
    assert started_hours(opened_at, last_used_at) == hours
