"""Full isolation: a stripped read-only root for the zygote, and inside it one closed box per session.

Covered: a session sees a root made of the interpreter's and the system's program files (read-only), five devices, its
own /mnt/data and /tmp, and its own processes; it has no network, no capability, no way to get one, and bounded
processes, files, memory per process and disk. Landlock says about files once more what the root says. As real root
every session also has a user id of its own on the host, and its mounts belong to a user namespace above its own; as an
ordinary user all sessions are that user to the host.

Packages that the zygote loads run in that root as well, with an empty network, no sockets and no capability but those
that making sessions takes; run by an ordinary user, they are capabilities of the zygote's own user namespace.

Not covered: as real root those capabilities are the machine's. A package written for it could mount file systems of
the host; sessions could not, but a package of the zygote can also change the code that closes them in.

Not covered: the kernel is shared: a flaw in a call that `seccomp` lets through is a way out. Timing, `uname` and the
CPU's model can be seen. Whatever the interpreter's own folder holds can be read. Without a control group, kernel memory
behind pipes and socketpairs is bounded by count only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from locum.sandbox.isolation import jail, landlock, linux
from locum.sandbox.isolation.jail import DATA, IMAGES, SCRATCH, Forked, Place
from locum.sandbox.isolation.seccomp import Filter

_SESSION_ROOT, _TMP = "/run/session", "/tmp"  # noqa: S108
_CACHE = "/var/cache/matplotlib"
_OWN_PROGRAMS = "/opt/sandbox"
_TOOLS, _LATE_MODULES = f"{_OWN_PROGRAMS}/bin", f"{_OWN_PROGRAMS}/lib"
_SCRATCH = f"{_SESSION_ROOT}/{SCRATCH}"
_PLACE = Place("/mnt/data", _SCRATCH, f"{_SESSION_ROOT}/{IMAGES}", _TOOLS)

_NEEDED_AS_ROOT = (linux.CAP_CHOWN, linux.CAP_SETGID, linux.CAP_SETUID, linux.CAP_SETPCAP, linux.CAP_SYS_ADMIN)
_NAMESPACES = linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWNET

_ALLOWED = (
    ("/", landlock.RUN),
    *((f"{_SESSION_ROOT}/{name}", landlock.OWN) for name in (DATA, SCRATCH, IMAGES)),
    *((f"/dev/{name}", landlock.USE) for name in jail.DEVICES),
    ("/dev/zero", landlock.READ),
)
_MADE_UP = {
    "/etc/passwd": "root:x:0:0:root:/:/bin/false\nsandbox:x:1000:1000:sandbox:/tmp:/bin/sh\n",
    "/etc/group": "root:x:0:\nsandbox:x:1000:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def _is_privileged() -> bool:
    """Real root, or root of a container that was given the right to mount; sandboxd has to end others' processes."""
    held = linux.effective_capabilities()
    needed = (*_NEEDED_AS_ROOT, linux.CAP_KILL)
    return os.geteuid() == 0 and all(held & (1 << capability) for capability in needed)


