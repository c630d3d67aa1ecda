"""What a thread of a million messages costs beside one of a thousand: list 20, add a message, load a run's context.

The context is loaded by a run (from its creation to its end, an instant model behind it) whose model has a window that
neither thread fits into. The threads' rows are written into the database before the server starts.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from bench import measuring, upstream
from bench.client import MESSAGE, Connection
from bench.measuring import Target, quantile
from bench.run_overhead import run_on
from bench.server import Server, scratch, serving
from locum.domain.messages import Message, Text, TextPart
from locum.domain.threads import Thread
from locum.store import threads
from locum.store.rows import encode
from locum.store.sqlite import SQLite
from locum.store.tables import messages

_WORDS = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all. " * 3
_BATCH = 10_000
WINDOW = 16_000


def numbered_words(seq: int) -> str:
    return f"{seq}: {_WORDS}"


async def fill(
    db: SQLite,
    thread_id: str,
    count: int,
    text: Callable[[int], str] = numbered_words,
    *,
    resource: str = "default",
    batch: int = _BATCH,
) -> None:
    """Insert a thread of `count` messages, users and assistants in turn. text: that of a message, by its number from 1.
    batch: rows of one transaction."""
    await db.write(lambda conn: threads.insert(conn, resource, Thread(id=thread_id, created_at=1)))
    for start in range(0, count, batch):
        seqs = range(start + 1, min(start + batch, count) + 1)
        rows = [_row(resource, thread_id, seq, text(seq)) for seq in seqs]
        await db.write(lambda conn, rows=rows: conn.execute(messages.insert(), rows))  # type: ignore[misc]


def _row(resource: str, thread_id: str, seq: int, text: str) -> dict[str, Any]:
    message = Message(
        id=f"msg_{thread_id[7:]}{seq:020}",
        created_at=1,
        completed_at=1,
        thread_id=thread_id,
        role="user" if seq % 2 else "assistant",
        content=(TextPart(Text(value=text)),),
    )
    row = {"id": message.id, "resource": resource, "thread_id": thread_id, "run_id": None}
    return {**row, "seq": seq, "doc": encode(message)}


async def measure(server: Server, sizes: dict[str, int], repeats: int) -> dict[str, Any]:
    async with await Connection.open(server.base_url) as connection:
        assistant = (await connection.json("POST", "/assistants", {"model": "bench"}))["id"]

        async def timed(act: Callable[[], Awaitable[Any]]) -> float:
            began = time.perf_counter()
            await act()
            return (time.perf_counter() - began) * 1000

        acts: dict[str, Callable[[str], Awaitable[Any]]] = {
            "list 20": lambda thread: connection.request("GET", f"/threads/{thread}/messages?limit=20"),
            "list 20 in the middle": lambda thread: connection.request(
                "GET", f"/threads/{thread}/messages?limit=20&after=msg_{thread[7:]}{sizes[thread] // 2:020}"
            ),
            "add a message": lambda thread: connection.request("POST", f"/threads/{thread}/messages", MESSAGE),
            "run, context loaded": lambda thread: run_on(connection, thread, assistant),
        }
        taken: dict[str, dict[str, list[float]]] = {name: {thread: [] for thread in sizes} for name in acts}
        for name, act in acts.items():
            for _ in range(repeats):
                for thread in sizes:
                    taken[name][thread].append(await timed(lambda act=act, thread=thread: act(thread)))  # type: ignore[misc]
    keep = slice(repeats // 10, None)
    return {
        name: {
            str(sizes[thread]): {
                "p50": round(median(times[keep]), 3),
                "p99": round(quantile(times[keep], 0.99), 3),
            }
            for thread, times in by_thread.items()
        }
        for name, by_thread in taken.items()
    }


async def prepare(data_dir: Path, sizes: dict[str, int]) -> None:
    db = SQLite(data_dir / "locum.db")
    for thread, count in sizes.items():
        await fill(db, thread, count)
    await db.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--messages", type=int, default=1_000_000)
    arguments.add_argument("--repeats", type=int, default=200)
    options = arguments.parse_args()
    began_on = measuring.machine()
    sizes = {"thread_bench1000": 1000, "thread_benchlong": options.messages}
    with tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch()) as folder:
        data_dir = Path(folder) / "data"
        data_dir.mkdir()
        asyncio.run(prepare(data_dir, sizes))
        with (
            upstream.running() as model_url,
            serving(
                data_dir=data_dir,
                LOCUM_MODEL_BASE_URL=model_url,
                LOCUM_MODEL_CONTEXT_WINDOW=str(WINDOW),
                LOCUM_SANDBOX="off",
            ) as server,
        ):
            figures = uvloop.run(measure(server, sizes, options.repeats))
    small, large = "1000", str(options.messages)
    measuring.print_table(
        ["p50 ms", f"{small} messages", f"{large} messages", "ratio"],
        [
            [name, f"{of[small]['p50']:.2f}", f"{of[large]['p50']:.2f}", f"{of[large]['p50'] / of[small]['p50']:.2f}"]
            for name, of in figures.items()
        ],
    )
    targets = [
        Target(f"{name}, {large} / {small} messages", of[large]["p50"] / of[small]["p50"], at_most=2)
        for name, of in figures.items()
    ]
    measuring.save("long_threads", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
