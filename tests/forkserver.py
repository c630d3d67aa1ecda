"""Programs started by forking a process that has imported their modules: imports are most of a start's CPU time.

    programs = ForkServer(modules=["locum.cli", "locum.app.server"])
    process = programs.start("locum.cli:main", "serve", "--port", "0", env=env, cwd=folder, stdout=fd, stderr=fd)

The program runs as in a process of its own: with its own arguments, environment, folder, output and exit. `process` has
those methods of `subprocess.Popen` that tests use. Not covered: variables that the interpreter or a library reads while
it starts (`can_set`), and the command line in `/proc`, which is that of this file.

This file is also the program of the forking process. It uses the standard library only, since interpreters with nothing
but an old SDK run it, too.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_MESSAGE_BYTES = 1 << 17
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "SSL_", "TZ", "TMPDIR")


def can_set(env: Mapping[str, str]) -> bool:
    """Tell whether a forked process can take this environment: what is read at the start must be as it is here."""
    names = {name for name in {*env, *os.environ} if name.startswith(_READ_AT_START)}
    return all(env.get(name) == os.environ.get(name) for name in names)


class ForkServer:
    """The forking process, started at first use and ended with this one. `reload` names modules that read the
    environment when they are imported."""

    def __init__(
        self,
        python: str | Path = sys.executable,
        *,
        flags: Sequence[str] = (),
        modules: Sequence[str],
        reload: Sequence[str] = (),
    ) -> None:
        self._command = [str(python), *flags, __file__]
        self._imports = json.dumps({"modules": modules, "reload": reload})
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def start(
        self, program: str, *arguments: str, env: Mapping[str, str], cwd: Path, stdout: int, stderr: int
    ) -> ForkedProcess:
        """Start `module:function`, the script at a path, or the program that follows `-c`."""
        request = {"program": program, "arguments": arguments, "env": dict(env), "cwd": str(cwd)}
        return ForkedProcess(self, self.ask(request, stdout, stderr))

    def run(
        self, program: str, *arguments: str, env: Mapping[str, str], cwd: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, with its output."""
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            files = {"stdout": stdout.fileno(), "stderr": stderr.fileno()}
            process = self.start(program, *arguments, env=env, cwd=cwd, **files)
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess([program, *arguments], code, stdout.read(), stderr.read())

    def ask(self, request: Mapping[str, Any], *fds: int) -> int:
        with self._lock:
            if self._socket is None:
                self._socket = self._open()
            socket.send_fds(self._socket, [json.dumps(request).encode()], fds)
            answer: int = json.loads(self._socket.recv(_MESSAGE_BYTES))
            return answer

    def _open(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [*self._command, str(theirs.fileno()), self._imports],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

        @atexit.register
        def close() -> None:
            ours.close()
            process.wait()

        return ours


class ForkedProcess:
    """A process that a ForkServer has forked, which is its parent: exit codes come from there."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._lock = threading.Lock()
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._wait(timeout)
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired([str(self.pid)], timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _wait(self, timeout: float | None) -> int | None:
        with self._lock:
            if self.returncode is None:
                ended = select.poll()
                ended.register(self._pidfd, select.POLLIN)
                if ended.poll(None if timeout is None else timeout * 1000):
                    self.returncode = self._server.ask({"wait_for": self.pid})
                    os.close(self._pidfd)
            return self.returncode


# ---- in the forking process


def _fork_forever(requests: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Answer requests. Returns in a forked process, with what it is to run, and at the end."""
    while True:
        message, fds, _, _ = socket.recv_fds(requests, _MESSAGE_BYTES, 2)
        if not message:
            return None
        request = json.loads(message)
        if "wait_for" in request:
            _, status = os.waitpid(request["wait_for"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                return request, fds
        for fd in fds:
            os.close(fd)
        requests.send(json.dumps(answer).encode())


def _prepare(request: dict[str, Any], fds: list[int], reload: Sequence[str]) -> None:
    """Make this forked process the program's own."""
    for target, fd in zip((1, 2), fds, strict=True):
        os.dup2(fd, target)
        os.close(fd)
    # The streams of a fresh interpreter: these would remember what kind of file they were opened on.
    out, err = sys.stdout.encoding, sys.stderr.encoding
    sys.stdout = open(1, "w", encoding=out, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding=err, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for name in reload:
        importlib.reload(sys.modules[name])
    sys.argv[:] = [request["program"], *request["arguments"]]


def _run(program: str) -> None:
    if program == "-c":
        sys.path.insert(0, "")
        exec(sys.argv.pop(1), {"__name__": "__main__"})
        return
    if program.endswith(".py"):
        sys.path.insert(0, str(Path(program).parent))
        runpy.run_path(program, run_name="__main__")
        return
    sys.path.insert(0, str(Path.cwd()))
    module, _, function = program.partition(":")
    getattr(importlib.import_module(module), function)()


def _main() -> None:
    sys.path[0] = str(Path(__file__).parents[1])  # not the folder of this file
    requests = socket.socket(fileno=int(sys.argv[1]))
    imports = json.loads(sys.argv[2])
    gc.disable()
    for name in imports["modules"]:
        importlib.import_module(name)
    gc.freeze()
    forked = None
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is for the tests, and for their servers
        forked = _fork_forever(requests)
    requests.close()
    if forked is not None:
        gc.enable()
        request, fds = forked
        _prepare(request, fds, imports["reload"])
        _run(request["program"])


if __name__ == "__main__":
    _main()
