"""Takes one layer of the sandbox out of a copy of the package, and sees which attacks get through: python -m
tests.sandbox.layers_off [LAYER ...]

A wall that is named in the table must be what stops the attack. Where another stands behind it, both have to go; the
table says so in `also`. Needs real root, and harms nothing: the attacks of the table are bounded.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import locum
from tests.sandbox.attack import LAYERS
from tests.sandbox.attacks import TABLE

ROOT = Path(__file__).parents[2]

# file, what is there, what stands there instead
Edit = tuple[str, str, str]

EDITS: dict[str, list[Edit]] = {
    "root": [
        (
            "isolation/namespaces",
            '    linux.mount("tmpfs", at, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755,size=1m")\n',
            '    linux.mount("tmpfs", at, "tmpfs", 0, "mode=0755,size=1m")\n'
            '    for name in ("upper", "work", "merged"):\n'
            '        os.mkdir(f"{at}/{name}", 0o755)\n'
            '    layers = f"lowerdir=/,upperdir={at}/upper,workdir={at}/work"\n'
            '    linux.mount("overlay", f"{at}/merged", "overlay", 0, layers)\n'
            '    at = f"{at}/merged"\n',
        ),
    ],
    "pids": [
        (
            "isolation/namespaces",
            "linux.unshare(_NAMESPACES | linux.CLONE_NEWPID)\n        return",
            "linux.unshare(_NAMESPACES)\n        return",
        ),
        ("isolation/namespaces", "        linux.unshare(linux.CLONE_NEWPID)\n", ""),
        ("isolation/namespaces", '("hidepid=2,subset=pid", "hidepid=2")', '("subset=pid",)'),
        ("isolation/namespaces", "flags = linux.MS_RDONLY |", "flags ="),
    ],
    "network": [
        (
            "isolation/namespaces",
            "linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWNET",
            "linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS",
        ),
        ("isolation/landlock", "return _TCP if self.number >= 4 else 0", "return 0"),
        ("isolation/landlock", "return _SCOPES if self.number >= 6 else 0", "return 0"),
    ],
    "user": [
        ("isolation/namespaces", '0 if self.first_uid is None else self.first_uid + int(settings["slot"])', "0"),
        (
            "isolation/namespaces",
            "admin = 1 << linux.CAP_SYS_ADMIN",
            "admin = 1 << linux.CAP_SYS_ADMIN | 1 << linux.CAP_SETFCAP",
        ),
        ("isolation/namespaces", "kept = _NEEDED_AS_ROOT if self.first_uid is not None else", "kept ="),
    ],
    "capabilities": [("isolation/namespaces", "        jail.drop_capabilities()\n", "")],
    "seccomp": [
        ("isolation/namespaces", "        self._filter.install()\n", ""),
        ("isolation/jail", "    seccomp.Filter(makes_sessions=True).install()\n", ""),
    ],
    "rlimits": [("isolation/namespaces", "        jail.limit(settings)", "        pass")],
    "tmpfs": [
        (
            "isolation/namespaces",
            "mode=0755,size={settings['disk_bytes']},nr_inodes={settings['inodes']}",
            "mode=0755,size=1g,nr_inodes=100000",
        )
    ],
    "cgroup": [("host/cgroups", "    return _version_1(own) or _version_2(own)\n", "    return None\n")],
    "watchdog": [("host/consumption", "too_much = memory > self._limits.memory_bytes", "too_much = False")],
    "timer": [("host/kernel", "timeout=seconds, return_when", "timeout=None, return_when")],
    "stop": [("host/kernel", "        if self.alive:\n            self._stopped = True\n", "        if False:\n")],
    "exec": [
        ("client", "env=_ENVIRONMENT,", "env={**os.environ, **_ENVIRONMENT},"),
        ("host/zygote", "env=_ENVIRONMENT,", "env={**os.environ, **_ENVIRONMENT},"),
    ],
    "fresh": [("inside/zygote", "            os.closerange(CONTROL + 1, 65_536)\n", "")],
    "protocol": [("host/kernel", "            if done.id != self._cell or", "            if")],
    "output": [
        ("output", '    text = _ESCAPE.sub("", text).replace("\\r\\n", "\\n").replace("\\r", "\\n")\n', ""),
        ("output", "    return text.translate(_CONTROLS)\n", "    return text\n"),
    ],
    "collect": [
        ("host/collect", "_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK", "_READ = os.O_RDONLY | os.O_NONBLOCK"),
        (
            "host/collect",
            "                        about = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)\n"
            "                        if stat.S_ISREG",
            "                        about = os.stat(entry.name, dir_fd=fd)\n                        if stat.S_ISREG",
        ),
        (
            "isolation/linux",
            "    how = struct.pack(",
            "    return os.open(path, flags, mode, dir_fd=directory)\n    how = struct.pack(",
        ),
    ],
    "process 1": [("host/kernel", "        self._loop.add_reader(self._pidfd, self._notice_death)\n", "")],
}

# Else the self-test would refuse to go on, as it should.
_BLIND: Edit = (
    "host/probe",
    "    holes = [attempt for attempt, succeeded in outcome.items() if succeeded]\n",
    "    holes: list[str] = []\n",
)

RUNS: list[tuple[str, ...]] = [
    *((layer,) for layer in EDITS if layer not in ("network", "cgroup", "watchdog")),
    ("watchdog", "cgroup"),
    ("seccomp", "network"),
    ("seccomp", "capabilities"),
    ("root", "user"),
    ("rlimits", "cgroup"),
]
"""Which layers are taken out together. Those that stand behind others only are nowhere alone."""


def copy_without(layers: tuple[str, ...], folder: Path) -> None:
    shutil.copytree(Path(locum.__file__).parent, folder / "locum", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests/sandbox", folder / "tests/sandbox", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "environments.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests")
    for name, old, new in [_BLIND, *(edit for layer in layers for edit in EDITS[layer])]:
        path = folder / f"locum/sandbox/{name}.py"
        text = path.read_text()
        assert text.count(old) == 1, f"{name}.py has {old!r} {text.count(old)} times: this table is older than the code"
        path.write_text(text.replace(old, new))


def through(layers: tuple[str, ...]) -> dict[str, str]:
    """The attacks that these layers should stop and that are not stopped without them, with what they got."""
    with tempfile.TemporaryDirectory(prefix="locum-layers-") as name:
        folder = Path(name)
        copy_without(layers, folder)
        played = subprocess.run(
            [sys.executable, "-m", "tests.sandbox.attacks", str(folder / "data"), "namespaces", *layers],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    assert played.returncode == 0, played.stderr
    outcomes: dict[str, str] = json.loads(played.stdout)
    return {
        row.name: outcomes[row.name]
        for row in TABLE
        if row.name in outcomes and not row.is_stopped("namespaces", outcomes[row.name])
    }


def main() -> None:
    wanted = set(sys.argv[1:])
    for layers in RUNS:
        if wanted and not wanted & set(layers):
            continue
        got_through = through(layers)
        named = [row for row in TABLE if row.layer in layers]
        print(f"without {' and '.join(layers)}: {len(got_through)} of {len(named)} that they stop get further")
        for attack, outcome in got_through.items():
            print(f"    {attack}: {outcome[:80]!r}")


if __name__ == "__main__":
    assert set(EDITS) <= set(LAYERS)
    main()
