"""The server under test, in a process of its own: as `locum serve` starts it, on an empty data directory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from locum.sandbox.client import end as end_sandbox

START_SECONDS = 60


class Server:
    """A running server. `wait_for` blocks until it has printed something."""

    def __init__(self, data_dir: Path, port: int, env: dict[str, str]) -> None:
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.port = port
        self._data_dir = data_dir
        self._lines: list[str] = []
        self._said = threading.Condition()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LOCUM_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "locum", "serve", "--port", str(port), "--data-dir", str(data_dir)],
            env={**clean, **env},
            cwd=data_dir.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, words: str) -> None:
        with self._said:
            if not self._said.wait_for(lambda: any(words in line for line in self._lines), START_SECONDS):
                raise RuntimeError(f"the server did not say {words!r}:\n{''.join(self._lines)}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        end_sandbox(self._data_dir / "sandbox")
        self._reader.join(10)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                with self._said:
                    self._lines.append(line)
                    self._said.notify_all()


@contextmanager
def serving(*, data_dir: Path | None = None, wait_for: str | None = "OpenAI base URL", **env: str) -> Iterator[Server]:
    """A server with these variables, stopped at the end; with `wait_for=None` as soon as its process exists."""
    with tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch(), ignore_cleanup_errors=True) as folder:
        server = Server(data_dir or Path(folder) / "data", free_port(), env)
        try:
            if wait_for is not None:
                server.wait_for(wait_for)
            yield server
        finally:
            server.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scratch() -> str:
    """Where benchmarks write: a real disk, not a file system in memory. LOCUM_BENCH_DIR chooses another."""
    return os.environ.get("LOCUM_BENCH_DIR", "/var/tmp")
