"""A 512 MB upload and download beside `cp` of the same file on the same disk, and what they add to the server's memory.

The upload counts until it is acknowledged, which is after the bytes are flushed to the disk; `cp` flushes nothing, so
`cp` with a flush is measured too. The client is a plain socket: the file goes out by sendfile; the download is
dropped as it comes, and once more written to a file as `cp` does (which is the client's work, not the server's).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from bench import measuring
from bench.measuring import MIB, Target, cpu_seconds, spread
from bench.server import Server, scratch, serving

SIZE_MIB = 512
_BLOCK = bytearray(MIB)
_FIELDS = "Host: 127.0.0.1\r\nAuthorization: Bearer any\r\n"


def make_file(path: Path, mib: int = SIZE_MIB) -> Path:
    """A file of bytes that no disk can compress."""
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())
    return path


def upload(port: int, source: Path) -> str:
    """The id of the file that was made of it."""
    edge = "bench-boundary"
    head = (
        f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{source.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{edge}--\r\n".encode()
    length = len(head) + source.stat().st_size + len(tail)
    with socket.create_connection(("127.0.0.1", port), timeout=300) as server, source.open("rb") as file:
        request = f"POST /v1/files HTTP/1.1\r\n{_FIELDS}Content-Type: multipart/form-data; boundary={edge}\r\n"
        server.sendall(f"{request}Content-Length: {length}\r\n\r\n".encode() + head)
        server.sendfile(file)
        server.sendall(tail)
        return str(_json(server)["id"])


def download(port: int, file_id: str, target: Path | None = None) -> int:
    """Its size, once it is here whole; without `target` the bytes are dropped as they come."""
    view = memoryview(_BLOCK)
    with socket.create_connection(("127.0.0.1", port), timeout=300) as server, ExitStack() as stack:
        file = stack.enter_context(target.open("wb")) if target else None
        server.sendall(f"GET /v1/files/{file_id}/content HTTP/1.1\r\n{_FIELDS}\r\n".encode())
        length, size = _head(server), 0
        while size < length:
            got = server.recv_into(_BLOCK)
            if not got:
                raise ConnectionResetError("the download ended early")
            if file:
                file.write(view[:got])
            size += got
        return size


def delete(port: int, file_id: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as server:
        server.sendall(f"DELETE /v1/files/{file_id} HTTP/1.1\r\n{_FIELDS}\r\n".encode())
        _json(server)


def _json(server: socket.socket) -> dict[str, Any]:
    body = server.makefile("rb").read(_head(server))
    return json.loads(body)  # type: ignore[no-any-return]


def _head(server: socket.socket) -> int:
    """Read the head and nothing behind it; the content's length."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = server.recv(1)
        if not byte:
            raise ConnectionResetError("the answer ended early")
        head += byte
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError((head + server.recv(2000)).decode())
    return int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])


class Timed:
    """Repeats of one act: seconds, and what the server used meanwhile."""

    def __init__(self, server: Server | None = None) -> None:
        self._server = server
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.growth: list[float] = []

    def run(self, act: Callable[[], Any]) -> Any:
        pid = self._server.pid if self._server else os.getpid()
        if self._server:
            measuring.forget_peak(pid)
        before, cpu, began = measuring.memory_mib(pid)["rss"], cpu_seconds(pid), time.perf_counter()
        result = act()
        self.seconds.append(time.perf_counter() - began)
        self.cpu.append(cpu_seconds(pid) - cpu)
        self.growth.append(measuring.peak_rss_mib(pid) - before)
        return result

    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = {
            "seconds": spread(self.seconds),
            "mib_per_second": round(SIZE_MIB / median(self.seconds)),
        }
        if self._server:
            figures["server_cpu_seconds"] = spread(self.cpu)
            figures["rss_growth_mib"] = spread(self.growth, 1)
        return figures


def measure(server: Server, folder: Path, repeats: int) -> dict[str, Any]:
    source = make_file(folder / "source.txt")
    copy, back = folder / "copy", folder / "back"
    copied, flushed, up, down, kept = Timed(), Timed(), Timed(server), Timed(server), Timed(server)
    for _ in range(repeats):
        os.sync()  # what earlier acts left to be written does not burden this round
        copied.run(lambda: subprocess.run(["cp", source, copy], check=True))
        copy.unlink()
        os.sync()
        flushed.run(lambda: subprocess.run(["sh", "-c", 'cp "$0" "$1" && sync "$1"', source, copy], check=True))
        copy.unlink()
        os.sync()
        file_id = up.run(lambda: upload(server.port, source))
        os.sync()
        down.run(lambda: download(server.port, file_id))  # noqa: B023 - called at once
        kept.run(lambda: download(server.port, file_id, back))  # noqa: B023
        if _digest(back) != _digest(source):
            raise RuntimeError("the download differs from the upload")
        back.unlink()
        delete(server.port, file_id)
    return {
        "cp": copied.figures(),
        "cp_and_flush": flushed.figures(),
        "upload": up.figures(),
        "download": down.figures(),
        "download_to_file": kept.figures(),
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=5)
    options = arguments.parse_args()
    if shutil.disk_usage(scratch()).free < 6 * SIZE_MIB * MIB:
        sys.exit(f"{scratch()} has too little space; choose another directory with LOCUM_BENCH_DIR")
    began_on = measuring.machine()
    with (
        tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch()) as folder,
        serving(LOCUM_SANDBOX="off") as server,
    ):
        figures = measure(server, Path(folder), options.repeats)
    _report(figures, began_on)


def _report(figures: dict[str, Any], began_on: dict[str, Any]) -> None:
    def seconds(name: str, of: str = "median") -> float:
        return float(figures[name]["seconds"][of])

    rows = []
    for name, found in figures.items():
        cpu = f"{found['server_cpu_seconds']['median']:.2f}" if "server_cpu_seconds" in found else "-"
        growth = f"{found['rss_growth_mib']['max']:.1f}" if "rss_growth_mib" in found else "-"
        share = f"{100 * seconds('cp') / seconds(name):.0f} %"
        rows.append(
            [
                name,
                f"{seconds(name):.2f} ({seconds(name, 'min'):.2f})",
                f"{found['mib_per_second']}",
                share,
                cpu,
                growth,
            ]
        )
    head = [f"{SIZE_MIB} MiB", "seconds (best)", "MiB/s", "of cp's speed", "server CPU s", "RSS growth MiB"]
    measuring.print_table(head, rows)
    targets = []
    for name in ("upload", "download"):
        targets += [
            Target(f"{name}: RSS growth, MiB", figures[name]["rss_growth_mib"]["max"], at_most=64),
            Target(f"{name}: percent of cp's speed", 100 * seconds("cp") / seconds(name), at_least=50),
        ]
    flushed = 100 * seconds("cp_and_flush") / seconds("upload")
    targets.append(Target("upload: percent of the speed of cp with a flush", flushed, at_least=50))
    measuring.save("large_files", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
