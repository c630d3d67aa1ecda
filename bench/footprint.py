"""Idle memory and cold start of the server as it is installed: SQLite, code interpreter on, the demo model.

Memory is proportional (PSS): pages shared with other processes count by their share. Of the server alone, and of the
server with sandboxd and its spare sessions; fresh, and after some runs. A cold start lasts from the spawn of the
process to the first 200 of `/healthz`, on an empty data directory and again on the one it left.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from bench import measuring, upstream
from bench.measuring import Target, cpu_seconds, descendants, memory_mib, spread
from bench.server import START_SECONDS, Server, scratch, serving

WARM_RUNS = 200
_SETTLE_SECONDS = 3.0


def cold_start(data_dir: Path) -> tuple[float, float]:
    """Wall and CPU seconds until the first 200."""
    began = time.perf_counter()
    with serving(data_dir=data_dir, wait_for=None) as server:
        while not _is_healthy(server):
            if time.perf_counter() - began > START_SECONDS or server.process.poll() is not None:
                raise RuntimeError("the server did not start")
            time.sleep(0.005)
        wall = time.perf_counter() - began
        cpu = cpu_seconds(server.pid)
        server.wait_for("Ready.")  # stopped while sandboxd warms up, it would not be what people do
    return wall, cpu


def _is_healthy(server: Server) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def bare_python() -> float:
    """Seconds of a Python that does nothing, from spawn to end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def starts(repeats: int) -> dict[str, Any]:
    found: dict[str, list[float]] = {name: [] for name in ("first", "second", "first_cpu", "second_cpu", "bare_python")}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch()) as folder:
            found["bare_python"].append(bare_python())
            for which in ("first", "second"):
                wall, cpu = cold_start(Path(folder) / "data")
                found[which].append(wall)
                found[f"{which}_cpu"].append(cpu)
    return {f"{name}_seconds": spread(values) for name, values in found.items()}


async def _some_runs(server: Server) -> None:
    from bench.run_overhead import locum

    await (await locum(server)).round(8, WARM_RUNS)


def memory(repeats: int) -> dict[str, Any]:
    samples: dict[str, list[float]] = {}

    def take(when: str, server: Server) -> None:
        own = memory_mib(server.pid)
        below, unreadable = 0.0, 0
        for pid in descendants(server.pid)[1:]:
            try:
                below += memory_mib(pid)["pss"]
            except OSError:
                unreadable += 1
        if unreadable:
            print(f"{unreadable} processes of the sandbox cannot be read and are missing from its sum")
        figures = {**{f"server_{name}": value for name, value in own.items()}, "with_sandboxd_pss": own["pss"] + below}
        for name, value in figures.items():
            samples.setdefault(f"{when}_{name}_mib", []).append(value)

    with upstream.running() as model_url:
        for _ in range(repeats):
            with serving(wait_for="Ready.", LOCUM_MODEL_BASE_URL=model_url) as server:
                time.sleep(_SETTLE_SECONDS)
                take("fresh", server)
                uvloop.run(_some_runs(server))
                time.sleep(_SETTLE_SECONDS)
                take("used", server)
    return {name: spread(values, 1) for name, values in samples.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=5)
    options = arguments.parse_args()
    began_on = measuring.machine()
    figures = {"start": starts(options.repeats), "memory": memory(max(1, options.repeats // 2))}
    _report(figures, began_on)


def _report(figures: dict[str, Any], began_on: dict[str, Any]) -> None:
    start, memory = figures["start"], figures["memory"]
    bare = start["bare_python_seconds"]["median"]
    rows = [
        [name, *(f"{times[of]:.2f}" for of in ("median", "min", "max")), f"{times['median'] / bare:.0f}"]
        for name, times in start.items()
    ]
    measuring.print_table(["cold start", "median", "min", "max", "/ bare Python"], rows)
    rows = [[name, *(f"{found[of]:.1f}" for of in ("median", "min", "max"))] for name, found in memory.items()]
    measuring.print_table(["memory", "median", "min", "max"], rows)
    targets = [
        Target("cold start on an empty directory, s", start["first_seconds"]["median"], at_most=1.5),
        Target("cold start on an existing database, s", start["second_seconds"]["median"], at_most=1.5),
        Target("idle server, PSS, MiB", memory["fresh_server_pss_mib"]["median"], at_most=130),
        Target(f"idle server after {WARM_RUNS} runs, PSS, MiB", memory["used_server_pss_mib"]["median"], at_most=130),
    ]
    measuring.save("footprint", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
