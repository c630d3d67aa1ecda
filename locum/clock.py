"""Time is passed in, so that a test can move it: nothing else in Locum asks the system for the time of day."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the epoch."""

system_clock: Clock = time.time