class Isolation:
    """Isolation by namespaces.

    root, cache: folders of the host, one to mount on, and one that keeps matplotlib's list of fonts. share: see
    `jail.first_uid`. late_modules: files that are copied into the root.
    """

    cache = _CACHE
    place = _PLACE
    late_modules: str | None = _LATE_MODULES

    def __init__(self, root: str, cache: str, share: int, late_modules: Iterable[Path]) -> None:
        id_map = Path("/proc/self/uid_map").read_text()
        self.first_uid = jail.first_uid(id_map, share) if _is_privileged() else None
        self._root = root
        self._modules = {path.name: path.read_bytes() for path in late_modules}
        self._below_tmp = [folder for folder in jail.interpreter_folders() if Path(folder).is_relative_to(_TMP)]
        self._filter = Filter()
        self._landlock = landlock.version()
        self._kept_cache = os.open(cache, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def enter(self) -> None:
        """Returns in process 1 of a new pid namespace; the one that called waits for its end and ends with it."""
        _leave_host(privileged=self.first_uid is not None)
        zygote = os.fork()
        if zygote:
            os.waitpid(zygote, 0)
            os._exit(0)
        linux.die_with_parent(signal.SIGKILL)
        self._proc = _build_root(self._root, self._modules)
        self._own_pids = os.open("self/ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        self._cache = os.open(_CACHE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _copy_font_list(self._kept_cache, self._cache)
        # An ordinary user is 0 in the zygote's user namespace, and to map that id once more takes the right to SETFCAP.
        kept = _NEEDED_AS_ROOT if self.first_uid is not None else (*_NEEDED_AS_ROOT, linux.CAP_SETFCAP)
        jail.limit_fork_server(kept)

    def seal(self) -> None:
        """The zygote is warm: from here on its font cache, scratch folder and tools cannot be written either."""
        with contextlib.suppress(PermissionError):  # another user's, from an earlier start; the list is made anew then
            _copy_font_list(self._cache, self._kept_cache)
        os.close(self._cache)
        os.close(self._kept_cache)
        linux.restrict_mount("/", linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID, recursive=True)

    def fork(self, settings: dict[str, Any], session: Callable[[], NoReturn]) -> Forked:
        """A child in a pid namespace of its own; os.fork keeps libc's and Python's idea of their process right."""
        linux.unshare(linux.CLONE_NEWPID)
        try:
            pid = os.fork()
            if pid == 0:
                session()
        finally:
            linux.setns(self._own_pids, linux.CLONE_NEWPID)
        return Forked(pid, os.pidfd_open(pid))

    def close_in(self, settings: dict[str, Any]) -> int:
        """Close this freshly forked process in for good."""
        os.setsid()
        linux.unshare(_NAMESPACES)
        host_uid = 0 if self.first_uid is None else self.first_uid + int(settings["slot"])
        folder = _mount_session(settings, host_uid, self._below_tmp)
        if self._below_tmp:
            _mount_scratch(self._below_tmp)
        _mount_proc()
        with contextlib.suppress(PermissionError):  # some containers refuse this call and no other
            socket.sethostname("sandbox")
        if self.first_uid is not None:
            _become(host_uid)
        linux.prctl(linux.PR_SET_DUMPABLE, 1)  # else the id map would belong to root
        linux.unshare(linux.CLONE_NEWUSER)
        with _own_proc(self._proc) as process:
            _write(process, "oom_score_adj", "1000")
            _map_ids(process, f"{jail.SESSION_UID} {host_uid} 1", f"{jail.SESSION_UID} {host_uid} 1")
        jail.limit(settings)  # set before the user namespace, the process limit would count all sessions together
        jail.drop_capabilities()
        linux.prctl(linux.PR_SET_DUMPABLE, 1)  # the memory watchdog reads this process from outside
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        os.chdir("/mnt/data")
        jail.settle(_PLACE)
        if self._landlock.number:
            landlock.restrict(_ALLOWED, self._landlock)
        self._filter.install()
        return folder

    def keep_open(self) -> None:
        """/mnt/data is a mount."""


def _leave_host(*, privileged: bool) -> None:
    """New namespaces for the zygote; its first child is process 1 of the new pid namespace."""
    if privileged:
        linux.unshare(_NAMESPACES | linux.CLONE_NEWPID)
        return
    uid, gid = os.getuid(), os.getgid()
    linux.unshare(_NAMESPACES | linux.CLONE_NEWPID | linux.CLONE_NEWUSER)
    with _own_proc(os.open("/proc", os.O_PATH)) as process:
        _map_ids(process, f"0 {uid} 1", f"0 {gid} 1")


@contextlib.contextmanager
def _own_proc(proc: int) -> Iterator[int]:
    """This process's folder in a /proc that was opened earlier, wherever that is mounted now."""
    folder = os.open("self", os.O_PATH | os.O_DIRECTORY, dir_fd=proc)
    yield folder
    os.close(folder)


def _map_ids(process: int, uids: str, gids: str) -> None:
    for name, text in (("setgroups", "deny"), ("gid_map", gids), ("uid_map", uids)):
        _write(process, name, text)


def _write(folder: int, name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY, dir_fd=folder)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _build_root(at: str, modules: Mapping[str, bytes]) -> int:
    """Put this process (and every session forked from it) into a root that holds program files and nothing else.

    Returns the host's /proc, held open: a session has to write its id map through one, and a container may refuse to
    mount another. No session keeps it.
    """
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", at, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755,size=1m")
    root = Path(at)
    for path in jail.PROGRAM_FILES:
        _show(root, Path(path))
    for path in jail.interpreter_folders():
        _show(root, Path(path))
    for name in jail.SETTINGS:
        _show(root, Path("/etc") / name)
    for name, text in _MADE_UP.items():
        (root / name[1:]).write_text(text)
    for name in jail.DEVICES:
        _show_device(root, name, name)
    _show_device(root, "zero", "full")  # which reads the same, and cannot be mapped
    for folder in ("proc", _SESSION_ROOT[1:], "mnt/data", _CACHE[1:], _OWN_PROGRAMS[1:]):
        (root / folder).mkdir(parents=True, exist_ok=True)
    _link_scratch(root)
    with contextlib.suppress(OSError):  # refused in a container that masks /proc: sessions then live without it
        linux.mount("proc", f"{at}/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    for folder in (_SESSION_ROOT, _CACHE, _OWN_PROGRAMS):
        linux.mount("tmpfs", f"{at}{folder}", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=16m,mode=0755")
    library = root / _LATE_MODULES[1:]
    library.mkdir()
    for name, code in modules.items():
        (library / name).write_bytes(code)
    linux.pivot_into(at)
    linux.restrict_mount("/", linux.MOUNT_ATTR_RDONLY)
    return proc


def _show(root: Path, path: Path) -> None:
    target = root / str(path)[1:]
    if path.is_symlink() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path.readlink())
    elif path.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        _bind(path, target, linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV)
    elif path.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        _bind(path, target, linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV)


def _show_device(root: Path, name: str, device: str) -> None:
    target = root / "dev" / name
    target.parent.mkdir(exist_ok=True)
    target.touch()
    _bind(Path("/dev") / device, target, linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID)


def _bind(path: Path, target: Path, attributes: int) -> None:
    linux.mount(str(path), str(target), None, linux.MS_BIND | linux.MS_REC)
    linux.restrict_mount(str(target), attributes, recursive=True)


def _link_scratch(root: Path) -> None:
    """Let /tmp lead to the session's own, unless the interpreter itself lives below the real one."""
    for name, target in {
        "tmp": _SCRATCH,
        "var/tmp": "/tmp",  # noqa: S108
        "dev/shm": "/tmp",  # noqa: S108
        "dev/fd": "/proc/self/fd",
    }.items():
        with contextlib.suppress(FileExistsError):
            (root / name).symlink_to(target)


def _mount_session(settings: dict[str, Any], uid: int, below_tmp: list[str]) -> int:
    """One tmpfs is the session's whole disk: its size is the quota, and one open folder gives the host all of it."""
    options = f"mode=0755,size={settings['disk_bytes']},nr_inodes={settings['inodes']}"
    linux.mount("tmpfs", _SESSION_ROOT, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
    folder = os.open(_SESSION_ROOT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in (DATA, SCRATCH, IMAGES):
        os.mkdir(name, 0o755, dir_fd=folder)
    for shown in below_tmp:
        Path(_SCRATCH, Path(shown).relative_to(_TMP)).mkdir(parents=True, exist_ok=True)
    for name in (DATA, SCRATCH, IMAGES):
        os.chown(name, uid, uid, dir_fd=folder)
    linux.mount(f"{_SESSION_ROOT}/{DATA}", "/mnt/data", None, linux.MS_BIND)
    return folder


def _mount_proc() -> None:
    """Its own processes, where the machine allows it; else nothing."""
    # Read-only: else a session could take back that the kernel ends it first when memory runs out (oom_score_adj).
    flags = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    for attempt in ("hidepid=2,subset=pid", "hidepid=2"):
        with contextlib.suppress(OSError):
            linux.mount("proc", "/proc", "proc", flags, attempt)
            break
    else:
        linux.mount("tmpfs", "/proc", "tmpfs", flags, "mode=0555,size=4k")


def _mount_scratch(shown: list[str]) -> None:
    """A folder for temporary files, where the interpreter lives below the real one and a link cannot stand for it."""
    held = [(folder, os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) for folder in shown]
    linux.mount(_SCRATCH, _TMP, None, linux.MS_BIND)
    for folder, fd in held:
        linux.mount(f"/proc/self/fd/{fd}", folder, None, linux.MS_BIND | linux.MS_REC)
        os.close(fd)


def _become(uid: int) -> None:
    """Give up being root, but keep the right to make the user namespace where ordinary users may not."""
    linux.prctl(linux.PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    admin = 1 << linux.CAP_SYS_ADMIN
    linux.set_capabilities(admin, admin)


def _copy_font_list(source: int, target: int) -> None:
    """Bring matplotlib's list of fonts in, or out: making it anew takes seconds. A mount would show a host path."""
    for name in os.listdir(source):
        if name.startswith("fontlist") and name.endswith(".json"):
            with (
                os.fdopen(os.open(name, os.O_RDONLY, dir_fd=source), "rb") as old,
                os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=target), "wb") as new,
            ):
                new.write(old.read())
