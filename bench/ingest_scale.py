"""10,000 small files in one vector store, put there through the API: how long that takes, what it costs, and what the
store costs those who look at it and search it then.

While files are ingested the store is polled; every poll's counts must add up.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from bench import filing, measuring
from bench.client import Connection
from bench.filing import Consumption
from bench.measuring import MIB, Target, quantile
from bench.server import Server, scratch, serving

BATCH = 500
QUERIES = (
    "How is a run claimed and who keeps its lease?",
    "what limits does the sandbox set on memory",
    "vector store expires after",
    "설치하려면 무엇이 필요합니까",
    "assistant file citation annotations",
    "어떤 데이터베이스를 사용합니까",
)


async def times(act: Callable[[], Awaitable[object]], repeats: int) -> dict[str, float]:
    """Milliseconds of one after the other."""
    taken = []
    for number in range(-2, repeats):
        began = time.perf_counter()
        await act()
        if number >= 0:
            taken.append((time.perf_counter() - began) * 1000)
    return {"p50_ms": round(median(taken), 2), "p99_ms": round(quantile(taken, 0.99), 2)}


async def looking(connection: Connection, store: str, last: str, repeats: int) -> dict[str, Any]:
    """What a store costs those who ask about it. last: id of a file of it."""
    at = f"/vector_stores/{store}"

    def get(path: str) -> Callable[[], Awaitable[object]]:
        return lambda: connection.request("GET", path)

    figures = {
        "retrieve the store": await times(get(at), repeats),
        "list 100 of its files": await times(get(f"{at}/files?limit=100"), repeats),
        "list 100 behind the middle": await times(get(f"{at}/files?limit=100&after={last}"), repeats),
        "list 100 that are completed": await times(get(f"{at}/files?limit=100&filter=completed"), repeats),
        "retrieve one of its files": await times(get(f"{at}/files/{last}"), repeats),
    }
    queries = iter(QUERIES * (repeats + 2))
    began = time.perf_counter()
    await connection.json("POST", f"{at}/search", {"query": QUERIES[0]})
    figures["first search"] = {"p50_ms": round((time.perf_counter() - began) * 1000, 1)}

    async def search() -> None:
        found = await connection.json("POST", f"{at}/search", {"query": next(queries)})
        if not found["data"]:
            raise RuntimeError("a search found nothing")

    figures["search"] = await times(search, repeats)
    return figures


async def ingesting(server: Server, count: int) -> tuple[dict[str, Any], str, list[str]]:
    """The figures, the store, and its files in the order in which they were added."""
    texts = list(filing.notes(count))
    used, began, pid = Consumption(server.pid), time.perf_counter(), server.pid
    ids = await filing.upload_all(server.base_url, ((f"note-{at}.md", text) for at, text in enumerate(texts)))
    uploaded, cpu_of_uploads = time.perf_counter() - began, used.seconds()["server"]
    polls = 0

    def look(counts: dict[str, int]) -> None:
        nonlocal polls
        polls += 1
        if counts["total"] != sum(number for state, number in counts.items() if state != "total"):
            raise RuntimeError(f"the counts do not add up: {counts}")

    async with await Connection.open(server.base_url) as connection:
        store = await filing.make_store(connection)
        used, began = Consumption(pid), time.perf_counter()
        adding = []
        for at in range(0, count, BATCH):
            asked = time.perf_counter()
            await filing.add(connection, store, ids[at : at + BATCH])
            adding.append((time.perf_counter() - asked) * 1000)
        await filing.until_settled(connection, store, total=count, look=look)
        seconds = time.perf_counter() - began
        spent = used.seconds()
    megabytes = sum(map(len, texts)) / 1_000_000
    figures = {
        "files": count,
        "megabytes": round(megabytes, 1),
        "upload_seconds": round(uploaded, 1),
        "uploads_per_second": round(count / uploaded, 1),
        "server_cpu_ms_per_upload": round(1000 * cpu_of_uploads / count, 2),
        "batch_of_500_ms": {"p50_ms": round(median(adding), 1), "max_ms": round(max(adding), 1)},
        "seconds_to_completed": round(seconds, 1),
        "files_per_second": round(count / seconds, 1),
        "cpu_ms_per_file": {part: round(1000 * each / count, 2) for part, each in spent.items()},
        "files_per_cpu_second": round(count / sum(spent.values()), 1),
        "polls": polls,
        "server_rss_mib": round(measuring.memory_mib(pid)["rss"], 1),
        "server_peak_rss_mib": round(measuring.peak_rss_mib(pid), 1),
    }
    return figures, store, ids


def disk_mib(data_dir: Path) -> dict[str, float]:
    """What is on the disk, by who keeps it there."""

    def size(*paths: Path) -> float:
        return round(sum(path.stat().st_blocks * 512 for path in paths if path.is_file()) / MIB, 1)

    return {
        "blobs": size(*(data_dir / "blobs").rglob("*")),
        "rows": size(*data_dir.glob("locum.db*")),
        "texts and cuts": size(*data_dir.glob("search.db*")),
        "keyword index": size(*(data_dir / "search").rglob("*")),
    }


async def measure(server: Server, data_dir: Path, count: int, repeats: int) -> dict[str, Any]:
    async with await Connection.open(server.base_url) as connection:  # what is loaded at first use is
        warm = await filing.make_store(connection)
        first = await filing.upload(connection, "first.md", next(filing.notes(1, first=count)))
        await filing.add(connection, warm, [first])
        await filing.until_settled(connection, warm, total=1)
    before = measuring.memory_mib(server.pid)["rss"]
    figures, store, ids = await ingesting(server, count)
    figures["server_rss_mib_before"] = round(before, 1)
    async with await Connection.open(server.base_url) as connection:
        figures["afterwards"] = await looking(connection, store, ids[len(ids) // 2], repeats)
        figures["small_store"] = await looking(connection, warm, first, repeats)
        figures["server_rss_mib_after_searches"] = round(measuring.memory_mib(server.pid)["rss"], 1)
    figures["disk_mib"] = disk_mib(data_dir)
    return figures


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--files", type=int, default=10_000)
    arguments.add_argument("--repeats", type=int, default=100, help="of what is asked of the store then")
    options = arguments.parse_args()
    began_on = measuring.machine()
    with tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch(), ignore_cleanup_errors=True) as folder:
        data_dir = Path(folder) / "data"
        with serving(data_dir=data_dir, LOCUM_SANDBOX="off") as server:
            figures = uvloop.run(measure(server, data_dir, options.files, options.repeats))
    afterwards, small = figures["afterwards"], figures["small_store"]
    measuring.print_table(
        ["", "p50 ms", "p99 ms", "p50 ms, store of 1"],
        [
            [what, f"{each['p50_ms']:g}", f"{each.get('p99_ms', '-')}", f"{small[what]['p50_ms']:g}"]
            for what, each in afterwards.items()
        ],
    )
    measuring.print_table(
        ["", ""], [[what, f"{value}"] for what, value in figures.items() if value not in (afterwards, small)]
    )
    targets = [
        Target(
            "growth of the server's RSS, MiB", figures["server_rss_mib"] - figures["server_rss_mib_before"], at_most=128
        ),
        Target("retrieve the store, p50 ms", afterwards["retrieve the store"]["p50_ms"], at_most=20),
        Target("search, p50 ms", afterwards["search"]["p50_ms"], at_most=100),
    ]
    measuring.save("ingest_scale", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
