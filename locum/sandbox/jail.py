"""The walls: a stripped read-only root for the zygote, and inside it one closed box per session.

Covered: a session sees a root made of the interpreter's and the system's program files (read-only), five devices, its
own /mnt/data and /tmp, and its own processes; it has no network, no capability, no way to get one, and bounded
processes, files, memory per process and disk. As real root every session also has a user id of its own on the host,
and its mounts belong to a user namespace above its own; as an ordinary user all sessions are that user to the host.

Not covered: the kernel is shared: a flaw in a call that `seccomp` lets through is a way out. Timing, `uname` and the
CPU's model can be seen. Whatever the interpreter's own folder holds can be read. Kernel memory behind pipes and
socketpairs is bounded by count only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import socket
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from locum.sandbox import linux
from locum.sandbox.seccomp import Filter

SESSION_UID = 1000
# Of the user ids that systemd's list leaves to nobody; one per live session when sandboxd is root.
FIRST_HOST_UID = 1_900_000_000

SESSION_ROOT = "/run/session"
CACHE = "/var/cache/matplotlib"
DATA, SCRATCH, IMAGES = "data", "tmp", "images"

_NEEDED_AS_ROOT = (linux.CAP_CHOWN, linux.CAP_SETGID, linux.CAP_SETUID, linux.CAP_SETPCAP, linux.CAP_SYS_ADMIN)
_NAMESPACES = linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWNET

_PROGRAM_FILES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_SETTINGS = ("fonts", "ld.so.cache", "localtime", "mime.types", "alternatives")
# What is shown under each name. `full` reads as `zero` does but cannot be mapped: a shared mapping of the real `zero`
# is memory that no limit counts.
_DEVICES = {"null": "null", "zero": "full", "full": "full", "random": "random", "urandom": "urandom"}
_MADE_UP = {
    "/etc/passwd": "root:x:0:0:root:/:/bin/false\nsandbox:x:1000:1000:sandbox:/tmp:/bin/sh\n",
    "/etc/group": "root:x:0:\nsandbox:x:1000:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
TOOLS, LATE_MODULES = "/opt/sandbox/bin", "/opt/sandbox/lib"
# Modules of this package that can be imported only when the zygote already sits in its root.
_LATE = ("notebook.py", "figures.py")
_WORTH_NAMING = (
    *("numpy", "pandas", "scipy", "sympy", "matplotlib", "seaborn", "sklearn", "statsmodels", "networkx"),
    *("openpyxl", "xlsxwriter", "PIL", "pypdf", "docx", "pptx", "lxml", "bs4", "tabulate"),
)


def is_privileged() -> bool:
    """Real root, or root of a container that was given the right to mount."""
    held = linux.effective_capabilities()
    return os.geteuid() == 0 and all(held & (1 << capability) for capability in _NEEDED_AS_ROOT)


def leave_host(*, privileged: bool) -> None:
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


def build_root(at: str) -> int:
    """Put this process (and every session forked from it) into a root that holds program files and nothing else.

    Returns the host's /proc, held open: a session has to write its id map through one, and a container may refuse to
    mount another. No session keeps it.
    """
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", at, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755,size=1m")
    root = Path(at)
    for path in _PROGRAM_FILES:
        _show(root, Path(path))
    for path in interpreter_folders():
        _show(root, Path(path))
    for name in _SETTINGS:
        _show(root, Path("/etc") / name)
    for name, text in _MADE_UP.items():
        (root / name[1:]).write_text(text)
    _make_tools(root)
    for name, device in _DEVICES.items():
        _show_device(root, name, device)
    for folder in ("proc", SESSION_ROOT[1:], "mnt/data", CACHE[1:]):
        (root / folder).mkdir(parents=True, exist_ok=True)
    _link_scratch(root)
    with contextlib.suppress(OSError):  # refused in a container that masks /proc: sessions then live without it
        linux.mount("proc", f"{at}/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    for folder in (SESSION_ROOT, CACHE):
        linux.mount("tmpfs", f"{at}{folder}", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=16m,mode=0755")
    linux.pivot_into(at)
    linux.restrict_mount("/", linux.MOUNT_ATTR_RDONLY)
    return proc


def interpreter_folders() -> list[str]:
    """Where this interpreter and its packages live, without what the system's program files already show."""
    named = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    named += [sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    named += [str(Path(sys.executable).resolve().parent)]
    folders = sorted({str(form) for path in named for form in (Path(path), Path(path).resolve())}, key=len)
    shown: list[str] = []
    for folder in folders:
        if not any(Path(folder).is_relative_to(other) for other in (*_PROGRAM_FILES, *shown)):
            shown.append(folder)
    return shown


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


def no_internet() -> str:
    """What pip says: everything the model needs to go on without it."""
    here = ", ".join(name for name in _WORTH_NAMING if importlib.util.find_spec(name)) or "the standard library"
    said = "There is no internet access in this sandbox, so packages cannot be installed."
    return f"{said} Use those that are here: {here}."


def _make_tools(root: Path) -> None:
    tools = root / TOOLS[1:]
    tools.mkdir(parents=True)
    for name in ("pip", "pip3"):
        (tools / name).write_text(f"#!/bin/sh\necho '{no_internet()}'\nexit 1\n")
        (tools / name).chmod(0o755)
    library = root / LATE_MODULES[1:]
    library.mkdir()
    for name in _LATE:
        (library / name).write_bytes(Path(__file__).with_name(name).read_bytes())


def _link_scratch(root: Path) -> None:
    """Let /tmp lead to the session's own, unless the interpreter itself lives below the real one."""
    for name, target in {
        "tmp": f"{SESSION_ROOT}/{SCRATCH}",
        "var/tmp": "/tmp",  # noqa: S108
        "dev/shm": "/tmp",  # noqa: S108
        "dev/fd": "/proc/self/fd",
    }.items():
        with contextlib.suppress(FileExistsError):
            (root / name).symlink_to(target)


def seal_root(*, privileged: bool) -> None:
    """The zygote is warm: from here on its font cache and its scratch folder cannot be written either."""
    linux.restrict_mount("/", linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID, recursive=True)
    # An ordinary user is 0 in the zygote's user namespace, and to map that id once more takes the right to SETFCAP.
    kept = _NEEDED_AS_ROOT if privileged else (*_NEEDED_AS_ROOT, linux.CAP_SETFCAP)
    rights = sum(1 << capability for capability in kept)
    linux.set_capabilities(rights, rights)


def read_sizes() -> tuple[int, int]:
    """Address space and private data of this process so far; a session's limits are set on top of them."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmSize"].split()[0]) * 1024, int(lines["VmData"].split()[0]) * 1024
    except OSError:
        return 2 << 30, 1 << 30


def enter_session(settings: dict[str, Any], filter_: Filter, proc: int, *, privileged: bool) -> int:
    """Close this freshly forked process in for good. Returns the folder that holds its files, for the host."""
    os.setsid()
    linux.unshare(_NAMESPACES)
    host_uid = FIRST_HOST_UID + int(settings["slot"]) if privileged else 0
    folder = _mount_session(settings, host_uid)
    socket.sethostname("sandbox")
    if privileged:
        _become(host_uid)
    linux.prctl(linux.PR_SET_DUMPABLE, 1)  # else the id map would belong to root
    linux.unshare(linux.CLONE_NEWUSER)
    with _own_proc(proc) as process:
        _write(process, "oom_score_adj", "1000")
        _map_ids(process, f"{SESSION_UID} {host_uid} 1", f"{SESSION_UID} {host_uid} 1")
    _limit(settings)  # after the user namespace: set before it, the process limit would count all sessions together
    _drop_capabilities()
    linux.prctl(linux.PR_SET_DUMPABLE, 1)  # the memory watchdog reads this process from outside
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    os.chdir("/mnt/data")
    filter_.install()
    return folder


def _mount_session(settings: dict[str, Any], uid: int) -> int:
    """One tmpfs is the session's whole disk: its size is the quota, and one open folder gives the host all of it."""
    options = f"mode=0755,size={settings['disk_bytes']},nr_inodes={settings['inodes']}"
    linux.mount("tmpfs", SESSION_ROOT, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
    folder = os.open(SESSION_ROOT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in (DATA, SCRATCH, IMAGES):
        os.mkdir(name, 0o755, dir_fd=folder)
        os.chown(name, uid, uid, dir_fd=folder)
    linux.mount(f"{SESSION_ROOT}/{DATA}", "/mnt/data", None, linux.MS_BIND)
    # Read-only: else a session could take back that the kernel ends it first when memory runs out (oom_score_adj).
    flags = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    for attempt in ("hidepid=2,subset=pid", "hidepid=2"):
        with contextlib.suppress(OSError):
            linux.mount("proc", "/proc", "proc", flags, attempt)
            break
    else:
        linux.mount("tmpfs", "/proc", "tmpfs", flags, "mode=0555,size=4k")
    return folder


def _become(uid: int) -> None:
    """Give up being root, but keep the right to make the user namespace where ordinary users may not."""
    linux.prctl(linux.PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    admin = 1 << linux.CAP_SYS_ADMIN
    linux.set_capabilities(admin, admin)


def _limit(settings: dict[str, Any]) -> None:
    disk, memory = int(settings["disk_bytes"]), int(settings["memory_bytes"])
    for kind, value in (
        (resource.RLIMIT_DATA, int(settings["base_data"]) + memory * 7 // 8),
        (resource.RLIMIT_AS, int(settings["base_size"]) + 4 * memory),
        (resource.RLIMIT_NPROC, int(settings["processes"])),
        (resource.RLIMIT_NOFILE, int(settings["open_files"])),
        (resource.RLIMIT_FSIZE, disk + (1 << 20)),
        (resource.RLIMIT_STACK, 8 << 20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, 256),
        (resource.RLIMIT_RTPRIO, 0),
        (resource.RLIMIT_NICE, 0),
    ):
        ceiling = resource.getrlimit(kind)[1]
        value = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        resource.setrlimit(kind, (value, value))


def _drop_capabilities() -> None:
    for capability in range(64):
        try:
            linux.prctl(linux.PR_CAPBSET_DROP, capability)
        except OSError:
            break  # the first number this kernel does not know
    with contextlib.suppress(OSError):
        linux.prctl(linux.PR_CAP_AMBIENT, 4)
    linux.set_capabilities(0, 0)


def prepare_folder(directory: Path) -> None:
    """The two folders on the host that the zygote needs: a place to mount its root on, and matplotlib's font cache."""
    for name in ("root", "cache"):
        (directory / name).mkdir(mode=0o700, exist_ok=True)


def forget_host_paths(text: str) -> str:
    """A traceback's paths without where on the host the interpreter happens to be installed."""
    for key in ("purelib", "platlib"):
        text = text.replace(sysconfig.get_path(key) + "/", "")
    return text.replace(sysconfig.get_path("stdlib") + "/", "")
