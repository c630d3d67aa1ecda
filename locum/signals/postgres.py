"""Signals between the servers that share a PostgreSQL database: LISTEN and NOTIFY.

Everything is told to this process at once and to the others a moment later, many signals in one NOTIFY. What is lost
while the connection is away is made up for by the looks that everybody takes once a second.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg
import structlog

from locum.postgres_url import PostgresURL
from locum.signals.local import LocalSignals

log = structlog.get_logger(__name__)

CHANNEL = "locum"
_TOGETHER_SECONDS = 0.01
_AGAIN_SECONDS = 1.0
_MAX_PAYLOAD = 7000
"""PostgreSQL takes 8000 bytes."""


class PostgresSignals(LocalSignals):
    """Local signals that the other servers hear too."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._address = PostgresURL.parse(url)
        self._pending: dict[str, None] = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.listening = asyncio.Event()
        self._is_reported = False

    def start(self) -> None:
        """Begin to listen and to tell."""
        self._task = asyncio.get_running_loop().create_task(self._run_forever(), name="signals")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def wake(self) -> None:
        super().wake()
        self._tell("wake")

    def cancel(self, run_id: str) -> None:
        super().cancel(run_id)
        self._tell(f"cancel {run_id}")

    def changed(self, object_id: str) -> None:
        super().changed(object_id)
        self._tell(f"changed {object_id}")

    def _tell(self, signal: str) -> None:
        self._pending[signal] = None
        self._news.set()

    async def _run_forever(self) -> None:
        while True:
            try:
                await self._converse()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if not self._is_reported:  # one line per outage, not one per second
                    log.warning("signals between servers are interrupted", reason=str(error))
                self._is_reported = True
            self.listening.clear()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _converse(self) -> None:
        connection: Any = await self._address.connect()
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            own = connection.get_server_pid()
            connection.add_termination_listener(lambda _: lost.cancel())
            await connection.add_listener(CHANNEL, lambda _c, pid, _ch, payload: self._hear(payload, is_own=pid == own))
            self.listening.set()
            self._is_reported = False
            while True:
                news = asyncio.ensure_future(self._news.wait())
                waits: set[asyncio.Future[Any]] = {news, lost}
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                if lost.done():
                    raise ConnectionError("the connection was lost")
                await asyncio.sleep(_TOGETHER_SECONDS)
                self._news.clear()
                signals, self._pending = list(self._pending), {}
                for payload in _payloads(signals):
                    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
        finally:
            with suppress(Exception):
                await connection.close(timeout=1)

    def _hear(self, payload: str, *, is_own: bool) -> None:
        for signal in payload.split("\n") if not is_own else ():
            match signal.partition(" "):
                case ("wake", _, _):
                    super().wake()
                case ("cancel", _, run_id):
                    super().cancel(run_id)
                case ("changed", _, object_id):
                    super().changed(object_id)


def _payloads(signals: list[str]) -> list[str]:
    """The signals in as few payloads as they fit into."""
    payloads: list[str] = []
    for signal in signals:
        if payloads and len(payloads[-1]) + 1 + len(signal) <= _MAX_PAYLOAD:
            payloads[-1] += "\n" + signal
        else:
            payloads.append(signal)
    return payloads
