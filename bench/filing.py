"""Files as the benchmarks of ingestion put them into a server: made here, uploaded, added to a store, waited for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.client import Connection
from bench.measuring import children, command_of, cpu_seconds, descendants
from tests.ingestion import documents

ROOT = Path(__file__).parents[1]
LINES_A_PAGE = 40
_EDGE = "bench-boundary"
_UPLOADS_AT_ONCE = 8
MODULES = {"ingest": b"locum: ingestion", "cut and index": b"locum: compute"}
"""What does what beside a server, and where in its command that can be seen."""
_POLL_SECONDS = 0.25
_PATIENCE = 1800.0


def notes(count: int, *, first: int = 0, sizes: tuple[int, int] = (2_000, 8_000)) -> Iterator[bytes]:
    """Markdown of paragraphs of this project's pages, two of three in English and one in Korean, in random order: no
    two alike, of as many bytes of UTF-8 as `sizes` say."""
    english = _paragraphs(sorted(ROOT.glob("docs/**/*.md")))
    korean = _paragraphs([ROOT / "README.ko.md"])
    for number in range(first, first + count):
        chance = random.Random(number)
        parts, size, wanted = [f"# Note {number}"], 0, chance.randint(*sizes)
        while size < wanted:
            parts.append(chance.choice(chance.choice((english, english, korean))))
            size += len(parts[-1].encode())
        yield "\n\n".join(parts).encode()[:wanted].decode(errors="ignore").encode()


def pdfs(count: int, pages: int, *, first: int = 0) -> Iterator[bytes]:
    """Files of pages that are full of English paragraphs, some 500 words to a page: no two alike."""
    paragraphs = [" ".join(each.split()) for each in _paragraphs(sorted(ROOT.glob("docs/**/*.md")))]
    for number in range(first, first + count):
        chance = random.Random(number)
        yield documents.pdf("\n".join(_lines(paragraphs, chance)) for _ in range(pages))


def _lines(paragraphs: list[str], chance: random.Random) -> list[str]:
    lines: list[str] = [f"Page {chance.random()}"]
    while len(lines) < LINES_A_PAGE:
        lines += textwrap.wrap(chance.choice(paragraphs).encode("ascii", "ignore").decode(), 80)
    return lines[:LINES_A_PAGE]


def _paragraphs(paths: Iterable[Path]) -> list[str]:
    every = (paragraph for path in paths for paragraph in re.split(r"\n{2,}", path.read_text()))
    return [paragraph for paragraph in every if len(paragraph) > 80]


async def upload(connection: Connection, name: str, content: bytes) -> str:
    """The id of the file that was made of it."""
    head = (
        f'--{_EDGE}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
        f'--{_EDGE}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{_EDGE}--\r\n".encode()
    kind = f"multipart/form-data; boundary={_EDGE}"
    return str(json.loads(await connection.request("POST", "/files", body, content_type=kind))["id"])


async def upload_all(base_url: str, files: Iterable[tuple[str, bytes]]) -> list[str]:
    """The ids, in order; eight are under way at a time."""
    waiting, ids = iter(enumerate(files)), {}

    async def go() -> None:
        async with await Connection.open(base_url) as connection:
            for number, (name, content) in waiting:
                ids[number] = await upload(connection, name, content)

    await asyncio.gather(*(go() for _ in range(_UPLOADS_AT_ONCE)))
    return [ids[number] for number in range(len(ids))]


async def make_store(connection: Connection) -> str:
    return str((await connection.json("POST", "/vector_stores", {"name": "bench"}))["id"])


async def add(connection: Connection, store: str, files: Sequence[str]) -> dict[str, Any]:
    """The batch that was made of them."""
    return await connection.json("POST", f"/vector_stores/{store}/file_batches", {"file_ids": files})


async def until_settled(
    connection: Connection, store: str, *, total: int, look: Callable[[dict[str, int]], None] | None = None
) -> None:
    """Poll the store until each of its `total` files is completed; `look` is given what each poll tells."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        counts = (await connection.json("GET", f"/vector_stores/{store}"))["file_counts"]
        if look is not None:
            look(counts)
        if counts["failed"] or counts["cancelled"] or counts["total"] != total:
            raise RuntimeError(f"{total} files were to be ingested, but the store says {counts}")
        if counts["completed"] == total:
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise RuntimeError(f"the files of {store} were not ingested within {_PATIENCE:g} seconds")


class Consumption:
    """Processor seconds since this was made: of a server, of the process that ingests for it, of the one that cuts and
    indexes for that, and of those that parse (or run cells). What has ended meanwhile is counted where its parent
    waited for it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = self._now()

    def seconds(self) -> dict[str, float]:
        now = self._now()
        return {part: now[part] - self._began[part] for part in now}

    def _now(self) -> dict[str, float]:
        found = {"server": cpu_seconds(self._pid), **dict.fromkeys(MODULES, 0.0), "parse": 0.0}
        for child in children(self._pid):
            with contextlib.suppress(OSError):  # ended a moment ago
                if _part(child) == "parse":
                    found["parse"] += _of_all(child)
                    continue
                found["ingest"] += cpu_seconds(child)
                for grandchild in children(child):
                    found[_part(grandchild)] += _of_all(grandchild)
        return found


def process_of(server: int, part: str) -> int:
    """The process of a running server that does that."""
    return next(pid for pid in descendants(server) if _part(pid) == part)


def _part(pid: int) -> str:
    return next((part for part, module in MODULES.items() if module in command_of(pid)), "parse")


def _of_all(pid: int) -> float:
    """Of the process and what is below it."""
    return sum(cpu_seconds(each, waited_for=True) for each in descendants(pid))
