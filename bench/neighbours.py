"""Latency of one tenant's requests while another tenant sends one kind of heavy request after the other.

The neighbour reads a thread, adds a message and asks for `/healthz`, each on a connection of its own and all the time.
The heavy requests come from a process of their own. Some are refused and some are carried out: both count.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import uvloop

from bench import measuring, upstream
from bench.client import MESSAGE, Connection
from bench.long_threads import fill as fill_thread
from bench.measuring import Target, quantile
from bench.server import Server, scratch, serving
from locum.domain.files import File
from locum.store.rows import encode
from locum.store.sqlite import SQLite
from locum.store.tables import files

GOAL_MS = 250.0
_LARGE = 9 * 1024 * 1024
_HEAVY = "heavy"
_LONG_THREAD = 60_000
_LONG_THREADS = 12
_LARGE_MESSAGES = 30
_FILES = 10_000
_PAUSE = 0.005

Request = tuple[str, str, bytes | None]
"""Method, path, body."""


class Known(msgspec.Struct):
    """Objects of the tenant that sends the heavy requests."""

    assistant: str
    thread: str
    store: str


def _post(path: str, body: Any) -> Iterator[Request]:
    """The same request for ever."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    while True:
        yield "POST", path, raw


def _repeated(head: str, item: str, tail: str) -> bytes:
    """A body of 9 MB: as many items as fit."""
    count = (_LARGE - len(head) - len(tail)) // (len(item) + 1)
    return (head + ",".join([item] * count) + tail).encode()


def _numbered(head: str, item: Callable[[int], str], tail: str, count: int) -> bytes:
    return (head + ",".join(map(item, range(count))) + tail).encode()


def _empty_lists(known: Known) -> Iterator[Request]:
    return _post("/threads", _repeated('{"messages":[', "[]", "]}"))


def _many_messages(known: Known) -> Iterator[Request]:
    one = json.dumps(MESSAGE)
    return _post("/threads", _numbered('{"messages":[', lambda _: one, "]}", 100_000))


def _most_messages(known: Known) -> Iterator[Request]:
    return _post("/threads", {"messages": [MESSAGE] * 1000})


def _many_parts(known: Known) -> Iterator[Request]:
    body = _repeated('{"role":"user","content":[', '{"type":"text","text":"a"}', "]}")
    return _post(f"/threads/{known.thread}/messages", body)


def _large_text(known: Known) -> Iterator[Request]:
    part = {"type": "text", "text": "word, " * 40_000}
    return _post(f"/threads/{known.thread}/messages", {"role": "user", "content": [part] * 37})


def _many_attachments(known: Known) -> Iterator[Request]:
    item = '{"file_id":"file-a","tools":[{"type":"file_search"}]}'
    return _post(
        f"/threads/{known.thread}/messages", _repeated('{"role":"user","content":"a","attachments":[', item, "]}")
    )


def _much_metadata(known: Known) -> Iterator[Request]:
    return _post("/threads", _numbered('{"metadata":{', lambda at: f'"{at}":""', "}}", 900_000))


def _large_schema(known: Known) -> Iterator[Request]:
    head = '{"model":"bench","tools":[{"type":"function","function":{"name":"f","parameters":{"enum":['
    return _post("/assistants", _repeated(head, "1", "]}}}]}"))


def _many_ids(known: Known) -> Iterator[Request]:
    return _post("/vector_stores", _numbered('{"file_ids":[', lambda at: f'"file-{at}"', "]}", 600_000))


def _many_outputs(known: Known) -> Iterator[Request]:
    item = '{"tool_call_id":"call_a","output":"a"}'
    path = f"/threads/{known.thread}/runs/run_a/submit_tool_outputs"
    return _post(path, _repeated('{"tool_outputs":[', item, "]}"))


def _wide_filter(known: Known) -> Iterator[Request]:
    item = '{"type":"eq","key":"a","value":1}'
    head = '{"query":"a","filters":{"type":"and","filters":['
    return _post(f"/vector_stores/{known.store}/search", _repeated(head, item, "]}}"))


def _no_json(known: Known) -> Iterator[Request]:
    return _post("/threads", b"[" * _LARGE)


def _escapes(known: Known) -> Iterator[Request]:
    return _post("/threads", _repeated('{"metadata":{"a":["\\u0001",', '"\\\\\\u0000"', "]}}"))


