"""Where the server's time goes: its stacks are sampled by py-spy while it works, and counted by function.

`runs` is the load of run_overhead.py at 8 clients, `streams` the paced one of streamed_overhead.py, `uploads` that of
large_files.py, `ingestion` that of ingest_scale.py, 200 files at a time, `texts` that of ingest_throughput.py. `--of`
looks at the process that ingests, or at the one that cuts and indexes for it. The CPU of each thread is the kernel's;
of the stacks only those are counted that hold the interpreter's lock (`--all`: all that seem busy). "inside" is a
function of Locum with all it calls, "itself" any function without, "on behalf of" Locum's innermost one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import uvloop

from bench import filing, measuring, upstream
from bench.server import Server, scratch, serving

TOP = 45


async def _runs(server: Server, model_url: str, seconds: float) -> None:
    from bench.run_overhead import locum

    subject, until = await locum(server), time.monotonic() + seconds
    while time.monotonic() < until:
        await subject.round(8, 50)


async def _streams(server: Server, model_url: str, seconds: float) -> None:
    from bench.streamed_overhead import paced

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await paced(server, model_url)


async def _uploads(server: Server, model_url: str, seconds: float) -> None:
    from bench.large_files import make_file, upload

    with tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch()) as folder:
        source, until = make_file(Path(folder) / "source.txt"), time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.to_thread(upload, server.port, source)


async def _ingestion(server: Server, model_url: str, seconds: float) -> None:
    await _taken_in(server, seconds, 200, (2_000, 8_000))


async def _texts(server: Server, model_url: str, seconds: float) -> None:
    await _taken_in(server, seconds, 4, (1_000_000, 1_000_000))


async def _taken_in(server: Server, seconds: float, count: int, sizes: tuple[int, int]) -> None:
    from bench.client import Connection

    first, until = int(time.time()), time.monotonic() + seconds
    while time.monotonic() < until:
        files = [(f"{at}.md", text) for at, text in enumerate(filing.notes(count, first=first, sizes=sizes))]
        first += len(files)
        ids = await filing.upload_all(server.base_url, files)
        async with await Connection.open(server.base_url) as connection:
            store = await filing.make_store(connection)
            await filing.add(connection, store, ids)
            await filing.until_settled(connection, store, total=len(ids))


LOADS = {"runs": _runs, "streams": _streams, "uploads": _uploads, "ingestion": _ingestion, "texts": _texts}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("load", choices=tuple(LOADS))
    arguments.add_argument("--seconds", type=int, default=15)
    arguments.add_argument("--of", choices=("server", *filing.MODULES), default="server")
    arguments.add_argument("--all", action="store_true")
    options = arguments.parse_args()
    with upstream.running() as model_url, tempfile.TemporaryDirectory(prefix="locum-bench-") as folder:
        with serving(LOCUM_MODEL_BASE_URL=model_url, LOCUM_SANDBOX="off") as server:
            load = LOADS[options.load]
            uvloop.run(load(server, model_url, 2))
            pid = server.pid if options.of == "server" else filing.process_of(server.pid, options.of)
            stacks = Path(folder) / "stacks"
            command = [
                str(Path(sys.executable).with_name("py-spy")),
                "record",
                "--function",
                "--threads",
                "--rate",
                "300",
                "--format",
                "raw",
            ]
            command += ["--duration", str(options.seconds), "--output", str(stacks), "--pid", str(pid)]
            command += [] if options.all else ["--gil"]
            cpu, began = _threads(pid), time.monotonic()
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sampler:
                uvloop.run(load(server, model_url, options.seconds))
                used, wall = _threads(pid), time.monotonic() - began
                sampler.wait(60)
        rows = [
            [
                name,
                *(
                    f"{100 * (after - before) / wall:.1f} %"
                    for before, after in zip(cpu.get(name, (0, 0)), now, strict=True)
                ),
            ]
            for name, now in sorted(used.items())
        ]
        measuring.print_table(["thread", "user", "system (of one core)"], rows)
        report(stacks.read_text())


def _threads(pid: int) -> dict[str, tuple[float, float]]:
    """User and system seconds of each thread."""
    found = {}
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        head, _, rest = stat.read_text().rpartition(")")
        fields = rest.split()
        tick = os.sysconf("SC_CLK_TCK")
        found[f"{head.partition('(')[2]} {stat.parent.name}"] = int(fields[11]) / tick, int(fields[12]) / tick
    return found


def report(raw: str) -> None:
    """The functions with most samples."""
    inside: Counter[str] = Counter()
    itself: Counter[str] = Counter()
    threads: Counter[str] = Counter()
    for_whom: Counter[str] = Counter()
    libraries: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        ours = [frame for frame in frames if "(locum/" in frame]
        threads[frames[0]] += int(count)
        itself[frames[-1]] += int(count)
        for frame in set(ours):
            inside[frame] += int(count)
        for_whom[ours[-1] if ours else "(outside Locum)"] += int(count)
        libraries[_library(frames[-1])] += int(count)
    total = sum(itself.values())

    def rows(counts: Counter[str]) -> list[list[str]]:
        return [[name, f"{100 * count / total:.1f} %"] for name, count in counts.most_common(TOP)]

    measuring.print_table(["thread", "share"], rows(threads))
    measuring.print_table(["library", "share"], rows(libraries))
    measuring.print_table(["on behalf of", "share"], rows(for_whom))
    measuring.print_table(["inside", "share"], rows(inside))
    measuring.print_table(["itself", "share"], rows(itself))


def _library(frame: str) -> str:
    """Of a function's file its first folder, of SQLAlchemy and Locum the second too."""
    path = frame.rpartition("(")[2].rpartition(":")[0].split("/")
    return "/".join(path[: 2 if path[0] in ("sqlalchemy", "locum") else 1])


if __name__ == "__main__":
    sys.exit(main())
