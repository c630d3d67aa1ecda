"""What a run costs: create run -> completed over HTTP in front of an instant model server, beside asking that directly.

One unit is what an app does for one answer: create a thread, add a message, create a run, and wait for its end in one
held GET, as the SDK's `create_and_poll` does. The latency is of the last two, the CPU and the runs per second of all
four. Rounds of SQLite, PostgreSQL and the direct call alternate, so that a busy minute hits all of them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from statistics import median
from typing import Any

import uvloop

from bench import measuring, upstream
from bench.client import MESSAGE, Connection, ask_directly
from bench.measuring import Target, cpu_seconds, quantile
from bench.server import Server, serving

_HELD = "X-Stainless-Poll-Helper: true\r\n"
CLIENTS = (1, 8, 32)


async def one_run(connection: Connection, assistant_id: str) -> float:
    """Seconds from the creation of the run to its end, on a thread of its own."""
    thread = (await connection.json("POST", "/threads", {}))["id"]
    await connection.request("POST", f"/threads/{thread}/messages", MESSAGE)
    return await run_on(connection, thread, assistant_id)


async def run_on(connection: Connection, thread: str, assistant_id: str) -> float:
    """Seconds from the creation of a run on that thread to its end."""
    began = time.perf_counter()
    run = await connection.json("POST", f"/threads/{thread}/runs", {"assistant_id": assistant_id})
    path = f"/threads/{thread}/runs/{run['id']}"
    while run["status"] in ("queued", "in_progress"):
        run = await connection.json("GET", path, headers=_HELD)
    took = time.perf_counter() - began
    if run["status"] != "completed":
        raise RuntimeError(f"the run ended {run['status']}: {run['last_error']}")
    return took


class Subject:
    """Something that answers: `act` does so once and returns the seconds it took."""

    def __init__(self, base_url: str, pid: int | None, act: Callable[[Connection], Awaitable[float]]) -> None:
        self.base_url = base_url
        self.pid = pid
        self.act = act
        self.rounds: dict[int, list[dict[str, float]]] = {count: [] for count in CLIENTS}

    async def round(self, clients: int, units: int) -> dict[str, float]:
        """`units` answers, shared by `clients` connections."""
        connections = [await Connection.open(self.base_url) for _ in range(clients)]
        left = iter(range(units))
        taken: list[float] = []

        async def client(connection: Connection) -> None:
            for _ in left:
                taken.append(await self.act(connection))

        cpu, began = cpu_seconds(self.pid) if self.pid else 0.0, time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for connection in connections:
                group.create_task(client(connection))
        wall = time.perf_counter() - began
        used = cpu_seconds(self.pid) - cpu if self.pid else 0.0
        for connection in connections:
            connection.close()
        return {
            "per_second": units / wall,
            "p50_ms": median(taken) * 1000,
            "p99_ms": quantile(taken, 0.99) * 1000,
            "cpu_ms": used / units * 1000,
        }


async def locum(server: Server) -> Subject:
    async with await Connection.open(server.base_url) as connection:
        assistant = await connection.json("POST", "/assistants", {"model": "bench", "instructions": "Be brief."})

    return Subject(server.base_url, server.pid, lambda connection: one_run(connection, assistant["id"]))


def direct(base_url: str) -> Subject:
    async def act(connection: Connection) -> float:
        began = time.perf_counter()
        await ask_directly(connection)
        return time.perf_counter() - began

    return Subject(base_url, None, act)


async def measure(servers: dict[str, Server], model_url: str, rounds: int, units: int) -> dict[str, Any]:
    subjects = {"direct": direct(model_url), **{name: await locum(server) for name, server in servers.items()}}
    for subject in subjects.values():
        await subject.round(8, 200)  # warm: caches of compiled statements, the database's own
    for _ in range(rounds):
        for clients in CLIENTS:
            for subject in subjects.values():
                share = 4 if subject.pid is None else 1  # the direct call is short: more of them for a steady figure
                subject.rounds[clients].append(await subject.round(clients, share * units))
    return {name: _summary(subject) for name, subject in subjects.items()}


def _summary(subject: Subject) -> dict[str, Any]:
    """Of the rounds: the median and the best. Noise of neighbours only ever makes a round worse."""
    best = {"per_second": max, "p50_ms": min, "p99_ms": min, "cpu_ms": min}
    return {
        str(clients): {
            name: {
                "median": round(median(each[name] for each in rounds), 3),
                "best": round(choose(each[name] for each in rounds), 3),
            }
            for name, choose in best.items()
        }
        for clients, rounds in subject.rounds.items()
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--units", type=int, default=240, help="runs per round")
    arguments.add_argument("--no-postgres", action="store_true")
    options = arguments.parse_args()
    began_on = measuring.machine()
    with ExitStack() as stack:
        model_url = stack.enter_context(upstream.running())
        env = {"LOCUM_MODEL_BASE_URL": model_url, "LOCUM_SANDBOX": "off"}
        servers = {"sqlite": stack.enter_context(serving(**env))}
        if not options.no_postgres:
            from tests.databases import postgres_server

            url = stack.enter_context(postgres_server()).create()
            servers["postgres"] = stack.enter_context(serving(LOCUM_DATABASE_URL=url, **env))
        figures = uvloop.run(measure(servers, model_url, options.rounds, options.units))
    _report(figures, began_on)


def _report(figures: dict[str, Any], began_on: dict[str, Any]) -> None:
    rows = []
    for name, by_clients in figures.items():
        for clients, found in by_clients.items():
            reference = figures["direct"][clients]["p50_ms"]["median"]
            cells = [f"{found[key]['median']:.2f} ({found[key]['best']:.2f})" for key in ("p50_ms", "p99_ms", "cpu_ms")]
            rate = f"{found['per_second']['median']:.0f} ({found['per_second']['best']:.0f})"
            rows.append([f"{name}, {clients} client(s)", *cells, rate, f"{found['p50_ms']['median'] / reference:.1f}"])
    head = ["median (best) of rounds", "p50 ms", "p99 ms", "CPU ms/run", "runs/s", "p50 / direct"]
    measuring.print_table(head, rows)
    one, many = figures["sqlite"]["1"], figures["sqlite"]["32"]
    added = one["p50_ms"]["median"] - figures["direct"]["1"]["p50_ms"]["median"]
    targets = [
        Target("run p50 at 1 client minus direct, SQLite, ms", added, at_most=8),
        Target("server CPU per run at 1 client, SQLite, ms", one["cpu_ms"]["median"], at_most=4),
        Target("server CPU per run at 32 clients, SQLite, ms", many["cpu_ms"]["median"], at_most=4),
        Target("runs/s at 32 clients, SQLite", many["per_second"]["median"], at_least=250),
    ]
    if "postgres" in figures:
        other = figures["postgres"]
        slower = other["1"]["p50_ms"]["median"] / one["p50_ms"]["median"]
        fewer = many["per_second"]["median"] / other["32"]["per_second"]["median"]
        targets.append(Target("PostgreSQL / SQLite, p50 at 1 client", slower, at_most=2.5))
        targets.append(Target("SQLite / PostgreSQL, runs/s at 32 clients", fewer, at_most=2.5))
    measuring.save("run_overhead", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
