"""A real Locum server in a process of its own, for tests: started, stopped, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai

from locum.sandbox.client import end as end_sandbox

START_SECONDS = 60


class ServerProcess:
    """`locum serve` on a free port. Use as a context manager; what it started is gone at the end."""

    def __init__(self, data_dir: Path, *, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        self.data_dir = data_dir
        self._env = env or {}
        self._cwd = cwd or data_dir.parent
        self._process: subprocess.Popen[str] | None = None
        self.output = ""
        self.base_url = ""

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def azure_endpoint(self) -> str:
        return self.base_url.removesuffix("/v1")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, **env: str) -> None:
        """Start and wait until the port is open. `env` holds for this start only."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LOCUM_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "locum", "serve", "--port", "0", "--data-dir", str(self.data_dir)],
            env={**clean, **self._env, **env},
            cwd=self._cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        listening = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self._process, listening), daemon=True)
        self._reader.start()
        if not listening.wait(START_SECONDS):
            self.kill()
            raise AssertionError(f"the server did not start:\n{self.output}")

    def _read(self, process: subprocess.Popen[str], listening: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.output += line
                if "OpenAI base URL" in line:
                    self.base_url = line.split()[-1]
                    listening.set()
        listening.set()

    def wait_until_dead(self, seconds: float = 60) -> int:
        """The exit code once it has ended by itself."""
        assert self._process is not None
        return self._process.wait(seconds)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """As `kill -9` does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        self._reader.join(10)

    def stop(self, *, keep_sessions: bool = False) -> int:
        """As Ctrl-C does; returns the exit code. Sessions that are not kept end at once, not after their minute."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(20)
        finally:
            if self._process.poll() is None:
                self.kill()
            if not keep_sessions:
                end_sandbox(self.data_dir / "sandbox")
        self._reader.join(10)
        return code

    def azure(self, **options: object) -> openai.AzureOpenAI:
        """The unmodified Azure client."""
        defaults = {"azure_endpoint": self.azure_endpoint, "api_key": "any", "api_version": "2024-05-01-preview"}
        return openai.AzureOpenAI(**{**defaults, **options})  # type: ignore[arg-type]

    def openai(self, **options: object) -> openai.OpenAI:
        """The unmodified OpenAI client."""
        return openai.OpenAI(**{"base_url": self.base_url, "api_key": "any", **options})  # type: ignore[arg-type]


@contextmanager
def serving(data_dir: Path, **env: str) -> Iterator[ServerProcess]:
    """A running server with these variables."""
    with ServerProcess(data_dir, env=env) as server:
        yield server
