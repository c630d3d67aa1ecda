"""Long writes in portions: between two of them, other writes have their turn.

Covered: a transaction that copies or removes many rows of a thread ends after a few milliseconds, and the next one goes
on where it ended. A thread whose rows are incomplete has no row of its own, and a note (`store/thread_remains.py`):
after a crash its rows are removed. Not covered: one statement on a row of many megabytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection

from locum.clock import Clock
from locum.store import thread_remains
from locum.store import threads as thread_store
from locum.store.database import Database

PORTION_SECONDS = 0.02
IsOver = Callable[[], bool]


def portion(clock: Clock = time.monotonic) -> IsOver:
    """Begin a portion; return the function that is asked whether it is over."""
    end = clock() + PORTION_SECONDS
    return lambda: clock() >= end


async def remove_remains(
    db: Database, resource: str, thread_id: str, *, begin_portion: Callable[[], IsOver] = portion
) -> None:
    """Remove the rows of a noted thread, and the note with the last of them."""

    def remove(conn: Connection) -> bool:
        if not thread_store.remove_rows(conn, resource, thread_id, begin_portion()):
            return False
        thread_remains.forget(conn, resource, thread_id)
        return True

    while not await db.write(remove):
        pass


async def sweep_remains(db: Database, clock: Clock) -> tuple[str, ...]:
    """Remove the rows of noted threads that are due; return the ids of these threads."""
    now = clock()
    removed: list[str] = []
    while due := await db.read(lambda conn: thread_remains.due(conn, now=now)):
        for resource, thread_id in due:
            await remove_remains(db, resource, thread_id)
            removed.append(thread_id)
    return tuple(removed)
