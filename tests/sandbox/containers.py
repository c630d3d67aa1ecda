"""Containers for tests, as Docker makes them, without Docker: `runc` on a bundle that is written here.

    with container(user=1000, seccomp=docker_default()) as run:
        done = run(["python", "-c", "print('hello')"])

The root holds the machine's program files, this Python and this Locum, all read-only; the rest of it, `/data` and
`/tmp` can be written. Capabilities, masked and read-only paths, namespaces and devices are Docker's defaults. The
network is the machine's own (`--network host`), so that a test can call a server that runs inside.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import locum
from locum.sandbox.isolation.jail import interpreter_folders

ROOT = Path(__file__).parents[2]
PACKAGE = Path(locum.__file__).parent

CAPABILITIES = [
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID"),
    *("CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL"),
    "CAP_AUDIT_WRITE",
]
_MASKED = [
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"),
]
_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_MOUNTS = [
    ("/proc", "proc", "proc", "nosuid noexec nodev"),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "ro nosuid noexec nodev"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
    ("/tmp", "tmpfs", "tmpfs", "nosuid nodev mode=1777"),
]
_PROGRAM_FILES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_SETTINGS = ("/etc/fonts", "/etc/ld.so.cache", "/etc/mime.types", "/etc/alternatives", "/etc/ssl")
_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nlocum:x:1000:1000::/data:/bin/sh\n",
    "group": "root:x:0:\nlocum:x:1000:\n",
    "hosts": "127.0.0.1 localhost\n",
}
_SECONDS = 90
_FIRST_MAPPED_ID = 2_000_000


class Container:
    """Runs commands, each as process 1 of a container of its own; what they write to /data stays for the next."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._folder = folder
        self._config = config
        self._numbers = itertools.count()
        self._ids: list[str] = []

    @property
    def data(self) -> Path:
        """The container's `/data`, seen from outside."""
        return self._folder / "data"

    def __call__(self, command: Sequence[str], **env: str) -> subprocess.CompletedProcess[str]:
        """Run to the end; a test that needs success looks at `returncode`."""
        with self.start(command, **env) as process:
            try:
                output, errors = process.communicate(timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                self._delete(self._ids[-1])
                raise
        return subprocess.CompletedProcess(list(command), process.returncode, output, errors)

    def start(self, command: Sequence[str], **env: str) -> subprocess.Popen[str]:
        """Run beside the test: a signal that this process gets is passed on to the command."""
        name = f"{self._folder.name}-{next(self._numbers)}"
        self._ids.append(name)
        bundle = self._folder / "bundles" / name
        bundle.mkdir(parents=True)
        process = {**self._config["process"], "args": list(command), "env": _environment(env)}
        (bundle / "config.json").write_text(json.dumps({**self._config, "process": process}))
        return subprocess.Popen(
            [*self._runc, "run", "--bundle", str(bundle), name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def _runc(self) -> list[str]:
        return ["runc", "--root", str(self._folder / "state")]

    def _delete(self, name: str) -> None:
        subprocess.run([*self._runc, "delete", "--force", name], capture_output=True, check=False)

    def close(self) -> None:
        for name in self._ids:
            self._delete(name)


@contextlib.contextmanager
def container(
    *,
    user: int = 0,
    seccomp: Mapping[str, Any] | None,
    masks: bool = True,
    capabilities: Sequence[str] = CAPABILITIES,
    no_new_privileges: bool = False,
    read_only: bool = False,
    user_namespace: bool = False,
) -> Iterator[Container]:
    """A container that is gone at the end, with all that ran in it. Skips the test where runc cannot be used.

    `seccomp` is a profile without conditions, as `deploy/seccomp.json` is; None is Docker's `seccomp=unconfined`.
    Without `masks` it has Docker's `systempaths=unconfined`. With `user_namespace` its root is an ordinary user of the
    machine, as in pods with `hostUsers: false`, rootless engines and LXC; it then has a network of its own.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can make containers with runc")
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed (Debian, Ubuntu: apt-get install runc)")
    # Not below pytest's folders: nobody but the machine's root can pass through those.
    with tempfile.TemporaryDirectory(prefix="locum-container-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        first_id = _FIRST_MAPPED_ID if user_namespace else 0
        _make_root(folder, first_id)
        os.chown(folder / "data", first_id + user, first_id + user)
        own = [] if user else list(capabilities)  # a user who is not root holds none of those that its container has
        process = {
            "terminal": False,
            "user": {"uid": user, "gid": user},
            "cwd": "/data",
            "capabilities": {"bounding": list(capabilities), "effective": own, "permitted": own},
            "noNewPrivileges": no_new_privileges,
        }
        linux = {
            "maskedPaths": _MASKED if masks else [],
            "readonlyPaths": _READ_ONLY if masks else [],
            **({"seccomp": seccomp} if seccomp else {}),
            **_namespaces(user_namespace=user_namespace),
        }
        config = {
            "ociVersion": "1.0.2",
            "root": {"path": str(folder / "rootfs"), "readonly": read_only},
            "hostname": "container",
            "process": process,
            "mounts": _mounts(folder),
            "linux": linux,
        }
        made = Container(folder, config)
        try:
            yield made
        finally:
            made.close()


def _make_root(folder: Path, owner: int) -> None:
    root = folder / "rootfs"
    for path in (root, root / "etc", root / "root", root / "mnt", folder / "data"):
        path.mkdir()
    for path in _PROGRAM_FILES:
        if Path(path).is_symlink():
            (root / path[1:]).symlink_to(Path(path).readlink())
    for name, text in _ETC.items():
        (root / "etc" / name).write_text(text)
    (root / ".dockerenv").touch()
    (root / "mnt/data").symlink_to("/proc/self/fd/4")  # as in the image of deploy/
    for path in (root, *root.rglob("*")):
        os.lchown(path, owner, owner)


def _namespaces(*, user_namespace: bool) -> dict[str, Any]:
    kinds = [{"type": kind} for kind in ("mount", "pid", "ipc", "uts")]
    if not user_namespace:
        return {"namespaces": kinds}
    ids = [{"containerID": 0, "hostID": _FIRST_MAPPED_ID, "size": 65_536}]
    return {"namespaces": [*kinds, {"type": "user"}, {"type": "network"}], "uidMappings": ids, "gidMappings": ids}


def _mounts(folder: Path) -> list[dict[str, Any]]:
    usual = [
        {"destination": at, "type": kind, "source": source, "options": options.split()}
        for at, kind, source, options in _MOUNTS
    ]
    # Of the machine: outer folders first.
    system = [path for path in _PROGRAM_FILES if Path(path).is_dir() and not Path(path).is_symlink()]
    settings = [path for path in _SETTINGS if Path(path).exists()]
    shown = [*system, *settings, *interpreter_folders(), str(PACKAGE)]
    return [*usual, *(_bind(path, path, "ro") for path in shown), _bind(str(folder / "data"), "/data", "rw")]


def _bind(source: str, at: str, access: str) -> dict[str, Any]:
    return {"destination": at, "type": "bind", "source": source, "options": ["rbind", access, "nosuid", "nodev"]}


def _environment(more: Mapping[str, str]) -> list[str]:
    own = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(PACKAGE.parent),
        "HOME": "/data",
        "LANG": "C.UTF-8",
    }
    return [f"{name}={value}" for name, value in {**own, **more}.items()]
