"""Wait for a change of an object instead of polling it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from locum.signals.base import Signals

T = TypeVar("T")

_LOOK_SECONDS = 1.0


async def until(
    signals: Signals,
    object_id: str,
    look: Callable[[], Awaitable[T]],
    is_over: Callable[[T], bool],
    *,
    seconds: float,
) -> T:
    """Call `look` at every change of the object; return its value once `is_over` says so.

    Returns the latest value after `seconds`, or when the server stops.
    """
    with signals.watch(object_id) as change:
        seen = await look()
        deadline = asyncio.get_running_loop().time() + seconds
        while not is_over(seen) and not signals.is_stopping:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            with suppress(TimeoutError):  # a signal may be lost: a look now and then costs little
                await asyncio.wait_for(change.wait(), min(left, _LOOK_SECONDS))
            change.clear()
            seen = await look()
    return seen
