"""Isolation where a machine refuses namespaces: sessions share its root, its network and its process numbers.

Covered: Landlock lets a session read the program files of Python and the system, use five devices, and reach its own
three folders; files elsewhere cannot be opened. `seccomp` refuses sockets and, where all sessions are one user, what
Landlock leaves open between processes of one user. As root of a container every session has a user id of its own. A
keeper above each session ends whatever the session leaves behind when it ends.

Packages that the zygote loads run behind Landlock and `seccomp` as well, without sockets, and as root with five
capabilities instead of all. Landlock lets the zygote reach what a session may, `/proc` to read, and the folders of all
sessions.

Not covered: the zygote runs as the server's user. A package that it loads could change the code that closes sessions
in, reach the files of all sessions, change modes and owners of files that it cannot open, and signal the server before
Linux 6.12.

Not covered: names, sizes and modes of files, and the numbers of processes, can be seen where they are not hidden
otherwise. The disk has no quota of its own: the watchdog looks four times a second, and file systems have their end.
As one user (tier `weak`) the number of processes is bounded for all sessions together, and on kernels before 6.12 a
session cannot signal even its own children. Without a keeper (kill -9 of it) daemons of a session go on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from locum.sandbox.isolation import jail, landlock, linux
from locum.sandbox.isolation.jail import DATA, IMAGES, SCRATCH, Forked, Place
from locum.sandbox.isolation.seccomp import Filter, Shared

_DATA_FD = 4
DATA_LINK = ("/mnt/data", f"/proc/self/fd/{_DATA_FD}")
"""Where a container image has this link, paths that code puts together by itself lead to the session's files too."""
_READABLE = (
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/uptime"),
    *("/proc/loadavg", "/proc/filesystems", "/sys/devices/system/cpu/online"),
)
_NEEDED_AS_ROOT = (linux.CAP_CHOWN, linux.CAP_KILL, linux.CAP_SETGID, linux.CAP_SETUID, linux.CAP_SETPCAP)
_RETRY_SECONDS = 0.005
_AWAITED = (signal.SIGTERM, signal.SIGCHLD)
"""What a keeper is told: blocked, so that it comes where it is waited for and nowhere else."""


