"""Run benchmarks one after the other: `python -m bench`, or `python -m bench run_overhead footprint`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = (
    "footprint",
    "run_overhead",
    "polling",
    "streamed_overhead",
    "many_streams",
    "long_threads",
    "neighbours",
    "session_start",
    "session_density",
    "session_floods",
    "large_files",
    "parsing",
    "ingest_rate",
    "ingest_throughput",
    "ingest_scale",
    "ingest_latency",
    "search_quality",
    "search_latency",
)


def main() -> int:
    """Each in a process of its own, so that none inherits another's memory."""
    chosen = sys.argv[1:] or list(BENCHMARKS)
    if unknown := set(chosen) - set(BENCHMARKS):
        print(f"unknown: {', '.join(sorted(unknown))}. There are: {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    failed = 0
    for name in chosen:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"bench.{name}"]
        failed |= subprocess.run(command, cwd=Path(__file__).parents[1], check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
