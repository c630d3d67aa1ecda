"""Many streams at once in one process: 1,000 of five tokens a second each, and what 200 of them do to other requests.

Tokens carry the moment they were sent, so none can be lost unseen and each one's way through the server is timed.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time
from typing import Any

import uvloop

from bench import measuring, upstream
from bench.client import Connection
from bench.measuring import Target, cpu_seconds, memory_mib
from bench.server import Server, serving
from bench.streamed_overhead import Tokens, assistant_of, stream_run, times_of

_SLOW = {"role": "user", "content": "slowly"}


async def _open(server: Server, count: int) -> tuple[list[Connection], str, list[str]]:
    connections = [await Connection.open(server.base_url) for _ in range(count)]
    assistant = await assistant_of(connections[0])
    threads = [(await connections[0].json("POST", "/threads", {"messages": [_SLOW]}))["id"] for _ in range(count)]
    return connections, assistant, threads


async def all_begun(listeners: list[Tokens]) -> None:
    """Return once each of them has heard something."""
    while not all(listener.took for listener in listeners):  # noqa: ASYNC110 - who hears is no coroutine
        await asyncio.sleep(0.05)


async def thousand(server: Server, count: int) -> dict[str, Any]:
    """All at once; memory is looked at while every one of them is streaming."""
    connections, assistant, threads = await _open(server, count)
    listeners = [Tokens(upstream.SLOW_TOKENS) for _ in range(count)]
    before, cpu = memory_mib(server.pid), cpu_seconds(server.pid)
    tasks = [
        asyncio.ensure_future(stream_run(connection, thread, assistant, listener))
        for connection, thread, listener in zip(connections, threads, listeners, strict=True)
    ]
    await all_begun(listeners)
    during = memory_mib(server.pid)
    await asyncio.gather(*tasks)
    used = cpu_seconds(server.pid) - cpu
    took = [each for listener in listeners for each in listener.took]
    for connection in connections:
        connection.close()
    asked = count * upstream.SLOW_TOKENS
    return {
        "streams": count,
        "lost": asked - len(took),
        "kib_per_stream": (during["private"] - before["private"]) * 1024 / count,
        "cpu_us_per_token": used / asked * 1e6,
        "forward_ms": times_of(took),
    }


async def bystander(server: Server, streams: int) -> dict[str, Any]:
    """The time of a GET while that many streams are open, and with none."""
    connections, assistant, threads = await _open(server, streams)
    async with await Connection.open(server.base_url) as other:

        async def gets(seconds: float) -> list[float]:
            taken, end = [], time.perf_counter() + seconds
            while time.perf_counter() < end:
                began = time.perf_counter()
                await other.request("GET", f"/threads/{threads[0]}")
                taken.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(0.005)
            return taken

        alone = await gets(2)
        listeners = [Tokens(upstream.SLOW_TOKENS) for _ in range(streams)]
        tasks = [
            asyncio.ensure_future(stream_run(connection, thread, assistant, listener))
            for connection, thread, listener in zip(connections, threads, listeners, strict=True)
        ]
        await all_begun(listeners)
        beside = await gets(5)
        await asyncio.gather(*tasks)
    for connection in connections:
        connection.close()
    return {"streams": streams, "alone_ms": times_of(alone), "beside_ms": times_of(beside)}


async def measure(server: Server, count: int) -> dict[str, Any]:
    warm = await thousand(server, 50)
    del warm
    return {"bystander": await bystander(server, 200), "many": await thousand(server, count)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--streams", type=int, default=1000)
    options = arguments.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # this process's and the model server's connections
    began_on = measuring.machine()
    with (
        upstream.running() as model_url,
        serving(LOCUM_MODEL_BASE_URL=model_url, LOCUM_SANDBOX="off") as server,
    ):
        figures = uvloop.run(measure(server, options.streams))
    many, other = figures["many"], figures["bystander"]
    measuring.print_table(
        [f"GET beside {other['streams']} streams", "p50 ms", "p99 ms"],
        [
            [name, f"{other[key]['p50']:.2f}", f"{other[key]['p99']:.2f}"]
            for name, key in (("alone", "alone_ms"), ("beside", "beside_ms"))
        ],
    )
    measuring.print_table(
        [f"{many['streams']} streams", ""],
        [
            ["tokens lost", str(many["lost"])],
            ["KiB per stream (private memory)", f"{many['kib_per_stream']:.1f}"],
            ["server CPU per token, runs included, us", f"{many['cpu_us_per_token']:.1f}"],
            ["a token's way, p50 ms", f"{many['forward_ms']['p50']:.1f}"],
            ["a token's way, p99 ms", f"{many['forward_ms']['p99']:.1f}"],
        ],
    )
    targets = [
        Target("events lost", many["lost"], at_most=0),
        Target("KiB per stream", many["kib_per_stream"], at_most=50),
        Target("GET p99 beside 200 streams, ms", other["beside_ms"]["p99"], at_most=50),
    ]
    measuring.save("many_streams", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
