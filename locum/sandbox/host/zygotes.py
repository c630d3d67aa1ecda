"""Pool of kernel processes: one warm zygote, spares forked ahead, and the zygote's replacement when it is worn.

Covered: a zygote that died is started again at the next use; one that has served for long is replaced in the
background, and its sessions live on. Not covered: isolation itself, see `isolation`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable

from locum.sandbox.host.kernel import KernelProcess
from locum.sandbox.host.zygote import ForkFailed, Zygote
from locum.sandbox.limits import Limits
from locum.sandbox.session import Tier
from locum.tasks import TaskSet

log = logging.getLogger("locum.sandbox")

_REFILL_SECONDS = 0.02


class Zygotes:
    """make_zygote: returns one that has not been started."""

    def __init__(self, limits: Limits, make_zygote: Callable[[Tier], Zygote]) -> None:
        self._limits = limits
        self._make_zygote = make_zygote
        self._current: Zygote | None = None
        self._tier: Tier = "off"
        self._is_replacing = False
        self._retired: list[Zygote] = []
        self._starting = asyncio.Lock()
        self._refilling = asyncio.Lock()
        self._spares: deque[KernelProcess] = deque()
        self._tasks = TaskSet()

    def begin(self, zygote: Zygote) -> None:
        """Take over a zygote that the probe has started; it loads its libraries from here on."""
        self._current = zygote
        self._tier = zygote.tier
        self._tasks.start(self._warm_up(zygote))

    async def take(self) -> KernelProcess:
        zygote = await self._warm()
        while self._spares:
            kernel = self._spares.popleft()
            if kernel.is_alive():
                break
            kernel.release()
        else:
            kernel = await self._fork(zygote)
        self._tasks.start(self._refill(zygote))
        return kernel

    async def _fork(self, zygote: Zygote) -> KernelProcess:
        """A zygote may have died so recently that only this attempt shows it."""
        try:
            return await zygote.fork()
        except ForkFailed:
            if zygote.alive:
                raise
            return await (await self._warm()).fork()

    async def _warm(self) -> Zygote:
        """The zygote, or a new one when it has died; one that has served for long is replaced behind our back."""
        async with self._starting:
            zygote = self._current
            if zygote is None or not zygote.alive:
                if zygote is not None:
                    zygote.close()
                zygote = self._current = await self._start()
            else:
                await zygote.wait_warm()
                if self._is_worn(zygote) and not self._is_replacing:
                    self._is_replacing = True
                    self._tasks.start(self._replace(zygote))
            return zygote

    async def _start(self) -> Zygote:
        zygote = self._make_zygote(self._tier)
        try:
            await zygote.start()
            await zygote.warm()
        except BaseException:
            zygote.close()
            raise
        return zygote

    def _is_worn(self, zygote: Zygote) -> bool:
        age = time.monotonic() - zygote.began
        return zygote.forked >= self._limits.zygote_sessions or age >= self._limits.zygote_seconds

    async def _replace(self, worn: Zygote) -> None:
        """Its sessions live on; new ones have another address layout, and the packages of today."""
        try:
            fresh = await self._start()
        except (ForkFailed, TimeoutError) as failure:
            log.error("the zygote could not be replaced: %s", failure)
            return
        finally:
            self._is_replacing = False
        if self._current is worn:
            self._current = fresh
            self._retired = [zygote for zygote in self._retired if zygote.alive] + [worn]
            worn.retire()
            log.info("a new zygote is warm: %s", fresh.warmth)
        else:
            fresh.close()

    async def _warm_up(self, zygote: Zygote) -> None:
        try:
            await zygote.warm()
            log.info("zygote is warm: %s", zygote.warmth)
            await self._refill(zygote)
        except (ForkFailed, TimeoutError) as failure:
            log.error("the zygote could not load its libraries: %s", failure)
            zygote.close()

    async def _refill(self, zygote: Zygote) -> None:
        """After a moment: whoever took the last spare is about to use it, and a fork would be in the way."""
        if self._refilling.locked():
            return
        async with self._refilling:
            await asyncio.sleep(_REFILL_SECONDS)
            with contextlib.suppress(ForkFailed):
                while zygote is self._current and zygote.alive and len(self._spares) < self._limits.spare_sessions:
                    self._spares.append(await zygote.fork(spare=True))

    async def close(self) -> None:
        """End all zygotes, and every session with them."""
        await self._tasks.cancel()
        for spare in self._spares:
            spare.release()
        for zygote in (*self._retired, self._current):
            if zygote is not None:
                zygote.close()
