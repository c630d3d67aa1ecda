"""The read of the database behind `/readyz`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from locum.app.readiness import DatabaseProbe
from locum.errors import Unavailable

T = TypeVar("T")


class SlowDatabase:
    """A database that answers after some time, or not at all."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self._seconds = seconds
        self._error = error
        self.reads = 0

    async def read(self, fn: Callable[[Connection], T]) -> T:
        self.reads += 1
        await asyncio.sleep(self._seconds)
        if self._error is not None:
            raise self._error
        return None  # type: ignore[return-value]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("database", "message"),
    [
        (SlowDatabase(60), "The database did not answer within 0.05 s."),
        (SlowDatabase(0, Unavailable("The database cannot be reached.")), "The database cannot be reached."),
        (SlowDatabase(0, ValueError("secret")), "The database cannot be read."),
    ],
)
def test_database_that_cannot_be_read_is_unavailable(database: SlowDatabase, message: str) -> None:
    async def scenario() -> None:
        with pytest.raises(Unavailable) as refusal:
            await DatabaseProbe(database, answer_seconds=0.05).check()
        assert refusal.value.message == message

    asyncio.run(scenario())


def test_callers_share_one_read_until_its_result_is_old() -> None:
    async def scenario() -> None:
        database = SlowDatabase(0.01)
        probe = DatabaseProbe(database, valid_seconds=0.2)
        await asyncio.gather(*(probe.check() for _ in range(50)))
        await probe.check()
        assert database.reads == 1
        await asyncio.sleep(0.3)
        await probe.check()
        assert database.reads == 2

    asyncio.run(scenario())
