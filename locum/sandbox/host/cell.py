"""One execution of code in a session, followed by any number of readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from locum.sandbox.session import CellResult


class Cell:
    """Output of a cell so far and, when it is over, its result or failure."""

    def __init__(self) -> None:
        self.interrupt = asyncio.Event()
        self.pieces: list[str] = []
        self.result: CellResult | None = None
        self.failure: Exception | None = None
        self._changed = asyncio.Event()

    def add(self, piece: str) -> None:
        self.pieces.append(piece)
        self._notify()

    def finish(self, result: CellResult | None, failure: Exception | None = None) -> None:
        self.result, self.failure = result, failure
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self) -> AsyncIterator[str]:
        """Yield every piece from the first on; ends when the cell has."""
        sent = 0
        while True:
            changed = self._changed
            while sent < len(self.pieces):
                sent += 1
                yield self.pieces[sent - 1]
            if self.result is not None or self.failure is not None:
                return
            await changed.wait()
