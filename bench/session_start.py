"""The code interpreter's first result in a new session, beside a Jupyter kernel's with the same imports; and one cell.

Locum forks its sessions from a process that has the libraries loaded, a kernel loads them each time. "ready" leaves
time for the spare session to be there, "in a row" opens one session after the other without a pause.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench import measuring
from bench.measuring import Target, quantile
from bench.server import scratch
from locum.sandbox.client import Sandbox

CELL = "import numpy, pandas, matplotlib.pyplot\nprint(int(numpy.arange(4).sum()))"
EXPECTED = "6"
SMALL_CELL = "print(2 + 2)"


async def sessions(sandbox: Sandbox, name: str, count: int, pause: float) -> list[float]:
    """Milliseconds from opening a session to the result of its first cell."""
    taken = []
    for number in range(count):
        await asyncio.sleep(pause)
        began = time.perf_counter()
        await sandbox.open(f"{name}-{number}")
        result = await sandbox.execute(f"{name}-{number}", f"call-{name}-{number}", CELL)
        taken.append((time.perf_counter() - began) * 1000)
        if result.logs.strip() != EXPECTED:
            raise RuntimeError(f"the cell said {result.logs!r}")
        await sandbox.delete(f"{name}-{number}")
    return taken


async def cells(sandbox: Sandbox, count: int) -> list[float]:
    taken = []
    await sandbox.open("cells")
    for number in range(count):
        began = time.perf_counter()
        await sandbox.execute("cells", f"call-{number}", SMALL_CELL)
        taken.append((time.perf_counter() - began) * 1000)
    return taken


async def locum(count: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch(), ignore_cleanup_errors=True) as folder:
        sandbox = Sandbox(Path(folder) / "sandbox")
        began = time.perf_counter()
        status = await sandbox.start()
        if status.tier == "off":
            sys.exit(f"the code interpreter cannot run here: {status.reason}")
        try:
            await sessions(sandbox, "warm", 1, 0)
            warm = (time.perf_counter() - began) * 1000
            return {
                "sandboxd to first result": [warm],
                "session, ready": await sessions(sandbox, "ready", count, 0.3),
                "session, in a row": await sessions(sandbox, "row", count, 0),
                "cell": await cells(sandbox, 5 * count),
            }
        finally:
            await sandbox.close()


def jupyter(count: int, cell_count: int) -> dict[str, list[float]]:
    """The same with a fresh ipykernel each time; its files of settings go to an empty folder."""
    with tempfile.TemporaryDirectory(prefix="locum-bench-") as folder:
        os.environ |= {"IPYTHONDIR": folder, "JUPYTER_RUNTIME_DIR": folder, "MPLBACKEND": "agg"}
        from jupyter_client.manager import start_new_kernel

        started: list[float] = []
        taken: list[float] = []
        for last in (*(False,) * (count - 1), True):
            began = time.perf_counter()
            manager, client = start_new_kernel(stderr=subprocess.DEVNULL)
            try:
                if _result(client, CELL) != EXPECTED:
                    raise RuntimeError("the kernel's cell said something else")
                started.append((time.perf_counter() - began) * 1000)
                for _ in range(cell_count if last else 0):
                    began = time.perf_counter()
                    _result(client, SMALL_CELL)
                    taken.append((time.perf_counter() - began) * 1000)
            finally:
                client.stop_channels()
                manager.shutdown_kernel(now=True)
        return {"kernel": started, "cell": taken}


def _result(client: Any, code: str) -> str:
    said: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            said.append(message["content"]["text"])

    client.execute_interactive(code, timeout=60, output_hook=hear)
    return "".join(said).strip()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sessions", type=int, default=20)
    arguments.add_argument("--kernels", type=int, default=5)
    options = arguments.parse_args()
    began_on = measuring.machine()
    ours = asyncio.run(locum(options.sessions))
    theirs = jupyter(options.kernels, 5 * options.sessions)
    figures = {
        "locum": {name: _times(values) for name, values in ours.items()},
        "jupyter": {name: _times(values) for name, values in theirs.items()},
    }
    _report(figures, began_on)


def _times(values: list[float]) -> dict[str, float]:
    return {
        "p50_ms": round(median(values), 2),
        "p95_ms": round(quantile(values, 0.95), 2),
        "min_ms": round(min(values), 2),
        "count": len(values),
    }


def _report(figures: dict[str, Any], began_on: dict[str, Any]) -> None:
    kernel, cell = figures["jupyter"]["kernel"]["p50_ms"], figures["jupyter"]["cell"]["p50_ms"]
    rows = []
    for whose, found in figures.items():
        for name, times in found.items():
            reference = cell if name == "cell" else kernel
            figure = (f"{times[key]:.1f}" for key in ("p50_ms", "p95_ms", "min_ms"))
            rows.append([f"{whose}: {name}", *figure, f"{reference / times['p50_ms']:.1f} x"])
    measuring.print_table(["", "p50 ms", "p95 ms", "best ms", "faster than Jupyter"], rows)
    ready = figures["locum"]["session, ready"]["p50_ms"]
    targets = [
        Target("Jupyter kernel / session, first result", kernel / ready, at_least=10),
        Target("cell / Jupyter's cell", figures["locum"]["cell"]["p50_ms"] / cell, at_most=1),
    ]
    measuring.save("session_start", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
