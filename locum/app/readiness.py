"""Readiness of the database, for `/readyz`."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa

from locum.errors import Unavailable
from locum.store.database import Reader

_ANSWER_SECONDS = 2.0
_VALID_SECONDS = 1.0


class DatabaseProbe:
    """A read of the database that is bounded in time. Its result is valid for a second, for all callers."""

    def __init__(
        self, db: Reader, *, answer_seconds: float = _ANSWER_SECONDS, valid_seconds: float = _VALID_SECONDS
    ) -> None:
        self._db = db
        self._answer_seconds = answer_seconds
        self._valid_seconds = valid_seconds
        self._valid_until = 0.0
        self._probe: asyncio.Task[str | None] | None = None

    async def check(self) -> None:
        """Raise Unavailable while the database cannot be read."""
        if self._probe is None or (self._probe.done() and asyncio.get_running_loop().time() >= self._valid_until):
            self._probe = asyncio.create_task(self._failure(), name="database probe")
        if failure := await asyncio.shield(self._probe):
            raise Unavailable(failure)

    async def _failure(self) -> str | None:
        """Return the reason for which the database cannot be read, or None."""
        try:
            async with asyncio.timeout(self._answer_seconds):
                await self._db.read(lambda conn: conn.execute(sa.select(1)))
        except TimeoutError:
            return f"The database did not answer within {self._answer_seconds:g} s."
        except Exception as error:
            return error.message if isinstance(error, Unavailable) else "The database cannot be read."
        finally:
            self._valid_until = asyncio.get_running_loop().time() + self._valid_seconds
        return None
