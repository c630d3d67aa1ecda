"""How much longer requests take while the server ingests files: a client with a cheap mix of requests and streamed
runs, in rounds without and with ingestion, by turns.

Processors are shared as in a service or a container, where that can be arranged: elsewhere Linux weighs sessions, not
processes. "Neighbour" is a round beside a process that has nothing to do with the server and keeps a core busy as
nicely as Locum's own processes do: what that round takes longer is the machine's, and no server could give it back.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

import uvloop

from bench import filing, measuring, upstream
from bench.client import MESSAGE, Connection
from bench.filing import Consumption
from bench.groups import like_a_service
from bench.measuring import Target, quantile
from bench.server import Server, serving

LOADS = ("none", "neighbour", "text", "PDF")
_NOTES = 2000
"""Of a round: more than are ingested in it."""
_PDFS, _PAGES = 200, 20
_BUSY = "import os; os.nice(10)\nwhile True: pass"


class Client:
    """One client. request: milliseconds of each; run: from asking for a streamed run to its last event."""

    def __init__(self, base_url: str, assistant: str) -> None:
        self._base_url = base_url
        self._assistant = assistant

    async def round(self, seconds: float) -> dict[str, list[float]]:
        async with await Connection.open(self._base_url) as connection:
            return await self._ask(connection, seconds)

    async def _ask(self, ask: Connection, seconds: float) -> dict[str, list[float]]:
        taken: defaultdict[str, list[float]] = defaultdict(list)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.perf_counter()
            thread = (await ask.json("POST", "/threads", {}))["id"]
            taken["request"].append(_since(began))
            run = {"assistant_id": self._assistant, "stream": True}
            for method, path, body in (
                ("POST", f"/threads/{thread}/messages", MESSAGE),
                ("GET", f"/threads/{thread}/messages", None),
                ("POST", f"/threads/{thread}/runs", run),
            ):
                began = time.perf_counter()
                said = await ask.request(method, path, body)
                taken["run" if body is run else "request"].append(_since(began))
            if b"thread.run.completed" not in said:
                raise RuntimeError(said.decode())
            began = time.perf_counter()
            await ask.request("GET", f"/threads/{thread}/runs?limit=1")
            taken["request"].append(_since(began))
        return dict(taken)


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


class Supply:
    """Files that have been uploaded, a round's worth each."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._rounds: dict[str, list[list[str]]] = {"text": [], "PDF": []}

    async def upload(self, rounds: int) -> None:
        for number in range(rounds):
            texts, pages = filing.notes(_NOTES, first=number * _NOTES), filing.pdfs(_PDFS, _PAGES, first=number * _PDFS)
            self._rounds["text"].append(await self._uploaded("note.md", texts))
            self._rounds["PDF"].append(await self._uploaded("pages.pdf", pages))

    async def _uploaded(self, name: str, contents: Iterable[bytes]) -> list[str]:
        return await filing.upload_all(self._base_url, ((name, content) for content in contents))

    @asynccontextmanager
    async def ingesting(self, kind: str) -> AsyncIterator[dict[str, float]]:
        """While it lasts; how many files there were of it in a second is known at the end."""
        files, found = self._rounds[kind].pop(), dict[str, float]()
        async with await Connection.open(self._base_url) as ask:
            store = await filing.make_store(ask)
            began = time.perf_counter()
            for at in range(0, len(files), 500):
                await filing.add(ask, store, files[at : at + 500])
        yield found
        async with await Connection.open(self._base_url) as ask:
            counts = (await ask.json("GET", f"/vector_stores/{store}"))["file_counts"]
            found["files_per_second"] = counts["completed"] / (time.perf_counter() - began)
            if not counts["in_progress"] or counts["failed"]:
                raise RuntimeError(f"a round is to begin and end among files that can be ingested, not with {counts}")
            await ask.request("DELETE", f"/vector_stores/{store}")


@asynccontextmanager
async def _loaded(load: str, supply: Supply) -> AsyncIterator[dict[str, float]]:
    """What goes on beside a round; figures of it at the end."""
    if load == "none":
        yield {}
    elif load == "neighbour":
        process = subprocess.Popen([sys.executable, "-c", _BUSY])  # noqa: ASYNC220  (between rounds)
        try:
            yield {}
        finally:
            process.kill()
            process.wait()
    else:
        async with supply.ingesting(load) as found:
            yield found


async def measure(server: Server, rounds: int, seconds: float) -> dict[str, Any]:
    figures: dict[str, Any] = {load: defaultdict(list) for load in LOADS}
    async with await Connection.open(server.base_url) as connection:
        assistant = (await connection.json("POST", "/assistants", {"model": "bench"}))["id"]
    client, supply = Client(server.base_url, assistant), Supply(server.base_url)
    await supply.upload(rounds + 1)
    for kind in ("text", "PDF"):  # what starts with the first file has been started
        async with supply.ingesting(kind):
            await client.round(2)
    for _ in range(rounds):
        for load in LOADS:
            async with _loaded(load, supply) as found:
                used, began = Consumption(server.pid), time.perf_counter()
                taken = await client.round(seconds)
                spent, wall = used.seconds(), time.perf_counter() - began
            keep = figures[load]
            for what, values in taken.items():
                keep[f"{what}_p50_ms"].append(median(values))
                keep[f"{what}_p99_ms"].append(quantile(values, 0.99))
                keep[f"{what}s"].append(float(len(values)))
            for what, value in {
                "server_cores": spent["server"] / wall,
                "all_cores": sum(spent.values()) / wall,
                **found,
            }.items():
                keep[what].append(value)
    return {load: {what: measuring.spread(values) for what, values in each.items()} for load, each in figures.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=6)
    arguments.add_argument("--seconds", type=float, default=5, help="of a round")
    options = arguments.parse_args()
    began_on = measuring.machine()
    with (
        like_a_service() as is_service,
        upstream.running() as model_url,
        serving(LOCUM_MODEL_BASE_URL=model_url) as server,
    ):
        figures = uvloop.run(measure(server, options.rounds, options.seconds))
    figures["processors are shared as in a service"] = is_service
    columns = (
        "request_p50_ms",
        "request_p99_ms",
        "run_p50_ms",
        "run_p99_ms",
        "server_cores",
        "all_cores",
        "files_per_second",
    )
    measuring.print_table(
        ["beside", *columns],
        [
            [load, *(f"{each[name]['median']:.2f}" if name in each else "-" for name in columns)]
            for load, each in figures.items()
            if load in LOADS
        ],
    )
    targets = [
        Target(
            f"{what} p99 while {load} is ingested / alone",
            figures[load][f"{what}_p99_ms"]["median"] / figures["none"][f"{what}_p99_ms"]["median"],
            at_most=2,
        )
        for load in ("text", "PDF")
        for what in ("request", "run")
    ]
    measuring.save("ingest_latency", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
