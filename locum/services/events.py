"""The events of a run, for any number of readers at any time: what has been told, then what is.

Where the engine works on the run in this process, its log is followed. Where it does not (another server has the run,
or had it), the rows are: they tell every object, each text in one piece.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import structlog
from sqlalchemy import Connection

from locum.access.principals import Principal
from locum.domain.events import Event
from locum.domain.replay import is_at_rest, replay
from locum.errors import NotFound, Unavailable
from locum.signals.base import Signals
from locum.store import messages as message_store
from locum.store import runs as run_store
from locum.store import steps as step_store
from locum.store import threads as thread_store
from locum.store.database import Database
from locum.streams.hub import Reader, Streams

_FIRST_LOOK_SECONDS = 0.1
_LOOK_SECONDS = 1.0

log = structlog.get_logger(__name__)


class _Told(msgspec.Struct, frozen=True):
    """A run as its rows tell it."""

    events: tuple[Event, ...]
    is_at_rest: bool


class Events:
    """Opens readers, and follows the rows of runs that are read here and worked on elsewhere."""

    def __init__(self, db: Database, signals: Signals, streams: Streams) -> None:
        self._db = db
        self._signals = signals
        self._streams = streams
        self._following: dict[str, asyncio.Task[None]] = {}

    async def open(self, principal: Principal, thread_id: str, run_id: str, *, after: str | None = None) -> Reader:
        """A reader of the whole run, or of what came `after` an event; one that is no longer known means: the whole."""
        told = await self._load(principal.resource, thread_id, run_id)
        streams = self._streams
        if not streams.is_worked_on(run_id):
            streams.catch_up(run_id, told.events, is_over=told.is_at_rest)
            if told.is_at_rest and not streams.is_known(run_id):
                return streams.tell(told.events)
        reader = streams.open_at(run_id, after) if after else None
        if reader is None:
            reader = streams.open_whole(run_id, told.events, goes_on=streams.is_worked_on(run_id))
        if not told.is_at_rest:
            self.follow(principal, thread_id, run_id)
        return reader

    def follow(self, principal: Principal, thread_id: str, run_id: str) -> None:
        """Tell from the rows what happens to the run for as long as it is read, and not worked on, here."""
        if run_id not in self._following and not self._streams.is_worked_on(run_id):
            task = asyncio.create_task(self._follow(principal.resource, thread_id, run_id), name=f"follow {run_id}")
            self._following[run_id] = task
            task.add_done_callback(lambda _: self._following.pop(run_id, None))

    async def _follow(self, resource: str, thread_id: str, run_id: str) -> None:
        streams = self._streams
        with self._signals.watch(run_id) as change:
            pause = _FIRST_LOOK_SECONDS  # by then a worker of this process has it, as a rule
            while True:
                with suppress(TimeoutError):  # a signal may be lost, and readers go without one
                    await asyncio.wait_for(change.wait(), pause)
                pause = _LOOK_SECONDS
                if not streams.has_readers(run_id) or streams.is_worked_on(run_id):
                    return None
                change.clear()
                try:
                    told = await self._load(resource, thread_id, run_id)
                except NotFound:
                    return streams.break_off(run_id, "its thread was deleted.")
                except Unavailable:
                    told = None
                except Exception:
                    log.exception("a run could not be followed", run_id=run_id)
                    return streams.break_off(run_id, "retrieve the run later.")
                if told is not None and not streams.is_worked_on(run_id):
                    streams.catch_up(run_id, told.events, is_over=told.is_at_rest)
                    if told.is_at_rest:
                        return None

    async def _load(self, resource: str, thread_id: str, run_id: str) -> _Told:
        def load(conn: Connection) -> _Told:
            try:
                run = run_store.get(conn, resource, thread_id, run_id)
            except NotFound:
                thread_store.get(conn, resource, thread_id)  # if it is the thread, say so
                raise
            steps = step_store.of_run(conn, resource, run_id)
            messages = {message.id: message for message in message_store.of_run(conn, resource, run_id)}
            return _Told(replay(run, steps, messages), is_at_rest(run))

        return await self._db.read(load)
