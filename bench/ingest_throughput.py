"""How much a server takes in for a second of processor time of all its processes, from rows to `completed`, searched by
words alone; and which of the processes that time is of.

Texts are paragraphs of this project's pages, English and Korean; PDFs are full of English ones.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvloop

from bench import filing, measuring
from bench.client import Connection
from bench.filing import Consumption
from bench.measuring import Target
from bench.server import Server, serving

Make = Callable[[int], Iterator[bytes]]
MB = 1_000_000

# What -> files of it from a number on, the name of one, and how much one is, in what.
LOADS: dict[str, tuple[Make, str, Callable[[bytes], float], str]] = {
    "texts of 1 MB": (
        lambda first: filing.notes(12, first=first, sizes=(MB, MB)),
        "text.md",
        lambda content: len(content) / MB,
        "MB",
    ),
    "notes of 2 to 8 KB": (
        lambda first: filing.notes(400, first=first),
        "note.md",
        lambda content: len(content) / MB,
        "MB",
    ),
    "PDFs of 100 pages": (lambda first: filing.pdfs(6, 100, first=first), "pages.pdf", lambda _: 100.0, "pages"),
    "PDFs of 2 pages": (lambda first: filing.pdfs(60, 2, first=first), "pages.pdf", lambda _: 2.0, "pages"),
}


async def taking_in(server: Server, what: str, first: int) -> dict[str, float]:
    """How much, and the seconds it took: on the clock, and of each part of the server's processes."""
    make, name, size, _ = LOADS[what]
    contents = list(make(first))
    ids = await filing.upload_all(server.base_url, ((name, content) for content in contents))
    async with await Connection.open(server.base_url) as connection:
        store = await filing.make_store(connection)
        used, began = Consumption(server.pid), time.perf_counter()
        await filing.add(connection, store, ids)
        await filing.until_settled(connection, store, total=len(ids))
        wall = time.perf_counter() - began
    return {"amount": sum(map(size, contents)), "wall": wall, **used.seconds()}


async def measure(server: Server, rounds: int) -> dict[str, Any]:
    found: dict[str, list[dict[str, float]]] = {what: [] for what in LOADS}
    for number in range(rounds + 1):
        for what, kept in found.items():
            figures = await taking_in(server, what, number * 1000)
            if number:  # what starts with the first file has been started
                kept.append(figures)
    return {what: _summary(kept) | {"of": LOADS[what][3]} for what, kept in found.items()}


def _summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    parts = [name for name in rounds[0] if name not in ("amount", "wall")]
    cpu = {part: sum(each[part] for each in rounds) for part in parts}
    return {
        "per_second": measuring.spread([each["amount"] / each["wall"] for each in rounds]),
        "per_cpu_second": measuring.spread([each["amount"] / sum(each[part] for part in parts) for each in rounds]),
        "share": {part: round(seconds / sum(cpu.values()), 3) for part, seconds in cpu.items()},
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    began_on = measuring.machine()
    with serving() as server:
        figures = uvloop.run(measure(server, options.rounds))
    rows = [
        [
            f"{what}, {each['of']}",
            f"{each['per_second']['median']:.2f} ({each['per_second']['max']:.2f})",
            f"{each['per_cpu_second']['median']:.2f} ({each['per_cpu_second']['max']:.2f})",
            *(f"{100 * share:.0f} %" for share in each["share"].values()),
        ]
        for what, each in figures.items()
    ]
    measuring.print_table(
        ["", "per second (best)", "per CPU second (best)", *figures["texts of 1 MB"]["share"]],
        rows,
    )
    per_cpu = {what: each["per_cpu_second"]["median"] for what, each in figures.items()}
    targets = [
        Target("plain text: MB per CPU second of all processes", per_cpu["texts of 1 MB"], at_least=5),
        Target("PDF: pages per CPU second of all processes", per_cpu["PDFs of 100 pages"], at_least=300),
    ]
    measuring.save("ingest_throughput", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