def _unclosed_string(known: Known) -> Iterator[Request]:
    return _post("/threads", b'{"messages":["' + b"\\\\" * (_LARGE // 2))


def _pages(known: Known) -> Iterator[Request]:
    while True:
        yield "GET", "/threads/thread_large/messages?limit=100", None


def _all_files(known: Known) -> Iterator[Request]:
    while True:
        yield "GET", "/files", None


def _forks(known: Known) -> Iterator[Request]:
    return _post("/threads/thread_long0/fork", {})


def _deletions(known: Known) -> Iterator[Request]:
    for number in range(1, _LONG_THREADS):
        yield "DELETE", f"/threads/thread_long{number}", None
    yield "DELETE", "/threads/thread_large2", None


def _runs(path: str) -> Callable[[Known], Iterator[Request]]:
    def requests(known: Known) -> Iterator[Request]:
        return _post(path, {"assistant_id": known.assistant, "stream": True})

    return requests


def _large_form(known: Known) -> Iterator[Request]:
    """Headers of a part, without end."""
    return _post("/files", b"--b\r\n" + b"a: b\r\n" * (_LARGE // 6))


def _many_fields(known: Known) -> Iterator[Request]:
    return _post(
        "/files", b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"\r\n-" * (_LARGE // 3)
    )


KINDS: dict[str, Callable[[Known], Iterator[Request]]] = {
    "9 MB of empty lists for messages": _empty_lists,
    "100,000 messages in one request": _many_messages,
    "1,000 messages in one request": _most_messages,
    "9 MB of text parts": _many_parts,
    "9 MB of text in one message": _large_text,
    "9 MB of attachments": _many_attachments,
    "900,000 pairs of metadata": _much_metadata,
    "9 MB of one function's schema": _large_schema,
    "600,000 file ids": _many_ids,
    "9 MB of tool outputs": _many_outputs,
    "9 MB of search filters": _wide_filter,
    "9 MB of brackets": _no_json,
    "9 MB of escapes": _escapes,
    "9 MB of a string without end": _unclosed_string,
    "pages of 30 messages of 9 MB": _pages,
    "lists of 10,000 files": _all_files,
    "forks of 60,000 messages": _forks,
    "deletions of 60,000 messages": _deletions,
    "runs on 60,000 messages": _runs("/threads/thread_long0/runs"),
    "runs on 30 messages of 9 MB": _runs("/threads/thread_large/runs"),
    "9 MB of a part's headers": _large_form,
    "9 MB of near boundaries": _many_fields,
}


async def _send(base_url: str, key: str, requests: Iterator[Request], until: float) -> None:
    """Send one after the other until that moment of the monotonic clock; a refusal is an answer."""
    connection = await Connection.open(base_url, key=key)
    for method, path, body in requests:
        if time.monotonic() > until:
            break
        kind = "multipart/form-data; boundary=b" if path == "/files" else "application/json"
        try:
            await connection.request(method, path, body, content_type=kind)
        except (RuntimeError, OSError):
            connection.close()
            connection = await Connection.open(base_url, key=key)
    connection.close()


def _send_all(base_url: str, key: str, kind: str, known: Known, seconds: float) -> None:
    requests = KINDS[kind](known)
    first = next(requests)  # built before the clock starts

    def all_of_them() -> Iterator[Request]:
        yield first
        yield from requests

    uvloop.run(_send(base_url, key, all_of_them(), time.monotonic() + seconds))


def moments(taken: float) -> list[float]:
    """Latencies in milliseconds that requests sent once per pause would have had while one took that long.

    A client that waits for a slow answer sends nothing meanwhile: counted once, a standstill of seconds would be one
    request among hundreds.
    """
    pause = _PAUSE * 1000
    return [taken - pause * at for at in range(max(1, int(taken / pause)))]


class Neighbour:
    """The requests that are timed, in milliseconds: the slowest of them count."""

    def __init__(self, connections: list[Connection], thread: str) -> None:
        paths = ("GET", f"/threads/{thread}"), ("POST", f"/threads/{thread}/messages"), ("GET", "/healthz")
        self._probes = list(zip(connections, paths, strict=True))
        self.times: list[float] = []

    async def work(self, until: Callable[[], bool]) -> None:
        await asyncio.gather(*(self._probe(at, until) for at in range(len(self._probes))))

    async def _probe(self, at: int, until: Callable[[], bool]) -> None:
        connection, (method, path) = self._probes[at]
        body = MESSAGE if method == "POST" else None
        while not until():
            began = time.perf_counter()
            await connection.request(method, path, body)
            self.times += moments((time.perf_counter() - began) * 1000)
            await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def neighbour(base_url: str, key: str) -> AsyncIterator[Neighbour]:
    async with contextlib.AsyncExitStack() as stack:
        urls = (base_url, base_url, base_url.removesuffix("/v1"))
        connections = [await stack.enter_async_context(await Connection.open(url, key=key)) for url in urls]
        thread = (await connections[0].json("POST", "/threads", {}))["id"]
        yield Neighbour(connections, thread)


async def _timed(
    server: Server, key: str, heavy_key: str, kind: str | None, known: Known, seconds: float
) -> list[float]:
    async with neighbour(server.base_url, key) as probes:
        if kind is None:
            end = time.monotonic() + seconds
            await probes.work(lambda: time.monotonic() > end)
            return probes.times
        arguments = (server.base_url, heavy_key, kind, known, seconds)
        process = multiprocessing.get_context("spawn").Process(target=_send_all, args=arguments)
        process.start()
        try:
            await probes.work(lambda: not process.is_alive())
        finally:
            process.kill()
            process.join()
        return probes.times


async def measure(server: Server, keys: dict[str, str], kinds: list[str], seconds: float) -> dict[str, Any]:
    async with await Connection.open(server.base_url, key=keys[_HEAVY]) as connection:
        known = Known(
            assistant=(await connection.json("POST", "/assistants", {"model": "bench"}))["id"],
            thread=(await connection.json("POST", "/threads", {}))["id"],
            store=(await connection.json("POST", "/vector_stores", {}))["id"],
        )
    figures: dict[str, Any] = {}
    for kind in (None, *kinds):
        times = await _timed(server, keys["neighbour"], keys[_HEAVY], kind, known, seconds)
        figures[kind or "nothing"] = of = {
            "requests": len(times),
            "p50": round(median(times), 2),
            "p99": round(quantile(times, 0.99), 1),
            "max": round(max(times), 1),
        }
        print(f"{kind or 'nothing'}: {of}", flush=True)
    return figures


def _create_key(data_dir: Path, resource: str) -> str:
    command = [sys.executable, "-m", "locum", "keys", "create", "--resource", resource, "--data-dir", str(data_dir)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def fill(data_dir: Path) -> None:
    """Threads and files of the heavy tenant, as rows."""
    db = SQLite(data_dir / "locum.db")
    for number in range(_LONG_THREADS):
        await fill_thread(
            db, f"thread_long{number}", _LONG_THREAD, lambda _: "A line of some words. " * 8, resource=_HEAVY
        )
    for thread in ("thread_large", "thread_large2"):
        await fill_thread(db, thread, _LARGE_MESSAGES, lambda _: "word, " * (_LARGE // 6), resource=_HEAVY, batch=5)
    rows = [_file_row(number) for number in range(_FILES)]
    await db.write(lambda conn: conn.execute(files.insert(), rows))
    await db.close()


def _file_row(number: int) -> dict[str, Any]:
    file = File(
        id=f"file-{number:024}", created_at=1, filename=f"{number}.txt", purpose="assistants", bytes=1, sha256="0" * 64
    )
    return {"id": file.id, "resource": _HEAVY, "purpose": file.purpose, "doc": encode(file)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=5.0, help="how long each kind of request is sent")
    arguments.add_argument("--kind", action="append", choices=list(KINDS), help="only this one; may be repeated")
    options = arguments.parse_args()
    began_on = measuring.machine()
    with tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch()) as folder:
        data_dir = Path(folder) / "data"
        data_dir.mkdir()
        asyncio.run(fill(data_dir))
        keys = {resource: _create_key(data_dir, resource) for resource in ("neighbour", _HEAVY)}
        with (
            upstream.running() as model_url,
            serving(data_dir=data_dir, LOCUM_MODEL_BASE_URL=model_url, LOCUM_SANDBOX="off") as server,
        ):
            beside = uvloop.run(measure(server, keys, options.kind or list(KINDS), options.seconds))
            figures = {"beside": beside, "peak_rss_mib": round(measuring.peak_rss_mib(server.pid))}
    rows = [[kind, *(f"{of[name]:g}" for name in ("requests", "p50", "p99", "max"))] for kind, of in beside.items()]
    measuring.print_table(["beside", "requests", "p50 ms", "p99 ms", "max ms"], rows)
    targets = [Target(f"p99 beside {kind}", of["p99"], at_most=GOAL_MS) for kind, of in beside.items()]
    measuring.save("neighbours", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
