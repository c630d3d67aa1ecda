"""The fork server: loads the libraries once inside the stripped root, then forks one process per session.

Covered: it is started by exec with a clean environment and one inherited descriptor, so that no secret of the server
is in its memory, arguments or files; it has no network; it reads messages from sandboxd only, never from a session;
it dies with sandboxd, and everything under it dies with it (it is process 1 of its pid namespace).

Not covered: all sessions share its address layout and hash seed.

Runs under any interpreter: standard library only, and what is preloaded is whatever that interpreter has.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from locum import sandbox
from locum.sandbox import jail, linux, runner
from locum.sandbox.seccomp import Filter

CONTROL = 3
_MESSAGE_BYTES = 64 * 1024
_PRELOADED = ("numpy", "pandas", "matplotlib.pyplot")


def main() -> NoReturn:
    linux.die_with_parent(signal.SIGKILL)
    os.umask(0o022)
    sys.dont_write_bytecode = True
    inherited = int(sys.argv[1])
    if inherited != CONTROL:
        os.dup2(inherited, CONTROL, inheritable=False)
        os.close(inherited)
    control = socket.socket(fileno=CONTROL)
    settings = json.loads(control.recv(_MESSAGE_BYTES))
    try:
        privileged = jail.is_privileged()
        jail.leave_host(privileged=privileged)
        zygote = os.fork()
        if zygote:
            control.close()
            os.waitpid(zygote, 0)
            os._exit(0)
        linux.die_with_parent(signal.SIGKILL)
        cache = os.open(settings["cache"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        proc = jail.build_root(settings["root"])
    except (OSError, KeyError) as failure:
        _say(control, {"failed": str(failure), "errno": getattr(failure, "errno", None)})
        os._exit(1)
    _say(control, {"jailed": True, "privileged": privileged})
    ForkServer(control, proc, cache, privileged=privileged).serve()


def _say(control: socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    socket.send_fds(control, [json.dumps(message).encode()], fds)


class ForkServer:
    """Answers `warm` and `fork`, and tells of every session that ended and why."""

    def __init__(self, control: socket.socket, proc: int, cache: int, *, privileged: bool) -> None:
        self._control = control
        self._proc = proc
        self._cache = cache
        self._privileged = privileged
        self._filter = Filter()
        self._shell: runner.Shell = runner.PlainShell()
        self._own_pids = os.open("self/ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        self._sessions: dict[int, tuple[int, int]] = {}  # pidfd -> (pid, number of the fork)
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._sizes = jail.read_sizes()
        runner.open_text_streams()

    def serve(self) -> NoReturn:
        while True:
            for fd, _ in self._poll.poll():
                if fd == CONTROL:
                    self._obey()
                else:
                    self._bury(fd)

    def _obey(self) -> None:
        data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 2)
        if not data:
            os._exit(0)  # sandboxd is gone
        message = json.loads(data)
        if "fork" in message:
            self._fork(message, fds)
        else:
            self._warm()

    def _warm(self) -> None:
        began = time.perf_counter()
        cache = os.open(jail.CACHE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        copy_font_list(self._cache, cache)
        missing = preload()
        sandbox.__path__[:] = [jail.LATE_MODULES]
        self._shell = runner.make_shell()
        copy_font_list(cache, self._cache)
        for fd in (cache, self._cache):
            os.close(fd)
        gc.collect()
        gc.freeze()
        jail.seal_root(privileged=self._privileged)
        collapse_heap()
        self._sizes = jail.read_sizes()
        seconds = round(time.perf_counter() - began, 3)
        _say(self._control, {"warm": True, "seconds": seconds, "missing": missing, "threads": count_threads()})

    def _fork(self, settings: dict[str, Any], fds: list[int]) -> None:
        """A child in a pid namespace of its own; os.fork keeps libc's and Python's idea of their process right."""
        settings["base_size"], settings["base_data"] = self._sizes
        try:
            linux.unshare(linux.CLONE_NEWPID)
            try:
                pid = os.fork()
                if pid == 0:
                    self._become_session(settings, *fds)
            finally:
                linux.setns(self._own_pids, linux.CLONE_NEWPID)
            pidfd = os.pidfd_open(pid)
        except OSError as failure:
            _say(self._control, {"forked": settings["fork"], "failed": str(failure)})
            return
        finally:
            for fd in fds:
                os.close(fd)
        self._sessions[pidfd] = (pid, settings["fork"])
        self._poll.register(pidfd, select.POLLIN)
        _say(self._control, {"forked": settings["fork"]}, (pidfd,))

    def _bury(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        pid, fork = self._sessions.pop(pidfd)
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        _say(self._control, {"ended": fork, "status": os.waitstatus_to_exitcode(status)})

    def _become_session(self, settings: dict[str, Any], control: int, output: int) -> NoReturn:
        try:
            os.dup2(
                os.open(os.devnull, os.O_RDONLY), 0
            )  # opened anew: flags of an open file are seen by all who share it
            os.dup2(output, 1)
            os.dup2(output, 2)
            self._control.detach()
            os.dup2(control, CONTROL, inheritable=False)
            folder = jail.enter_session(settings, self._filter, self._proc, privileged=self._privileged)
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, CONTROL)
            _say(channel, {"ready": True}, (folder,))
            os.closerange(CONTROL + 1, 65_536)
            runner.serve(channel, self._shell)
        except BaseException as failure:
            os.write(2, f"session could not start: {failure}\n".encode())
        finally:
            os._exit(1)


def preload() -> list[str]:
    """Import what most cells use. What is not installed, or starts threads (a fork would lose them), is left out."""
    os.environ["MPLCONFIGDIR"] = os.environ["XDG_CACHE_HOME"] = jail.CACHE
    missing = []
    for name in _PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing


def copy_font_list(source: int, target: int) -> None:
    """Bring matplotlib's list of fonts in, or out: making it anew takes seconds. A mount would show a host path."""
    for name in os.listdir(source):
        if name.startswith("fontlist") and name.endswith(".json"):
            with (
                os.fdopen(os.open(name, os.O_RDONLY, dir_fd=source), "rb") as old,
                os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=target), "wb") as new,
            ):
                new.write(old.read())


def count_threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208
    except OSError:
        return threading.active_count()


def collapse_heap() -> None:
    """Huge pages for the large private ranges: a fork costs time per page table entry (34 us per MiB without)."""
    huge = 2 << 20
    try:
        ranges = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return
    for line in ranges:
        span, rights, _, _, inode, *name = line.split()
        if not rights.startswith("rw-p") or inode != "0" or (name and name[0] != "[heap]"):
            continue
        start, end = (int(number, 16) for number in span.split("-"))
        first = (start + huge - 1) // huge * huge
        length = (end - first) // huge * huge
        if length > 0 and not linux.collapse(first, length):
            return
