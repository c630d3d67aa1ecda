"""What a streamed run costs: time to the first delta beside the direct call's, and CPU per token of many paced streams.

The paced tokens carry the moment they were sent, so that their way through the server can be timed one by one.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import uvloop

from bench import measuring, upstream
from bench.client import MESSAGE, Connection, ask_directly
from bench.measuring import Target, cpu_seconds, quantile, spread
from bench.server import Server, serving

STREAMS = 64
_TOKEN = re.compile(rb"<(\d+)>")
_PACED = {"role": "user", "content": "paced"}

Listen = Callable[[bytes], None]
Ask = Callable[[Connection, Listen], Awaitable[None]]


class FirstDelta:
    """The moment at which the first piece of text came."""

    def __init__(self, marker: bytes) -> None:
        self._marker = marker
        self._seen = b""
        self.at = 0.0

    def __call__(self, data: bytes) -> None:
        if not self.at:
            self._seen += data
            if self._marker in self._seen:
                self.at = time.perf_counter()


class Tokens:
    """How long each of the first `count` tokens was under way, in milliseconds: the whole text at the end is none."""

    def __init__(self, count: int = upstream.TOKENS) -> None:
        self.took: list[float] = []
        self._count = count
        self._rest = b""

    def __call__(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._rest + data
        end = 0
        for match in _TOKEN.finditer(data):
            end = match.end()
            if len(self.took) < self._count:
                self.took.append((now - int(match[1])) / 1e6)
        self._rest = data[max(end, len(data) - 40) :]


async def first_delta(server: Server, model_url: str, repeats: int) -> dict[str, Any]:
    """Seconds from the creation of a streamed run to its first delta, and from a direct call to its first words."""
    locum: list[float] = []
    direct: list[float] = []
    async with await Connection.open(server.base_url) as client, await Connection.open(model_url) as model:
        assistant = await assistant_of(client)
        for _ in range(repeats):
            thread = (await client.json("POST", "/threads", {"messages": [MESSAGE]}))["id"]
            first, began = FirstDelta(b"thread.message.delta"), time.perf_counter()
            await stream_run(client, thread, assistant, first)
            locum.append((first.at - began) * 1000)
            first, began = FirstDelta(b"Two"), time.perf_counter()
            await ask_directly(model, on_data=first)
            direct.append((first.at - began) * 1000)
    keep = slice(repeats // 10, None)  # the first ones warm caches
    return {name: times_of(values[keep]) for name, values in (("locum", locum), ("direct", direct))}


async def paced(server: Server, model_url: str) -> dict[str, Any]:
    """One round of STREAMS paced streams: through the server, then directly."""
    connections = [await Connection.open(server.base_url) for _ in range(STREAMS)]
    assistant = await assistant_of(connections[0])
    threads = [(await connections[0].json("POST", "/threads", {"messages": [_PACED]}))["id"] for _ in range(STREAMS)]
    idle = [(await connections[0].json("POST", "/threads", {"messages": [MESSAGE]}))["id"] for _ in range(STREAMS)]

    async def streams(of: list[str], listeners: list[Tokens]) -> float:
        before = cpu_seconds(server.pid)
        async with asyncio.TaskGroup() as group:
            for connection, thread, listener in zip(connections, of, listeners, strict=True):
                group.create_task(stream_run(connection, thread, assistant, listener))
        return cpu_seconds(server.pid) - before

    base = await streams(idle, [Tokens() for _ in range(STREAMS)])
    listeners, began = [Tokens() for _ in range(STREAMS)], time.perf_counter()
    cpu = await streams(threads, listeners)
    wall = time.perf_counter() - began
    took = [each for listener in listeners for each in listener.took]
    for connection in connections:
        connection.close()

    models = [await Connection.open(model_url) for _ in range(STREAMS)]
    heard = [Tokens() for _ in range(STREAMS)]
    async with asyncio.TaskGroup() as group:
        for model, hearer in zip(models, heard, strict=True):
            group.create_task(ask_directly(model, "paced", on_data=hearer))
    for model in models:
        model.close()
    asked = STREAMS * upstream.TOKENS
    return {
        "lost": asked - len(took),
        "cpu_us_per_token": cpu / asked * 1e6,
        "cpu_us_per_token_without_run": (cpu - base) / asked * 1e6,
        "wall_seconds": wall,
        "forward_ms": times_of(took),
        "direct_forward_ms": times_of([each for hearer in heard for each in hearer.took]),
    }


async def assistant_of(client: Connection) -> str:
    body = {"model": "bench", "instructions": "Be brief."}
    return str((await client.json("POST", "/assistants", body))["id"])


async def stream_run(client: Connection, thread: str, assistant: str, listen: Listen) -> None:
    body = {"assistant_id": assistant, "stream": True}
    said = await client.request("POST", f"/threads/{thread}/runs", body, on_data=listen)
    if b"event: thread.run.completed" not in said:
        raise RuntimeError(f"the run did not complete: {said[-2000:].decode()}")


def times_of(values: list[float]) -> dict[str, float]:
    return {"p50": round(median(values), 3), "p99": round(quantile(values, 0.99), 3), "min": round(min(values), 3)}


async def measure(server: Server, model_url: str, repeats: int, rounds: int) -> dict[str, Any]:
    first = await first_delta(server, model_url, repeats)
    found = [await paced(server, model_url) for _ in range(rounds)]
    return {
        "first_delta_ms": first,
        "paced": {
            "streams": STREAMS,
            "tokens_per_second": round(STREAMS / upstream.INTERVAL),
            "lost": sum(each["lost"] for each in found),
            "cpu_us_per_token": spread([each["cpu_us_per_token"] for each in found], 1),
            "cpu_us_per_token_without_run": spread([each["cpu_us_per_token_without_run"] for each in found], 1),
            "forward_ms_p50": spread([each["forward_ms"]["p50"] for each in found]),
            "forward_ms_p99": spread([each["forward_ms"]["p99"] for each in found]),
            "direct_forward_ms_p50": spread([each["direct_forward_ms"]["p50"] for each in found]),
            "direct_forward_ms_p99": spread([each["direct_forward_ms"]["p99"] for each in found]),
        },
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=200, help="streamed runs for the time to the first delta")
    arguments.add_argument("--rounds", type=int, default=5, help="rounds of paced streams")
    options = arguments.parse_args()
    began_on = measuring.machine()
    with (
        upstream.running() as model_url,
        serving(LOCUM_MODEL_BASE_URL=model_url, LOCUM_SANDBOX="off") as server,
    ):
        figures = uvloop.run(measure(server, model_url, options.repeats, options.rounds))
    _report(figures, began_on)


def _report(figures: dict[str, Any], began_on: dict[str, Any]) -> None:
    first, tokens = figures["first_delta_ms"], figures["paced"]
    rows = [
        [name, f"{times['p50']:.2f}", f"{times['p99']:.2f}", f"{times['p50'] / first['direct']['p50']:.1f}"]
        for name, times in first.items()
    ]
    measuring.print_table(["first delta", "p50 ms", "p99 ms", "p50 / direct"], rows)
    names = ("cpu_us_per_token", "cpu_us_per_token_without_run", "forward_ms_p50", "forward_ms_p99")
    rows = [
        [name, *(f"{tokens[name][of]:.2f}" for of in ("median", "min", "max"))]
        for name in (*names, "direct_forward_ms_p50", "direct_forward_ms_p99")
    ]
    measuring.print_table([f"{STREAMS} streams, {tokens['tokens_per_second']} tokens/s", "median", "min", "max"], rows)
    targets = [
        Target("first delta p50 minus direct, ms", first["locum"]["p50"] - first["direct"]["p50"], at_most=5),
        Target(f"CPU us per token, {STREAMS} streams, run included", tokens["cpu_us_per_token"]["median"], at_most=65),
        Target(
            f"added p99 per token, {STREAMS} streams, ms",
            tokens["forward_ms_p99"]["median"] - tokens["direct_forward_ms_p99"]["median"],
            at_most=30,
        ),
        Target("tokens lost", tokens["lost"], at_most=0),
    ]
    measuring.save("streamed_overhead", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
