"""Count rejected keys, and report them in the log once a minute at most."""

from __future__ import annotations

import asyncio

import structlog

log = structlog.get_logger(__name__)

_REPORT_SECONDS = 60.0


class Rejections:
    """Counter of rejected keys. The first one is logged at once, later ones in one line per interval."""

    def __init__(self, *, report_seconds: float = _REPORT_SECONDS) -> None:
        self._report_seconds = report_seconds
        self._unreported = 0
        self._is_waiting = False
        self.total = 0
        """Rejected keys since the start."""

    def add(self) -> None:
        """Count a rejected key."""
        self.total += 1
        self._unreported += 1
        if not self._is_waiting:
            self._report()

    def _report(self) -> None:
        self._is_waiting = self._unreported > 0
        if self._is_waiting:
            log.warning("API keys rejected", count=self._unreported, total=self.total)
            self._unreported = 0
            asyncio.get_running_loop().call_later(self._report_seconds, self._report)
