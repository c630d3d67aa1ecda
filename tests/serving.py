"""A real Locum server in a process of its own, for tests: started, stopped, killed."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx2
import openai

from locum.sandbox.client import end as end_sandbox
from tests.forkserver import ForkedProcess, ForkServer, can_set

START_SECONDS = 60

COMMANDS = ForkServer(
    modules=[
        "locum.cli",
        *(
            f"locum.cli.{name}"
            for name in ("serve", "demo", "doctor", "keys", "models", "import_files", "usage", "migrate")
        ),
        "locum.logs",
        "locum.api.connections",
        "locum.app.admin",
        "locum.app.server",
        "locum.models.openai_compatible",
        "locum.signals.postgres",
        "locum.store.postgres",
        "uvicorn.protocols.http.httptools_impl",
        "uvloop",
    ],
    reload=["locum.crashpoints"],
)
"""Starts `locum` commands, servers above all, without importing them anew."""


@cache
def _certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


class _HttpClient(openai.DefaultHttpxClient):
    """HTTP client that closes when it is collected, as the SDK's own does: tests may drop an SDK client unclosed."""

    def __del__(self) -> None:
        if not self.is_closed:
            self.close()


def http_client() -> openai.DefaultHttpxClient:
    """The SDK's own default, but the certificates are read once: that takes 25 ms, and there are a thousand clients."""
    return _HttpClient(verify=_certificates())


def _client_options(options: dict[str, object]) -> dict[str, object]:
    return options if "http_client" in options else {"http_client": http_client(), **options}


def clean_environment(**env: str) -> dict[str, str]:
    """This process's environment, without settings that were made for it, and these."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("LOCUM_")}, **env}


def start_command(
    *arguments: str, env: dict[str, str], cwd: Path, stdout: int, stderr: int
) -> subprocess.Popen[bytes] | ForkedProcess:
    """Start `locum` with these arguments; anew where its interpreter is to read something of the environment."""
    if can_set(env):
        return COMMANDS.start("locum.cli:main", *arguments, env=env, cwd=cwd, stdout=stdout, stderr=stderr)
    command = [sys.executable, "-m", "locum", *arguments]
    return subprocess.Popen(command, env=env, cwd=cwd, stdout=stdout, stderr=stderr)


def run_command(*arguments: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `locum` with these arguments to its end, in a process of its own."""
    if can_set(env):
        return COMMANDS.run("locum.cli:main", *arguments, env=env, cwd=cwd, timeout=60)
    command = [sys.executable, "-m", "locum", *arguments]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


class ServerProcess:
    """`locum serve` on a free port. Use as a context manager; what it started is gone at the end."""

    def __init__(self, data_dir: Path, *, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        self.data_dir = data_dir
        self._env = env or {}
        self._cwd = cwd or data_dir.parent
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None
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
        arguments = ("serve", "--port", "0", "--data-dir", str(self.data_dir))
        output, theirs = os.pipe()
        self._process = start_command(
            *arguments, env=clean_environment(**{**self._env, **env}), cwd=self._cwd, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        listening = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(output, listening), daemon=True)
        self._reader.start()
        if not listening.wait(START_SECONDS):
            self.kill()
            raise AssertionError(f"the server did not start:\n{self.output}")

    def _read(self, output: int, listening: threading.Event) -> None:
        with open(output) as lines:
            for line in lines:
                self.output += line
                if "OpenAI base URL" in line:
                    self.base_url = line.split()[-1]
                    listening.set()
        listening.set()

    def wait_for(self, text: str, seconds: float = 20) -> None:
        """Wait until the server has printed a text."""
        _wait_until(lambda: text in self.output, seconds, f"no {text!r} in:\n{self.output}")

    def wait_for_file(self, path: Path, seconds: float = 20) -> None:
        """Wait until the server has written a file."""
        _wait_until(path.exists, seconds, f"no {path}")

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
        return openai.AzureOpenAI(**{**defaults, **_client_options(options)})  # type: ignore[arg-type]

    def openai(self, **options: object) -> openai.OpenAI:
        """The unmodified OpenAI client."""
        return openai.OpenAI(**{"base_url": self.base_url, "api_key": "any", **_client_options(options)})  # type: ignore[arg-type]


def _wait_until(condition: Callable[[], bool], seconds: float, failure: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.01)


@contextmanager
def serving(data_dir: Path, **env: str) -> Iterator[ServerProcess]:
    """A running server with these variables."""
    with ServerProcess(data_dir, env=env) as server:
        yield server
