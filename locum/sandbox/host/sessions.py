"""Sessions as sandboxd keeps them: one per key, each with a process, files with their tags, and the cells it ran.

Covered: a cell runs once per call id, however often it is asked for; a session whose process died gets a successor
with the same files; idle sessions end after their time and make room when there are too many or too large ones.

Not covered: nothing is written to disk: sessions end with sandboxd.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec

from locum import ids
from locum.clock import Clock, system_clock
from locum.domain.usage import SessionUsage
from locum.sandbox.host import collect, policy
from locum.sandbox.host.cell import Cell
from locum.sandbox.host.kernel import Ending, KernelProcess
from locum.sandbox.host.zygote import ForkFailed, Zygote
from locum.sandbox.host.zygotes import Zygotes
from locum.sandbox.limits import Limits
from locum.sandbox.output import Transcript
from locum.sandbox.session import (
    CellResult,
    NotWritable,
    Opened,
    Output,
    QuotaExceeded,
    SandboxUnavailable,
    SessionLost,
    Tier,
)
from locum.sandbox.stats import CellOutcome, End, Stats
from locum.tasks import TaskSet

log = logging.getLogger("locum.sandbox")

_KEPT_RESULTS = 64
_KEPT_NAMES = 10_000
_WATCH_SECONDS = 0.25
_SWEEP_SECONDS = 5.0


class Session:
    """What belongs to one key. `kernel` may have died: its files are still there for the successor."""

    def __init__(self, key: str, *, existed: bool, now: float, opened_at: int) -> None:
        self.key = key
        self.instance = ids.new("session_")
        self.opened = now
        self.opened_at = opened_at
        self.cell_count = 0
        self._earlier_cpu_seconds = 0.0
        self._earlier_peak_memory = 0
        self.kernel: KernelProcess | None = None
        self.tags: dict[str, str] = {}
        self.cells: OrderedDict[str, Cell] = OrderedDict()
        self.outputs: dict[str, collect.Found] = {}
        self.lock = asyncio.Lock()
        self.last_used = now
        self.running = 0
        self.fresh = True
        self.lost_variables = existed
        self.lost_reported = False
        self.kept_files = False

    @property
    def memory(self) -> int:
        return self.kernel.consumption.memory if self.kernel else 0

    @property
    def cpu_seconds(self) -> float:
        return self._earlier_cpu_seconds + (self.kernel.consumption.cpu_seconds if self.kernel else 0)

    @property
    def peak_memory(self) -> int:
        return max(self._earlier_peak_memory, self.kernel.consumption.peak_memory if self.kernel else 0)

    def usage(self, now: float) -> SessionUsage:
        return SessionUsage(
            instance=self.instance,
            opened_at=self.opened_at,
            last_used_at=self.opened_at + int(now - self.opened),  # whoever sets the time of day changes no hours
            cells=self.cell_count,
            cpu_seconds=round(self.cpu_seconds, 3),
            peak_memory_bytes=self.peak_memory,
        )

    def succeed(self, kernel: KernelProcess) -> None:
        """From now on the session's process is that one."""
        self._earlier_cpu_seconds, self._earlier_peak_memory = self.cpu_seconds, self.peak_memory
        self.kernel = kernel

    def close(self) -> None:
        if self.kernel is not None:
            self.kernel.release()


