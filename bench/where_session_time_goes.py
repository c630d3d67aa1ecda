"""Where a new session's first result comes from: when each step in the forked process begins, and how long it takes.

The zygote runs as always, with clocks around some of its functions; a session writes what they showed in front of its
first cell's output. A step's time holds that of the steps inside it. Nothing is written to `results/`.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).absolute().parents[1]
_ASK, _MARK = "# with clocks", "@steps "
_CLOCKED = (
    *(
        "inside.zygote._enter_group",
        "isolation.linux.unshare",
        "isolation.linux.mount",
        "isolation.linux.prctl",
        "isolation.linux.set_capabilities",
        "isolation.seccomp.Filter.install",
    ),
    *(
        "isolation.namespaces.Isolation.close_in",
        "isolation.namespaces._mount_session",
        "isolation.namespaces._mount_proc",
        "isolation.namespaces._become",
    ),
    *(
        "isolation.namespaces._map_ids",
        "isolation.jail.limit",
        "isolation.jail.drop_capabilities",
        "isolation.landlock.restrict",
        "inside.runner._settle",
    ),
)
_Step = tuple[str, int, int]


def zygote() -> None:
    """Instead of the sandbox's own entry: the same with clocks."""
    sys.path.insert(0, str(ROOT))
    from locum.sandbox.inside import runner
    from locum.sandbox.inside import zygote as process

    steps: list[_Step] = []
    for path in _CLOCKED:
        _clock(path, steps)
    os.fork = _clocked_fork(os.fork, steps)
    runner._run = _first_cell(runner._run, steps)
    process.main()


def _clock(path: str, steps: list[_Step]) -> None:
    """Names that this version does not have are left out."""
    room, module, *names, last = path.split(".")
    owner: Any = importlib.import_module(f"locum.sandbox.{room}.{module}")
    for name in names:
        owner = getattr(owner, name)
    work = getattr(owner, last, None)
    if work is None:
        return

    @functools.wraps(work)
    def clocked(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter_ns()
        try:
            return work(*args, **kwargs)
        finally:
            steps.append((path, began, time.perf_counter_ns()))

    setattr(owner, last, clocked)


def _clocked_fork(fork: Callable[[], int], steps: list[_Step]) -> Callable[[], int]:
    def clocked() -> int:
        steps.clear()
        began = time.perf_counter_ns()
        pid = fork()
        if pid == 0:
            steps.append(("fork", began, time.perf_counter_ns()))
        return pid

    return clocked


def _first_cell(run: Callable[..., Any], steps: list[_Step]) -> Callable[..., Any]:
    def clocked(shell: Any, code: str, *args: Any) -> Any:
        if _ASK not in code:
            return run(shell, code, *args)  # the boot probe's, whose output is for the probe
        began = time.perf_counter_ns()
        answer = run(shell, code, *args)
        first, now = steps[0][1], time.perf_counter_ns()
        told = [(name, start - first, end - start) for name, start, end in [*steps, ("first cell", began, now)]]
        os.write(1, f"\n{_MARK}{json.dumps(told)}\n".encode())
        return answer

    return clocked


async def measure(folder: Path, count: int) -> tuple[list[list[_Step]], dict[str, list[float]]]:
    from bench.session_start import CELLS, sandbox_in
    from locum.sandbox.limits import Limits

    entry = folder / "python"
    ours = f'{sys.executable} -I -B {ROOT}/bench/where_session_time_goes.py --zygote "$5"'
    entry.write_text(f'#!/bin/sh\n[ $# -ge 5 ] || exec {sys.executable} "$@"\nexec {ours}\n')
    entry.chmod(0o755)
    found: list[list[_Step]] = []
    outside: dict[str, list[float]] = {"open": [], "execute": []}
    async with sandbox_in(folder / "sandbox", Limits(spare_sessions=0), python=str(entry)) as sandbox:
        for number in range(count + 1):
            key, began = f"session-{number}", time.perf_counter()
            await sandbox.open(key)
            opened = time.perf_counter()
            result = await sandbox.execute(key, key, f"{CELLS['first result']}  {_ASK}")
            ended = time.perf_counter()
            await sandbox.delete(key)
            if number:  # the first one waited for the libraries
                outside["open"].append((opened - began) * 1000)
                outside["execute"].append((ended - opened) * 1000)
                found.append(json.loads(result.logs.partition(_MARK)[2].splitlines()[0]))
    return found, outside


def _rows(found: list[list[_Step]]) -> list[list[str]]:
    """One line per name, in the order in which they begin; of a name that comes often, the sum."""
    names = list(dict.fromkeys(name for name, _, _ in sorted(found[0], key=lambda step: step[1])))
    rows = []
    for name in names:
        own = [[step for step in steps if step[0] == name] for steps in found]
        begins = median(min(step[1] for step in steps) for steps in own) / 1e6
        sums = [sum(step[2] for step in steps) / 1e6 for steps in own]
        rows.append([name, str(len(own[0])), f"{begins:.2f}", f"{median(sums):.2f}", f"{min(sums):.2f}"])
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sessions", type=int, default=50)
    options = arguments.parse_args()
    from bench import measuring
    from bench.server import scratch

    with tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch(), ignore_cleanup_errors=True) as folder:
        found, outside = asyncio.run(measure(Path(folder), options.sessions))
    head = ["in the session, ms", "times", "begins", "takes, p50", "best"]
    measuring.print_table(head, _rows(found))
    rows = [[name, f"{median(times):.2f}", f"{min(times):.2f}"] for name, times in outside.items()]
    measuring.print_table(["from outside, ms", "p50", "best"], rows)


if __name__ == "__main__":
    if "--zygote" in sys.argv:
        del sys.argv[1]
        sys.exit(zygote())
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
