"""What one session that misbehaves does to everybody else: floods of output, processes, memory, files and computing.

A real server with its sandboxd; one session runs the flood and, when it is killed for it, another one; beside it two
others are asked all the time: a trivial cell in a session of its own, and `GET /v1/models` of the server. The same two
without a flood, before and after, are the reference. All of it runs where processes share the processors one by one, as
in a service or a container (see `groups`); `--in-root-group` leaves out what makes it so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from bench import measuring, upstream
from bench.client import Connection
from bench.groups import like_a_service
from bench.measuring import Target, cpu_seconds, descendants, quantile
from bench.server import Server, scratch, serving
from bench.session_start import SMALL_CELL
from locum.errors import LocumError
from locum.sandbox.client import Sandbox

FLOODS = {
    "output": "import os\nwhile True:\n    os.write(1, b'flood ' * 10_000)",
    "fork bomb": """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
    "heap bomb": """
kept = []
while True:
    try:
        kept.append(b'x' * 2**24)
    except MemoryError:
        kept = []
""",
    "shared memory bomb": """
import mmap, os
for _ in range(15):
    if os.fork() == 0:
        break
kept = []
while True:
    kept.append(mmap.mmap(-1, 2**24))
    kept[-1].write(b'x' * 2**24)
""",
    "full disk": """
import os
while True:
    try:
        for number in range(100_000):
            with open(f'file-{number}', 'wb') as file:
                file.write(b'x' * 2**16)
    except OSError:
        for name in os.listdir():
            os.remove(name)
""",
    "busy processes": """
import os
for _ in range(50):
    if os.fork() == 0:
        break
while True:
    pass
""",
}
_PAUSE = 0.002
_SETTLE_SECONDS = 1.0

Act = Callable[[int], Awaitable[object]]


async def asked_for(seconds: float, act: Act) -> list[float]:
    """Milliseconds of each time, over and over."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        await act(len(taken))
        taken.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(_PAUSE)
    return taken


async def flood(sandbox: Sandbox, name: str, found: dict[str, int]) -> None:
    """Until cancelled. A session that is killed for it, or comes to an end, is followed by another."""
    while True:
        found["begun"] = found.get("begun", 0) + 1
        key = f"{name}-{found['begun']}"
        try:
            await sandbox.open(key)
            await sandbox.execute(key, key, FLOODS[name])
        except LocumError:
            await asyncio.sleep(_PAUSE)
        finally:
            with contextlib.suppress(LocumError):
                await sandbox.delete(key)


class Bystanders:
    """Who is asked beside the flood."""

    def __init__(self, server: Server, sandbox: Sandbox, connection: Connection) -> None:
        self._server = server
        self._sandbox = sandbox
        self._connection = connection
        self._calls = 0
        self._harmed = 0

    async def cell(self, _: int) -> None:
        self._calls += 1
        result = await self._sandbox.execute("bystander", f"call-{self._calls}", SMALL_CELL)
        if result.logs != "4\n":
            self._harmed += 1
            print(f"the bystander's cell answered {result}")

    async def get(self, _: int) -> None:
        await self._connection.request("GET", "/models")

    async def measure(self, seconds: float) -> dict[str, Any]:
        self._harmed = 0
        daemon = sandboxd_of(self._server)
        cpu = {"server": cpu_seconds(self._server.pid), "sandboxd": cpu_seconds(daemon)}
        cells, gets = await asyncio.gather(asked_for(seconds, self.cell), asked_for(seconds, self.get))
        return {
            "cell_ms": _times(cells),
            "get_ms": _times(gets),
            "harmed": self._harmed,
            "server_cpu_percent": round(100 * (cpu_seconds(self._server.pid) - cpu["server"]) / seconds),
            "sandboxd_cpu_percent": round(100 * (cpu_seconds(daemon) - cpu["sandboxd"]) / seconds),
        }


def sandboxd_of(server: Server) -> int:
    below = descendants(server.pid)
    return next(pid for pid in below if b"sandboxd" in Path(f"/proc/{pid}/cmdline").read_bytes())


@asynccontextmanager
async def bystanders(server: Server, data_dir: Path) -> AsyncIterator[tuple[Sandbox, Bystanders]]:
    """Both speak with what is running: the sandbox here finds the server's own sandboxd."""
    before = sandboxd_of(server)
    sandbox = Sandbox(data_dir / "sandbox", accepts_weak=True)  # as the server, which has no key here
    status = await sandbox.start()
    if status.tier == "off":
        sys.exit(f"the code interpreter cannot run here: {status.reason}")
    if sandboxd_of(server) != before:
        raise RuntimeError("the server's sandboxd was started with other limits than this benchmark's client")
    async with await Connection.open(server.base_url) as connection:
        await sandbox.open("bystander")
        yield sandbox, Bystanders(server, sandbox, connection)


async def measure(server: Server, data_dir: Path, floods: list[str], seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with bystanders(server, data_dir) as (sandbox, both):
        await both.measure(1)  # warm
        found["alone"] = await both.measure(seconds)
        for name in floods:
            sessions: dict[str, int] = {}
            task = asyncio.create_task(flood(sandbox, name, sessions))
            try:
                found[name] = {**await both.measure(seconds), "sessions": sessions}
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(_SETTLE_SECONDS)
        found["alone, after"] = await both.measure(seconds)
    return found


def _times(values: list[float]) -> dict[str, float]:
    return {
        "p50": round(median(values), 2),
        "p99": round(quantile(values, 0.99), 2),
        "max": round(max(values), 2),
        "count": len(values),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=5, help="of each flood")
    arguments.add_argument("--only", nargs="*", choices=list(FLOODS), default=list(FLOODS))
    arguments.add_argument("--in-root-group", action="store_true")
    options = arguments.parse_args()
    began_on = measuring.machine()
    with (
        nullcontext(False) if options.in_root_group else like_a_service() as apart,
        tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch(), ignore_cleanup_errors=True) as folder,
        upstream.running() as model_url,
        serving(data_dir=Path(folder) / "data", wait_for="Ready.", LOCUM_MODEL_BASE_URL=model_url) as server,
    ):
        figures = uvloop.run(measure(server, Path(folder) / "data", options.only, options.seconds))
    _report({"like_a_service": apart, "floods": figures}, began_on)


def _report(figures: dict[str, Any], began_on: dict[str, Any]) -> None:
    floods = figures["floods"]
    alone = floods["alone"]
    rows = []
    for name, found in floods.items():
        row = [name]
        for what in ("cell_ms", "get_ms"):
            row += [f"{found[what]['p50']:.1f}", f"{found[what]['p99']:.1f}"]
            row.append(f"{found[what]['p99'] / alone[what]['p99']:.1f} x")
        row += [f"{found[f'{process}_cpu_percent']} %" for process in ("server", "sandboxd")]
        rows.append([*row, str(found.get("sessions", {}).get("begun", 0))])
    head = ["flood", "cell p50 ms", "p99 ms", "/ alone", "GET p50 ms", "p99 ms", "/ alone", "server CPU", "sandboxd"]
    measuring.print_table([*head, "sessions"], rows)
    targets = [
        Target(f"a cell beside: {name}, p99, ms", floods[name]["cell_ms"]["p99"], at_most=150)
        for name in FLOODS
        if name in floods
    ]
    harmed = sum(found["harmed"] for found in floods.values())
    targets.append(Target("cells beside that were harmed", harmed, at_most=0))
    measuring.save("session_floods", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