class Isolation:
    """Isolation by Landlock, seccomp and, with `own_users`, a user id for each session, which takes being root.

    home: a folder that other users may pass through, with one folder per session. modules: folder of those that
    the zygote imports after `enter`.
    """

    late_modules: str | None = None

    def __init__(self, home: str, cache: str, share: int, modules: str, *, own_users: bool) -> None:
        self.cache = cache
        self._home = Path(home)
        self._modules = modules
        id_map = Path("/proc/self/uid_map").read_text()
        self.first_uid = jail.first_uid(id_map, share) if own_users else None
        if own_users and self.first_uid is None:
            raise OSError("there are no user ids to be had for sessions here")
        self._landlock = landlock.version()
        if not self._landlock.number:
            raise OSError("this kernel has no Landlock, or it is switched off (security/landlock, Linux 5.13)")
        if not own_users and not self._landlock.guards_truncating:
            raise OSError("sessions that are one user need a Landlock that guards truncating (Linux 6.2)")
        self.place = self._place("zygote")

    def enter(self) -> None:
        """Limit the zygote to the files that sessions share, and to those from which it makes sessions."""
        for folder in (self.place.data, self.place.scratch, self.place.images):
            Path(folder).mkdir(parents=True, exist_ok=True)
        allowed = [(path, landlock.RUN) for path in (*jail.PROGRAM_FILES, *jail.interpreter_folders())]
        allowed += [(f"/etc/{name}", landlock.READ) for name in jail.SETTINGS]
        allowed += [(f"/dev/{name}", landlock.USE) for name in jail.DEVICES]
        allowed += [("/dev/zero", landlock.READ)]
        allowed += [(self.place.tools, landlock.RUN)]
        allowed += [(path, landlock.READ) for path in _READABLE]
        self._allowed = allowed
        own = [(self._modules, landlock.READ), ("/proc", landlock.READ)]
        own += [(folder, landlock.OWN) for folder in (str(self._home), self.cache)]
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict([*allowed, *own], self._landlock)
        jail.limit_fork_server(_NEEDED_AS_ROOT if self.first_uid is not None else ())

    def seal(self) -> None:
        """Nothing was open for the warming up only."""

    def _place(self, name: str) -> Place:
        own = self._home / name
        return Place(str(own / DATA), str(own / SCRATCH), str(own / IMAGES), str(self._home / "tools"))

    def fork(self, settings: dict[str, Any], session: Callable[[], NoReturn]) -> Forked:
        """The session's process is a grandchild: between it and us stands its keeper."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                above = os.getpid()
                keeper = os.fork()
                if keeper == 0:
                    self._keep(settings, session, theirs, above)
            words, fds, _, _ = socket.recv_fds(ours, 4096, 1)
        if not fds:
            os.waitpid(keeper, 0)
            raise OSError(words.decode() or "a session's keeper died")
        return Forked(keeper, fds[0], keeper)

    def _keep(
        self, settings: dict[str, Any], session: Callable[[], NoReturn], report: socket.socket, above: int
    ) -> NoReturn:
        try:
            os.setsid()
            signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
            linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
            linux.die_with_parent(signal.SIGTERM)
            if os.getppid() != above:
                os._exit(1)
            uid = self._uid(settings)
            self._make_folders(settings, uid)
            worker = os.fork()
            if worker == 0:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
                session()
            socket.send_fds(report, [b"forked"], (os.pidfd_open(worker),))
        except BaseException as failure:
            with contextlib.suppress(OSError):
                report.send(str(failure).encode()[:4000])
            os._exit(1)
        os.closerange(3, 65_536)  # the ends of the session's channels: who listens must see them close
        status = _wait_for(worker)
        _end_the_rest(uid)
        _end_like(status)

    def _uid(self, settings: dict[str, Any]) -> int:
        return -1 if self.first_uid is None else self.first_uid + int(settings["slot"])

    def _make_folders(self, settings: dict[str, Any], uid: int) -> None:
        own = self._home / str(settings["fork"])
        own.mkdir(mode=0o700)
        for name in (DATA, SCRATCH, IMAGES):
            (own / name).mkdir(mode=0o755)
            os.chown(own / name, uid, uid)
        os.chown(own, uid, uid)

    def close_in(self, settings: dict[str, Any]) -> int:
        """Close this freshly forked process in for good."""
        uid = self._uid(settings)
        place = self._place(str(settings["fork"]))
        os.setsid()
        if self.first_uid is not None:
            jail.drop_bounding_set()
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            jail.limit(settings)
        else:
            jail.limit(settings | {"processes": _tasks_of(os.getuid()) + int(settings["processes"])})
        jail.drop_capabilities()
        folder = os.open(os.path.dirname(place.data), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # noqa: PTH120
        linux.prctl(linux.PR_SET_DUMPABLE, 1)  # the memory watchdog reads this process from outside
        linux.die_with_parent(signal.SIGKILL)
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        os.chdir(place.data)
        jail.settle(place)
        own = [(path, landlock.OWN) for path in (place.data, place.scratch, place.images)]
        landlock.restrict([*self._allowed, *own], self._landlock)
        self._filter().install()
        return folder

    def keep_open(self) -> None:
        """The session's folder under the number that `DATA_LINK` leads to, for the session and what it starts."""
        data = os.open(jail.here().data, os.O_RDONLY | os.O_DIRECTORY)
        os.dup2(data, _DATA_FD, inheritable=True)
        if data != _DATA_FD:
            os.close(data)

    def _filter(self) -> Filter:
        if self.first_uid is not None:
            return Filter()
        signals_to = None if self._landlock.keeps_signals_in else os.getpid()
        return Filter(Shared(signals_to))


def _wait_for(worker: int) -> int:
    """Bury whoever comes, until it is the session's own process, or until our own parent is gone."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == worker:
            return os.waitstatus_to_exitcode(status)
        if pid == 0 and signal.sigwaitinfo(_AWAITED).si_signo == signal.SIGTERM:
            os.kill(worker, signal.SIGKILL)


def _end_the_rest(uid: int) -> None:
    """Whoever a session left behind became a child of this process, however far away it had gone."""
    children = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY)
    while True:
        if uid >= 0:
            _signal_all_of(uid)
        while pids := os.pread(children, 65_536, 0).split():  # as fast as they can fork away
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
            except ChildProcessError:
                return
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        time.sleep(_RETRY_SECONDS)


def _signal_all_of(uid: int) -> None:
    """The kernel signals every process that this user may signal at once: nobody forks away under it."""
    helper = os.fork()
    if helper == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    if os.WIFSTOPPED(os.waitpid(helper, os.WUNTRACED)[1]):  # by those it is about to end, who are the same user
        os.kill(helper, signal.SIGKILL)
        os.waitpid(helper, 0)


def _tasks_of(uid: int) -> int:
    """Processes and threads that a user has already: the kernel counts them all against a limit."""
    count = 0
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}").st_uid == uid:  # noqa: PTH116
                    count += len(os.listdir(f"/proc/{entry}/task"))  # noqa: PTH208
    return count


def _end_like(status: int) -> NoReturn:
    """The end of the session's process is ours, so that whoever waits for us learns how it ended."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if status < 0:
            if -status != signal.SIGKILL:
                signal.signal(-status, signal.SIG_DFL)
            os.kill(os.getpid(), -status)
    finally:
        os._exit(status if status >= 0 else 128 - status)
