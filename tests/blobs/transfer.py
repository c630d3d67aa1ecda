"""Puts a blob of random bytes and gets it back; prints what it took. `python -m tests.blobs.transfer URL BYTES`"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from locum import ids
from locum.blobs.base import Blobs
from locum.blobs.open import open_blobs

CHUNK = 64 * 1024


async def noise(size: int) -> AsyncIterator[bytes]:
    block = os.urandom(16 * CHUNK)
    for at in range(0, size, CHUNK):
        start = at % (15 * CHUNK + 1)
        yield block[start : start + CHUNK]


def peak() -> int:
    """The most memory that was resident. Not by getrusage: a child inherits its parent's peak there."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


async def transfer(blobs: Blobs, size: int) -> dict[str, object]:
    # Once in small, so that what is loaded lazily is not counted.
    await blobs.delete((await blobs.put(ids.new(""), noise(CHUNK), max_bytes=size)).key)
    before, began = peak(), time.perf_counter()
    written = await blobs.put(ids.new(""), noise(size), max_bytes=size)
    put_seconds, began = time.perf_counter() - began, time.perf_counter()
    digest = hashlib.sha256()
    async for chunk in await blobs.get(written.key):
        digest.update(chunk)
    return {
        "same": digest.hexdigest() == written.sha256 and written.bytes == size,
        "grown": peak() - before,
        "put_seconds": put_seconds,
        "get_seconds": time.perf_counter() - began,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(transfer(open_blobs(sys.argv[1], Path.cwd()), int(sys.argv[2])))))