class Sessions:
    def __init__(
        self,
        limits: Limits,
        make_zygote: Callable[[Tier], Zygote],
        clock: Callable[[], float] = time.monotonic,
        time_of_day: Clock = system_clock,
    ) -> None:
        memory = policy.machine_memory()
        self._limits = limits
        self._most = policy.most_sessions(limits, memory)
        self._budget = policy.memory_budget(limits, memory)
        self._zygotes = Zygotes(limits, make_zygote)
        self._clock = clock
        self._time_of_day = time_of_day
        self._stats = Stats()
        self._sessions: dict[str, Session] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()  # keys whose variables were lost
        self._tasks = TaskSet()

    def begin(self, zygote: Zygote) -> None:
        """Take over a zygote that the probe has started; it loads its libraries from here on."""
        self._zygotes.begin(zygote)
        self._tasks.start(self._watch())
        self._tasks.start(self._sweep())

    async def open(self, key: str, *, lost: bool) -> Opened:
        self.expire_idle()  # the sweep may not have come round
        session = self._sessions.get(key)
        if session is None:
            self._make_room()
            existed = lost or key in self._ended
            now, opened_at = self._clock(), int(self._time_of_day())
            session = self._sessions[key] = Session(key, existed=existed, now=now, opened_at=opened_at)
        session.lost_variables |= lost and session.fresh
        with self._using(session):
            # One that runs a cell is open: who comes back to that cell must not wait for its end.
            if session.kernel is None or not session.kernel.is_alive():
                async with session.lock:
                    try:
                        await self._ensure_kernel(session)
                    except ForkFailed as failure:
                        if session.kernel is None:
                            self._drop(session)
                        raise SandboxUnavailable(f"the code interpreter could not start: {failure}") from failure
            return Opened(fresh=session.fresh, files=dict(session.tags))

    async def put(self, key: str, name: str, tag: str, chunks: AsyncIterator[bytes]) -> None:
        session = self._known(key)
        with self._using(session):
            async with session.lock:
                kernel = await self._ensure_kernel(session)
                try:
                    incoming = collect.Incoming(kernel.folder, name, kernel.owner)
                    try:
                        async for chunk in chunks:
                            incoming.write(chunk)
                        incoming.keep()
                    finally:
                        incoming.close()
                except OSError as failure:
                    raise _put_failure(name, failure, self._limits) from failure
                session.tags[name] = tag

    def execute(self, key: str, call_id: str, code: str, preface: str = "") -> Cell:
        """The cell of that id, started if it is new. It runs to its end whoever listens. What it shows begins with
        `preface`."""
        session = self._known(key)
        cell = session.cells.get(call_id)
        if cell is None:
            cell = session.cells[call_id] = Cell()
            while len(session.cells) > _KEPT_RESULTS:
                session.cells.popitem(last=False)
            session.fresh = False
            self._tasks.start(self._run(session, cell, code, preface))
        return cell

    async def _run(self, session: Session, cell: Cell, code: str, preface: str) -> None:
        with self._using(session):
            async with session.lock:
                try:
                    cell.finish(await self._cell(session, cell, code, preface))
                except Exception as failure:
                    log.exception("a cell could not be run")
                    cell.finish(None, SessionLost(f"the session was lost: {failure}"))

    async def _cell(self, session: Session, cell: Cell, code: str, preface: str) -> CellResult:
        kernel = await self._ensure_kernel(session)
        if cell.interrupt.is_set():
            return CellResult(logs="[The cell was interrupted before it began.]\n", ok=False, error="KeyboardInterrupt")
        lost_before, session.lost_variables = session.lost_variables, False
        session.outputs = {}
        before = await collect.in_thread(kernel.folder, collect.prepare)
        self._ask_whether_deleted(session)
        transcript = Transcript(self._limits.output_bytes, cell.add, kernel.names)
        transcript.begin(preface + (_reset_note(session) if lost_before else ""))
        session.cell_count += 1
        began = self._clock()
        ending = await kernel.run(code, transcript, cell.interrupt)
        await kernel.glance()
        self._count(ending, self._clock() - began)
        # Who interrupts a cell does not wait for what becomes of it: that is for the next one to say.
        session.lost_reported = ending.lost and ending.how != "interrupted"
        outputs = await collect.in_thread(kernel.folder, lambda folder: collect.collect(folder, before, self._limits))
        note = self._note(ending, outputs.files_left_out, outputs.images_left_out)
        error = {"timeout": "Timeout", "interrupted": "KeyboardInterrupt", "died": "SessionDied"}.get(ending.how)
        error = error or ending.error
        return CellResult(
            logs=transcript.close(note),
            ok=error is None,
            error=error,
            images=_offer(session, "image", outputs.images),
            files=_offer(session, "file", outputs.files),
            removed=outputs.removed,
            reset=lost_before or ending.lost,
            reason=ending.reason,
            usage=session.usage(self._clock()),
        )

    def _count(self, ending: Ending, seconds: float) -> None:
        outcome: CellOutcome = ending.how if ending.how != "done" else "error" if ending.error else "ok"
        self._stats.cells[outcome] += 1
        self._stats.cell_seconds.add(seconds)

    def _note(self, ending: Ending, files: int, images: int) -> str:
        """How the cell ended, in words the model can act on."""
        lost = " Its variables are lost; the files in /mnt/data were kept." if ending.lost else ""
        lines = []
        if ending.how == "timeout":
            lines.append(f"[The cell ran longer than {self._limits.cell_seconds:g} seconds and was stopped.{lost}]")
        elif ending.how == "interrupted":
            lines.append(f"[The cell was interrupted.{lost}]")
        elif ending.how == "died":
            lines.append(f"[The session died: {ending.reason}.{lost}]")
        if files:
            lines.append(f"[{files} files were not collected: too many, or too large.]")
        if images:
            lines.append(f"[{images} images were not collected: too many, or too large.]")
        return "".join(f"{line}\n" for line in lines)

    def read(self, key: str, output: str) -> Iterator[bytes]:
        session = self._known(key)
        found = session.outputs.get(output)
        if found is None or session.kernel is None:
            raise SessionLost("that output is no longer there: it can be fetched until the session's next cell begins")
        session.last_used = self._clock()
        try:
            yield from collect.read(session.kernel.folder, found)
        except OSError as failure:
            raise SessionLost(f"{found.name} is no longer there") from failure

    def delete(self, key: str) -> None:
        session = self._sessions.get(key)
        if session is not None:
            self._drop(session, "deleted")
        self._ended.pop(key, None)

    async def usage(self, key: str) -> SessionUsage | None:
        session = self._sessions.get(key)
        if session is None or session.kernel is None:
            return None
        if session.running:
            await session.kernel.look()
        return session.usage(self._clock() if session.running else session.last_used)

    def stats(self) -> Stats:
        """What there was and is."""
        live = self._sessions.values()
        return msgspec.structs.replace(
            self._stats,
            sessions=len(live),
            busy_sessions=sum(session.running > 0 for session in live),
            memory_bytes=sum(use.memory for use in self._uses()),
            cpu_seconds=self._stats.cpu_seconds + sum(session.cpu_seconds for session in live),
        )

    async def _ensure_kernel(self, session: Session) -> KernelProcess:
        """The session's process, or a successor that has the files of the one that died."""
        old = session.kernel
        if old is not None and old.is_alive():
            return old
        began = self._clock()
        kernel = await self._zygotes.take()
        try:
            self._ask_whether_deleted(session)
            self._stats.start_seconds.add(self._clock() - began)
            if old is not None:
                await self._copy_files(old, kernel)
                self._ask_whether_deleted(session)
        except BaseException:
            kernel.release()
            raise
        if old is None:
            self._stats.opened += 1
        else:
            old.release()
            session.kept_files = True
            session.lost_variables |= not session.lost_reported
            self._stats.ended["died"] += 1
        session.succeed(kernel)
        session.outputs = {}
        return kernel

    def _ask_whether_deleted(self, session: Session) -> None:
        """After every pause: who deletes a session lets go of its process and its files."""
        if self._sessions.get(session.key) is not session:
            raise SessionLost("the session was deleted meanwhile")

    async def _copy_files(self, old: KernelProcess, new: KernelProcess) -> None:
        """In a thread, with descriptors of its own: their numbers may soon be another session's."""
        source, target = os.dup(old.folder), os.dup(new.folder)

        def copy() -> None:
            try:
                collect.copy_files(source, target, new.owner, self._limits)
            finally:
                os.close(source)
                os.close(target)

        await asyncio.to_thread(copy)

    def _make_room(self) -> None:
        """Before one more session: those that were idle longest leave."""
        leaving = policy.evicted(self._uses(), most=self._most - 1, budget=self._budget)
        for key in leaving:
            self._expire(key, "evicted")
        if len(self._sessions) >= self._most:
            raise SandboxUnavailable(f"all {self._most} sessions of the code interpreter are running code; try again")

    def _uses(self) -> list[policy.Use]:
        return [
            policy.Use(key, session.last_used, session.running > 0, session.memory)
            for key, session in self._sessions.items()
        ]

    async def _watch(self) -> None:
        """The memory of every session that runs code, or has since the last look; of all together, the sum."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for session in list(self._sessions.values()):
                if session.kernel is not None and (session.running or not session.kernel.consumption.is_current):
                    self._tasks.start(session.kernel.look())  # one that takes long holds up no other
            busy = [session for session in self._sessions.values() if session.running and session.kernel]
            if not busy:
                continue
            for key in policy.evicted(self._uses(), most=self._most, budget=self._budget):
                self._expire(key, "evicted")
            largest = max(busy, key=lambda session: session.memory)
            if sum(use.memory for use in self._uses()) > self._budget and largest.kernel is not None:
                largest.kernel.kill("all sessions together used more memory than there is for them")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.expire_idle()

    def expire_idle(self) -> list[str]:
        leaving = policy.expired(self._uses(), self._clock(), self._limits.idle_seconds)
        for key in leaving:
            self._expire(key, "idle")
        return leaving

    def _expire(self, key: str, why: End) -> None:
        """End a session, but remember that there was one: its next cell says that variables are gone."""
        self._drop(self._sessions[key], why)
        self._ended[key] = None
        while len(self._ended) > _KEPT_NAMES:
            self._ended.popitem(last=False)

    def _drop(self, session: Session, why: End | None = None) -> None:
        if self._sessions.get(session.key) is session:
            del self._sessions[session.key]
            self._stats.cpu_seconds += session.cpu_seconds
            if why is not None:
                self._stats.ended[why] += 1
        session.close()

    def _known(self, key: str) -> Session:
        session = self._sessions.get(key)
        if session is None:
            raise SessionLost("there is no such session (any more); open it first")
        return session

    @contextlib.contextmanager
    def _using(self, session: Session) -> Iterator[None]:
        session.running += 1
        try:
            yield
        finally:
            session.running -= 1
            session.last_used = self._clock()

    async def close(self) -> None:
        await self._tasks.cancel()
        for session in list(self._sessions.values()):
            self._drop(session)
        await self._zygotes.close()


def _reset_note(session: Session) -> str:
    kept = " The files in /mnt/data were kept." if session.kept_files else ""
    return f"[This session is new: the variables of earlier calls are gone.{kept}]\n"


def _offer(session: Session, kind: str, found: list[collect.Found]) -> tuple[Output, ...]:
    """Give each file a key to fetch it by: what the session called it never comes back as a path."""
    outputs = []
    for number, file in enumerate(found, start=1):
        key = f"{kind}-{number}"
        session.outputs[key] = file
        outputs.append(Output(key=key, name=file.name, size=file.size))
    return tuple(outputs)


def _put_failure(name: str, failure: OSError, limits: Limits) -> Exception:
    if failure.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        size = limits.disk_bytes // 2**20
        return QuotaExceeded(f"{name} does not fit: /mnt/data holds {size} MiB and {limits.inodes} files")
    return NotWritable(f"{name} cannot be written to /mnt/data: {failure.strerror}")
