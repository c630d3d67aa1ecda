"""What a user of the code interpreter waits for: first result, table and plot of a new session, and each further cell.

Every time counts from opening the session to the last byte of what it made. "cold" zygote the session when it is asked
for, "pool" takes one of the spares that were forked ahead. Beside both, in the same run, a Jupyter kernel that is
started for the same cell: Locum zygote from a process that has the libraries loaded, a kernel loads them each time.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench import measuring
from bench.measuring import Target, quantile
from bench.server import scratch
from locum.sandbox.client import Sandbox
from locum.sandbox.limits import Limits

_IMPORTS = "import numpy as np, pandas as pd, matplotlib.pyplot as plt\n"
CELLS = {
    "first result": f"{_IMPORTS}print(int(np.arange(4).sum()))",
    "first describe": f"{_IMPORTS}pd.DataFrame(np.random.rand(1000, 8)).describe()",
    "first plot": f"{_IMPORTS}plt.plot([1, 2, 3], [4, 1, 9], label='sales')\n"
    "plt.title('Sales')\nplt.legend()\nplt.show()",
}
EXPECTED = {"first result": b"6", "first describe": b"count", "first plot": b"\x89PNG"}
SMALL_CELL = "print(2 + 2)"
_WARM = re.compile(r"zygote is warm: .*'seconds': ([0-9.]+)")

Times = dict[str, list[float]]


@asynccontextmanager
async def sandbox_in(folder: Path, limits: Limits, python: str | None = None) -> AsyncIterator[Sandbox]:
    """A sandboxd that is ready to be asked, and is gone at the end."""
    sandbox = Sandbox(folder, limits=limits, python=python)
    status = await sandbox.start()
    if status.tier == "off":
        sys.exit(f"the code interpreter cannot run here: {status.reason}")
    try:
        yield sandbox
    finally:
        await sandbox.close()


async def seen(sandbox: Sandbox, session: str, call: str, code: str) -> bytes:
    """What a cell shows: its image, or else its text."""
    result = await sandbox.execute(session, call, code)
    if result.images:
        return b"".join([data async for data in sandbox.get(session, result.images[0].key)])
    return result.logs.encode()


async def in_new_sessions(sandbox: Sandbox, name: str, cell: str, count: int, pause: float) -> list[float]:
    """Milliseconds from opening a session to the last byte of its first cell."""
    taken = []
    for number in range(count):
        await asyncio.sleep(pause)
        key = f"{name}, {cell}, {number}"
        began = time.perf_counter()
        await sandbox.open(key)
        said = await seen(sandbox, key, key, CELLS[cell])
        taken.append((time.perf_counter() - began) * 1000)
        _check(cell, said)
        await sandbox.delete(key)
    return taken


def _check(cell: str, said: bytes) -> None:
    if EXPECTED[cell] not in said:
        raise RuntimeError(f"the cell for the {cell} showed {said[:200]!r}")


async def cells(sandbox: Sandbox, count: int) -> list[float]:
    taken = []
    await sandbox.open("cells")
    for number in range(count):
        began = time.perf_counter()
        await sandbox.execute("cells", f"cell-{number}", SMALL_CELL)
        taken.append((time.perf_counter() - began) * 1000)
    return taken


async def starts(count: int) -> Times:
    """Seconds: of the zygote until code can be isolated at all, of its libraries, and of all until the first result.

    "first" is on an empty folder, where matplotlib still has to look for fonts; "again" on the one that left.
    """
    taken: Times = {}
    for _ in range(count):
        with _folder() as folder:
            for which in ("first", "again"):
                began = time.perf_counter()
                async with sandbox_in(folder, Limits()) as sandbox:
                    jailed = time.perf_counter() - began
                    await in_new_sessions(sandbox, which, "first result", 1, 0)
                    whole = time.perf_counter() - began
                warm = float(_WARM.findall((folder / "sandboxd.log").read_text())[-1])
                found = {"isolation proved": jailed, "libraries loaded": warm, "first result": whole}
                for what, seconds in found.items():
                    taken.setdefault(f"{which}: {what}", []).append(seconds)
    return taken


async def locum(count: int, pause: float) -> dict[str, Times]:
    found: dict[str, Times] = {}
    for name, spares, wait in (("cold", 0, 0.0), ("pool", 2, pause)):
        with _folder() as folder:
            async with sandbox_in(folder, Limits(spare_sessions=spares)) as sandbox:
                await in_new_sessions(sandbox, "warm", "first result", 3, 0.5)
                times = found[name] = {}
                for cell in CELLS:
                    times[cell] = await in_new_sessions(sandbox, name, cell, count, wait)
                times["cell"] = await cells(sandbox, 3 * count)
    return found


def jupyter(count: int, cell_count: int) -> Times:
    """The same with a fresh ipykernel each time; its files of settings go to an empty folder."""
    taken: Times = {}
    with _folder() as folder:
        os.environ |= {"IPYTHONDIR": str(folder), "JUPYTER_RUNTIME_DIR": str(folder)}
        for _ in range(count):
            for cell, code in CELLS.items():
                began = time.perf_counter()
                with _kernel() as kernel:
                    _check(cell, _seen(kernel, code))
                    taken.setdefault(cell, []).append((time.perf_counter() - began) * 1000)
        taken["cell"] = []
        with _kernel() as kernel:
            for _ in range(cell_count):
                began = time.perf_counter()
                _seen(kernel, SMALL_CELL)
                taken["cell"].append((time.perf_counter() - began) * 1000)
    return taken


@contextmanager
def _kernel() -> Iterator[Any]:
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(stderr=subprocess.DEVNULL)
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _seen(client: Any, code: str) -> bytes:
    said = b""

    def hear(message: dict[str, Any]) -> None:
        nonlocal said
        match message["msg_type"], message["content"]:
            case "stream", {"text": text}:
                said += text.encode()
            case "display_data", {"data": {"image/png": png}}:
                said += base64.b64decode(png)
            case "execute_result", {"data": {"text/plain": text}}:
                said += text.encode()

    client.execute_interactive(code, timeout=60, output_hook=hear)
    return said


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch(), ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sessions", type=int, default=100, help="of each kind")
    arguments.add_argument("--kernels", type=int, default=5, help="of each kind")
    arguments.add_argument("--starts", type=int, default=3)
    arguments.add_argument("--pause", type=float, default=0.2, help="seconds for a spare to be forked in")
    options = arguments.parse_args()
    began_on = measuring.machine()
    figures: dict[str, Any] = {"start_s": _spreads(asyncio.run(starts(options.starts)))}
    found = asyncio.run(locum(options.sessions, options.pause))
    found["jupyter"] = jupyter(options.kernels, 3 * options.sessions)
    figures |= {name: {what: _times(values) for what, values in times.items()} for name, times in found.items()}
    _report(figures, began_on)


def _spreads(times: Times) -> dict[str, dict[str, float]]:
    return {name: measuring.spread(values) for name, values in times.items()}


def _times(values: list[float]) -> dict[str, float]:
    return {
        "p50_ms": round(median(values), 2),
        "p99_ms": round(quantile(values, 0.99), 2),
        "min_ms": round(min(values), 2),
        "count": len(values),
    }


def _report(figures: dict[str, Any], began_on: dict[str, Any]) -> None:
    starts = figures["start_s"]
    rows = [[name, *(f"{times[of]:.2f}" for of in ("median", "min", "max"))] for name, times in starts.items()]
    measuring.print_table(["sandboxd, from its start, s", "median", "min", "max"], rows)
    cold, pool, theirs = figures["cold"], figures["pool"], figures["jupyter"]
    rows = []
    for what, kernel in theirs.items():
        for name in ("cold", "pool", "jupyter"):
            times = figures[name][what]
            figure = (f"{times[key]:.1f}" for key in ("p50_ms", "p99_ms", "min_ms"))
            rows.append([f"{what}: {name}", *figure, f"{kernel['p50_ms'] / times['p50_ms']:.1f} x"])
    measuring.print_table(["", "p50 ms", "p99 ms", "best ms", "faster than Jupyter"], rows)
    first, plot, table = "first result", "first plot", "first describe"
    targets = [
        Target("first result, cold, p50, ms", cold[first]["p50_ms"], at_most=15),
        Target("first result, cold, p99, ms", cold[first]["p99_ms"], at_most=40),
        Target("first result, pool, p50, ms", pool[first]["p50_ms"], at_most=5),
        Target("first result, pool, p99, ms", pool[first]["p99_ms"], at_most=40),
        Target("first result, Jupyter / cold", theirs[first]["p50_ms"] / cold[first]["p50_ms"], at_least=50),
        Target("first plot as PNG, cold, p50, ms", cold[plot]["p50_ms"], at_most=120),
        Target("first describe, cold, p50, ms", cold[table]["p50_ms"], at_most=120),
        Target("cell, Locum / Jupyter", pool["cell"]["p50_ms"] / theirs["cell"]["p50_ms"], at_most=1),
    ]
    measuring.save("session_start", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
