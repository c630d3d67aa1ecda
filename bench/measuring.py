"""What all benchmarks share: figures of processes from /proc, medians, tables, and the results they are kept in."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from locum import __version__

RESULTS = Path(__file__).parent / "results"
_TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


def cpu_seconds(pid: int, *, waited_for: bool = False) -> float:
    """User and system time of a process, all its threads included, its children not. waited_for: those of them are
    that have ended and been waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if waited_for else 13])) / _TICKS


def children(pid: int) -> list[int]:
    """Of all its threads."""
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def descendants(pid: int) -> list[int]:
    """The process and everything below it, as far as it has not ended meanwhile."""
    found, at = [pid], 0
    while at < len(found):
        with contextlib.suppress(OSError):
            found += children(found[at])
        at += 1
    return found


def memory_mib(pid: int) -> dict[str, float]:
    """Resident, proportional (pages shared with others are divided by their number) and private memory."""
    kib: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split()[:2]
        kib[name.rstrip(":")] = int(value)
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    return {"rss": kib["Rss"] / 1024, "pss": kib["Pss"] / 1024, "private": private / 1024}


def peak_rss_mib(pid: int) -> float:
    """The most memory that was resident since the process began, or since `forget_peak`."""
    return _status_kib(pid, "VmHWM") / 1024


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ValueError(f"no {name} for {pid}")


def quantile(values: Iterable[float], share: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Minimum, median and maximum of repeats."""
    return {
        "min": round(min(values), digits),
        "median": round(statistics.median(values), digits),
        "max": round(max(values), digits),
    }


def yardstick_ms() -> dict[str, float]:
    """A fixed piece of interpreted work: how fast this machine is now, and how much of a core it gives (wall / CPU)."""
    isolation, cpus = [], []
    for _ in range(9):
        wall, cpu = time.perf_counter(), time.process_time()
        total = 0
        for number in range(200_000):
            total += number & 7
        isolation.append((time.perf_counter() - wall) * 1000)
        cpus.append((time.process_time() - cpu) * 1000)
    return {"wall_median": round(statistics.median(isolation), 2), "cpu_min": round(min(cpus), 2)}


def machine() -> dict[str, Any]:
    """The class of machine: enough to compare figures, nothing that names it."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": model,
        "memory_gib": round(memory / MIB),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
        "yardstick_ms": yardstick_ms(),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


class Target:
    """A goal and whether a figure reaches it."""

    def __init__(self, what: str, value: float, *, at_most: float | None = None, at_least: float | None = None) -> None:
        assert (at_most is None) != (at_least is None)
        self.what = what
        self.value = value
        self.bound = at_most if at_most is not None else at_least
        self.sign = "<=" if at_most is not None else ">="
        self.is_met = value <= at_most if at_most is not None else value >= (at_least or 0)

    def row(self) -> list[str]:
        return [self.what, f"{self.value:.4g}", f"{self.sign} {self.bound:g}", "met" if self.is_met else "missed"]


def save(name: str, figures: dict[str, Any], targets: Sequence[Target], began_on: dict[str, Any]) -> None:
    """Write `results/<name>.json` and print which targets are met."""
    print_table(["target", "measured", "goal", ""], [target.row() for target in targets])
    content = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "locum": __version__,
        "machine": {**began_on, "load_average_at_end": round(os.getloadavg()[0], 1)},
        "targets": [
            {
                "what": each.what,
                "measured": round(each.value, 3),
                "goal": f"{each.sign} {each.bound:g}",
                "met": each.is_met,
            }
            for each in targets
        ],
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    print(f"\n-> {path.relative_to(Path(__file__).parents[1])}\n")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as what is in them; the first is left-aligned."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    print()
    print(line(head))
    print("  ".join("-" * width for width in widths))
    for row in rows:
        print(line(row))
