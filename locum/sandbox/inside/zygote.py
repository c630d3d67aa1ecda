"""The fork server: loads the libraries once inside the stripped root, then forks one process per session. Modules of
Locum's own that a profile names are loaded before, with what they import: in that root there are none. They belong to
the server's own Python, whose packages the server runs as well.

Covered: of another Python nothing but the standard library runs before this process is isolated (`environment`). It is
started by exec with a clean environment and one inherited descriptor, so that no secret of the server is in its memory,
arguments or files; it has no network; it reads messages from sandboxd only, never from a session; it dies with
sandboxd, and everything under it dies with it (it is process 1 of its pid namespace).

Not covered: all sessions share its address layout and hash seed. Packages that it loads run in the process that makes
sessions, with the rights that takes: see `namespaces` and `shared_root`.

Runs under any interpreter: standard library only, and what is preloaded is whatever that interpreter has.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from locum.sandbox import inside
from locum.sandbox.inside import environment, runner
from locum.sandbox.inside.shell import PlainShell, Shell
from locum.sandbox.isolation import jail, linux, namespaces, shared_root

CONTROL = 3
CODE = "."
"""The entry of `sys.path` that the server starts this process with: its working directory, which holds `locum`."""
_MESSAGE_BYTES = 64 * 1024
_DOORS = 8
_REASON = 1000
"""Characters of an error that sandboxd reports."""
_LATE_MODULES = ("notebook.py", "figures.py", "fonts.py")
"""Modules of this package that are imported in the isolated zygote, with the libraries they need."""


def main() -> NoReturn:
    linux.die_with_parent(signal.SIGKILL)
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # of nobody here is a core of use to anybody
    sys.dont_write_bytecode = True
    inherited = int(sys.argv[1])
    if inherited != CONTROL:
        os.dup2(inherited, CONTROL, inheritable=False)
        os.close(inherited)
    control = socket.socket(fileno=CONTROL)
    settings = json.loads(control.recv(_MESSAGE_BYTES))
    try:
        sys.path.remove(CODE)  # where Locum is installed as a package, the server's other packages are beside it
        if settings["profile"]["own"]:
            _load_own(settings["profile"]["own"])
        isolation = _isolation(settings)
        isolation.enter()
        if isolation.late_modules is not None:
            inside.__path__[:] = [isolation.late_modules]
    except (ImportError, OSError, KeyError) as failure:
        _say(control, {"failed": str(failure), "errno": getattr(failure, "errno", None)})
        os._exit(1)
    _say(control, {"jailed": True, "first_uid": isolation.first_uid})
    ForkServer(control, isolation, settings["profile"]).serve()


def _load_own(names: Iterable[str]) -> None:
    """Import modules of Locum and the packages that they need: those of the server's own Python."""
    environment.activate()
    sys.path.insert(0, CODE)
    for name in names:
        importlib.import_module(name)
    sys.path.remove(CODE)


def _isolation(settings: dict[str, Any]) -> jail.Isolation:
    tier, cache, share = settings["tier"], settings["cache"], settings["share"]
    if tier == "namespaces":
        late_modules = [Path(__file__).with_name(name) for name in _LATE_MODULES]
        return namespaces.Isolation(settings["root"], cache, share, late_modules)
    modules = str(Path(__file__).parent)
    return shared_root.Isolation(settings["home"], cache, share, modules, own_users=tier == "landlock")


def _say(control: socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    socket.send_fds(control, [json.dumps(message).encode()], fds)


class ForkServer:
    """Answers `warm` and `fork`, and tells of every session that ended and why."""

    def __init__(self, control: socket.socket, isolation: jail.Isolation, profile: dict[str, Any]) -> None:
        self._control = control
        self._isolation = isolation
        self._profile = profile
        self._shell: Shell = PlainShell()
        self._sessions: dict[int, tuple[int, int]] = {}  # descriptor of its first process -> (pid, number of the fork)
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._sizes = jail.read_sizes()
        runner.open_text_streams()
        runner.prepare()

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
        os.environ["MPLCONFIGDIR"] = os.environ["XDG_CACHE_HOME"] = self._isolation.cache
        os.environ["TMPDIR"] = self._isolation.place.scratch
        Path(self._isolation.place.scratch).mkdir(parents=True, exist_ok=True)
        jail.settle(self._isolation.place)
        if not self._profile["own"]:
            self._load_packages()
        jail.make_tools(Path(self._isolation.place.tools))
        missing = preload(self._profile["preload"])
        if self._profile["notebook"]:
            self._shell = runner.make_shell()
        runner.prepare()
        gc.collect()
        gc.freeze()
        self._isolation.seal()
        collapse_heap()
        self._sizes = jail.read_sizes()
        seconds = round(time.perf_counter() - began, 3)
        _say(self._control, {"warm": True, "seconds": seconds, "missing": missing, "threads": count_threads()})

    def _load_packages(self) -> None:
        """Let the interpreter's packages run; what they raise ends this process with the reason."""
        try:
            environment.activate()
        except (Exception, SystemExit) as failure:
            words = f"the packages of the sandbox's Python cannot be loaded: {failure}"
            _say(self._control, {"failed": words[:_REASON], "errno": None})
            os._exit(1)

    def _fork(self, settings: dict[str, Any], fds: list[int]) -> None:
        settings["base_size"], settings["base_data"] = self._sizes
        number = settings["fork"]
        try:
            forked = self._isolation.fork(settings, lambda: self._become_session(settings, *fds))
        except OSError as failure:
            _say(self._control, {"forked": number, "failed": str(failure)})
            return
        finally:
            for fd in fds:
                os.close(fd)
        watched = forked.worker if not forked.keeper else os.pidfd_open(forked.child)
        self._sessions[watched] = (forked.child, number)
        self._poll.register(watched, select.POLLIN)
        _say(self._control, {"forked": number, "keeper": forked.keeper}, (forked.worker,))
        if forked.keeper:
            os.close(forked.worker)

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
            for other in self._sessions:  # of as many as there are, they would be more than it may have open
                os.close(other)
            os.dup2(control, CONTROL, inheritable=False)
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, CONTROL)
            is_inside = _enter_group(channel)
            folder = self._isolation.close_in(settings)
            _say(channel, {"is_inside": is_inside}, (folder,))
            os.closerange(CONTROL + 1, 65_536)
            self._isolation.keep_open()
            runner.serve(channel, self._shell, spare=settings["spare"])
        except BaseException as failure:
            os.write(2, f"session could not start: {failure}\n".encode())
        finally:
            os._exit(1)


def _enter_group(channel: socket.socket) -> bool:
    """Through the doors that sandboxd sends, if there is a group and a way in from here; see `cgroups.Group.doors`."""
    _, doors, _, _ = socket.recv_fds(channel, 64, _DOORS)
    try:
        for door in doors:
            os.write(door, b"0")
    except OSError:
        return False
    finally:
        for door in doors:
            os.close(door)
    return bool(doors)


def preload(names: Iterable[str]) -> list[str]:
    """Import what most cells use; returns what is not installed. Nothing there may start threads: a fork loses them."""
    missing = []
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing


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
        if length > 0:
            linux.collapse(first, length)  # refused for a range nobody has written to, or by a kernel before 6.1
