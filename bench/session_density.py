"""What a session costs while it is there: the memory of one, exactly; and five hundred of them at once.

Memory is counted from outside (see `groups`): of sandboxd and all below it, less what it was before the first
session. The crowd is opened one by one; then nobody asks for anything, and what sandboxd and its zygote still use is
what it costs to keep sessions; then cells run in sessions chosen at random.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench import measuring
from bench.groups import Meter, metering
from bench.measuring import Target, cpu_seconds, descendants, memory_mib, quantile
from bench.server import scratch
from bench.session_start import CELLS, SMALL_CELL, sandbox_in
from locum.sandbox.client import Sandbox
from locum.sandbox.limits import MIB, Limits

STEPS = {
    "after a cell": SMALL_CELL,
    "after a pandas frame": "import numpy as np, pandas as pd\n"
    "df = pd.DataFrame(np.random.rand(1000, 8))\nprint(df.describe())",
    "after a plot, too": CELLS["first plot"],
}
_SETTLE_SECONDS = 1.0


@asynccontextmanager
async def crowd(most: int) -> AsyncIterator[tuple[Sandbox, Meter]]:
    """A warm sandbox without a session, and the meter of it."""
    # No session is to leave for another: it is this benchmark that counts their memory.
    limits = Limits(
        max_sessions=most + 1, memory_budget_bytes=1024 * 1024 * MIB, spare_sessions=0, zygote_sessions=10 * most + 1000
    )
    with metering() as meter, tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch()) as folder:
        async with sandbox_in(Path(folder) / "sandbox", limits) as sandbox:
            await sandbox.open("first")
            await sandbox.execute("first", "call", SMALL_CELL)
            await sandbox.delete("first")
            await asyncio.sleep(_SETTLE_SECONDS)
            meter.leave()
            yield sandbox, meter


def sandboxd() -> int:
    """The one that this process has started."""
    below = descendants(os.getpid())
    return next(pid for pid in below if b"sandboxd" in Path(f"/proc/{pid}/cmdline").read_bytes())


async def all_ended(among: list[int], seconds: float = 60) -> None:
    """Return when below sandboxd there is nobody but those."""
    end = time.monotonic() + seconds
    while not set(descendants(among[0])) <= set(among):
        if time.monotonic() > end:
            raise RuntimeError("some sessions have not ended")
        await asyncio.sleep(0.01)


async def memory_of_one(count: int) -> dict[str, Any]:
    """MiB per session, of `count` of them that all do the same."""
    found: dict[str, Any] = {}
    async with crowd(count) as (sandbox, meter):
        found["counted_by"] = meter.how
        before, kernel, shares = meter.mib(), meter.kernel_mib(), meter.pss_mib()
        found["zygote_pss_mib"] = round(shares, 1)

        async def take(when: str) -> None:
            await asyncio.sleep(_SETTLE_SECONDS)
            of_kernel = None if kernel is None else round(((meter.kernel_mib() or 0) - kernel) / count, 2)
            found[when] = {
                "mib": round((meter.mib() - before) / count, 2),
                "kernel_mib": of_kernel,
                "pss_mib": round((meter.pss_mib() - shares) / count, 2),
            }

        for number in range(count):
            await sandbox.open(f"session-{number}")
        await take("idle")
        for step, code in STEPS.items():
            for number in range(count):
                result = await sandbox.execute(f"session-{number}", f"{step}-{number}", code)
                if not result.ok:
                    raise RuntimeError(f"the cell failed: {result.logs}")
            await take(step)
    return found


async def many(count: int, samples: int, idle_seconds: float) -> dict[str, Any]:
    async with crowd(count) as (sandbox, meter):
        found: dict[str, Any] = {"sessions": count}
        daemon, *_ = staff = descendants(sandboxd())
        before, free = meter.mib(), _available_mib()
        daemon_before = memory_mib(daemon)

        began = time.perf_counter()
        for number in range(count):
            await sandbox.open(f"session-{number}")
        found["opened_per_second"] = round(count / (time.perf_counter() - began), 1)
        await asyncio.sleep(_SETTLE_SECONDS)
        found["mib"] = round(meter.mib() - before, 1)
        found["machine_mib"] = round(free - _available_mib(), 1)
        found["sandboxd_grew_mib"] = round(memory_mib(daemon)["private"] - daemon_before["private"], 1)
        found["sandboxd_pss_mib"] = round(memory_mib(daemon)["pss"], 1)

        cpu = [cpu_seconds(pid) for pid in staff]
        await asyncio.sleep(idle_seconds)
        used = [100 * (cpu_seconds(pid) - earlier) / idle_seconds for pid, earlier in zip(staff, cpu, strict=True)]
        found["sandboxd_idle_cpu_percent"] = round(used[0], 2)
        found["zygote_idle_cpu_percent"] = round(sum(used[1:]), 2)

        chosen = random.Random(1)  # the same ones each time
        taken = []
        for sample in range(samples):
            key = f"session-{chosen.randrange(count)}"
            began = time.perf_counter()
            await sandbox.execute(key, f"sample-{sample}", SMALL_CELL)
            taken.append((time.perf_counter() - began) * 1000)
        found["cell_ms"] = {"p50": round(median(taken), 2), "p99": round(quantile(taken, 0.99), 2)}

        began = time.perf_counter()
        for number in range(count):
            await sandbox.delete(f"session-{number}")
        await all_ended(staff)
        found["teardown_seconds"] = round(time.perf_counter() - began, 2)
        await asyncio.sleep(_SETTLE_SECONDS)
        found["left_behind_mib"] = round(meter.mib() - before, 1)
    return found


def _available_mib() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no MemAvailable")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sessions", type=int, default=500, help="at once")
    arguments.add_argument("--weighed", type=int, default=50, help="whose memory is measured")
    arguments.add_argument("--samples", type=int, default=500, help="cells in sessions chosen at random")
    arguments.add_argument("--idle-seconds", type=float, default=20)
    options = arguments.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # sandboxd holds four descriptors per session
    began_on = measuring.machine()
    figures = {
        "one": asyncio.run(memory_of_one(options.weighed)),
        "many": asyncio.run(many(options.sessions, options.samples, options.idle_seconds)),
    }
    _report(figures, began_on)


def _report(figures: dict[str, Any], began_on: dict[str, Any]) -> None:
    one, crowd = figures["one"], figures["many"]
    rows = []
    for when in ("idle", *STEPS):
        kernel = "-" if one[when]["kernel_mib"] is None else f"{one[when]['kernel_mib']:.2f}"
        rows.append([when, f"{one[when]['mib']:.2f}", kernel, f"{one[when]['pss_mib']:.2f}"])
    measuring.print_table([f"a session, MiB ({one['counted_by']})", "all", "kernel's", "PSS"], rows)
    cells = crowd["cell_ms"]
    rows = [
        ["opened, one by one, per second", f"{crowd['opened_per_second']:.0f}"],
        ["memory of all of them, MiB", f"{crowd['mib']:.0f}"],
        ["less memory available on the machine, MiB", f"{crowd['machine_mib']:.0f}"],
        ["sandboxd: memory (PSS), MiB", f"{crowd['sandboxd_pss_mib']:.1f}"],
        ["sandboxd: grown by, MiB", f"{crowd['sandboxd_grew_mib']:.1f}"],
        ["sandboxd: CPU while idle, % of a core", f"{crowd['sandboxd_idle_cpu_percent']:.2f}"],
        ["zygote: CPU while idle, % of a core", f"{crowd['zygote_idle_cpu_percent']:.2f}"],
        ["a cell in one of them, p50 ms", f"{cells['p50']:.1f}"],
        ["a cell in one of them, p99 ms", f"{cells['p99']:.1f}"],
        ["all deleted after, s", f"{crowd['teardown_seconds']:.2f}"],
        ["memory left behind, MiB", f"{crowd['left_behind_mib']:.1f}"],
    ]
    measuring.print_table([f"{crowd['sessions']} sessions at once", ""], rows)
    targets = [
        Target("idle session, MiB", one["idle"]["mib"], at_most=6),
        Target("session after a pandas frame, MiB", one["after a pandas frame"]["mib"], at_most=16),
        Target("cell in one of many sessions, p99, ms", cells["p99"], at_most=50),
        Target("sandboxd's CPU while all are idle, %", crowd["sandboxd_idle_cpu_percent"], at_most=1),
    ]
    measuring.save("session_density", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
