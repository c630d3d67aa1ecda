"""The boot probe: how may code run on this machine? A real session is asked to get out in the plainest ways.

Covered: reading the password file and the server's files, opening a socket, seeing other processes, signalling the
server, writing to the system, becoming root, making a namespace, and that the program files can be read. The first kind
of walls under which every attempt fails is the tier; under none it is `off`, with the reason and what to do.

Not covered: subtle attacks; the tests have those.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from locum.sandbox.host.zygote import ForkFailed, Zygote
from locum.sandbox.output import Transcript
from locum.sandbox.session import Status, Tier

_ATTEMPTS = """
import ctypes, json, os, socket

def works(attempt):
    try:
        return bool(attempt())
    except Exception:
        return False

def writes(path):
    with open(path, "w"):
        return True

libc = ctypes.CDLL(None)
print(json.dumps({
    "read the password file": works(lambda: open("/etc/shadow").read()),
    "find the server's files": works(lambda: FIND(DIRECTORY) not in (False, None)),
    "open a socket": works(lambda: socket.socket()),
    "see other processes": works(lambda: [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]),
    "signal the server": works(lambda: os.kill(SERVER, 0) is None and SERVER != os.getpid()),
    "write to the system": any(works(lambda: writes(path + "/probe")) for path in ("/usr", "/etc", "/", "/opt")),
    "become root": works(lambda: os.setuid(0) is None),
    "make a namespace": libc.unshare(0x10000000) == 0,
    "get around the system call filter": is_unfiltered(works_text("/proc/self/status")),
    "run without program files": not works(lambda: __import__("wave")),
}))
"""
_HELPERS = """
def works_text(path):
    try:
        return open(path).read()
    except OSError:
        return "Seccomp:\\t2"

def is_unfiltered(status):  # one filter is the fork server's, which allows more
    return "Seccomp:\\t2" not in status or "Seccomp_filters:\\t1\\n" in status
"""
_PROBE_SECONDS = 20.0
_MARKS_OF_A_CONTAINER = (".dockerenv", "run/.containerenv", "var/run/secrets/kubernetes.io")


_HELD: dict[Tier, str] = {
    "namespaces": "each session has its own namespaces and system call filter",
    "landlock": "each session has a user of its own, behind Landlock and the system call filter",
    "weak": "sessions run as the server's own user, behind Landlock and the system call filter: for your own use of "
    "this machine, not for strangers' code",
}


async def probe(tiers: Iterable[Tier], make: Callable[[Tier], Zygote], directory: Path) -> tuple[Status, Zygote | None]:
    """The best of these tiers that holds, with its zygote, which has not loaded its libraries yet. What is wrong with
    the best one is said whatever became of the others."""
    first: Status | None = None
    for tier in tiers:
        zygote = make(tier)
        try:
            status = await _try(zygote, directory)
        except Exception:
            zygote.close()
            raise
        if status.tier == tier:
            if first is None:
                return status, zygote
            return Status(tier=tier, reason=f"{status.reason}; for more, {first.reason}", fix=first.fix), zygote
        zygote.close()
        first = first or status
    return first or Status(tier="off", reason="no way of holding code was allowed"), None


async def _try(zygote: Zygote, directory: Path) -> Status:
    """Start the zygote and one session under it, and attack from there."""
    try:
        await zygote.start()
        kernel = await zygote.fork()
    except (ForkFailed, OSError) as failure:
        number = getattr(failure, "number", None) or getattr(failure, "errno", None)
        return Status(tier="off", reason=f"this machine does not let code be isolated: {failure}", fix=advise(number))
    text = ""
    try:
        find = "os.path.exists" if zygote.tier == "namespaces" else "os.listdir"  # names can be seen elsewhere
        path = os.fsencode(directory).hex()  # so that no part of it is taken for a name in the cell's code
        code = f"import os\nDIRECTORY = bytes.fromhex('{path}')\nSERVER = {os.getpid()}\nFIND = {find}\n"
        code += f"{_HELPERS}{_ATTEMPTS}"
        transcript = Transcript(16_384, lambda piece: None)
        async with asyncio.timeout(_PROBE_SECONDS):
            await kernel.run(code, transcript, asyncio.Event())
        text = transcript.close()
        outcome: dict[str, bool] = json.loads(text)
    except (TimeoutError, ValueError):
        return Status(
            tier="off", reason=f"the sandbox's self-test did not run: {text.strip()[-300:]}", fix=advise(None)
        )
    finally:
        kernel.release()
    return judge(zygote.tier, outcome, directory, zygote.python)


def judge(tier: Tier, outcome: dict[str, bool], directory: Path, python: str) -> Status:
    """python: the sessions'."""
    holes = [attempt for attempt, succeeded in outcome.items() if succeeded]
    if not holes:
        return Status(tier=tier, reason=_HELD[tier])
    if "run without program files" in holes:
        return Status(
            tier="off",
            reason="a session cannot read the Python installation",
            fix=f"make the installation of {python} readable for others, and the folders it lies in (chmod o+rX); for "
            "the code interpreter alone, LOCUM_SANDBOX_PYTHON may name another Python",
        )
    if "find the server's files" in holes:
        return Status(
            tier="off",
            reason=f"the data directory ({directory}) lies inside the folders of the Python installation",
            fix="move the data directory to a place of its own",
        )
    return Status(tier="off", reason=f"the self-test could {', '.join(holes)}", fix=advise(None))


def advise(number: int | None, root: Path = Path("/")) -> str:
    """The one thing to do, from what this machine says about itself. In a container, /proc speaks of its host."""
    if any((root / mark).exists() for mark in _MARKS_OF_A_CONTAINER):
        return (
            "run the container with --security-opt seccomp=deploy/seccomp.json --security-opt apparmor=unconfined "
            "(a file of Locum's source; docs/security/sandbox.md has more, also for Kubernetes)"
        )
    if _reads(root / "proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    if _reads(root / "proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if _reads(root / "proc/sys/user/max_user_namespaces") == "0" or number == errno.ENOSPC:
        return "sudo sysctl -w user.max_user_namespaces=15000"
    return "run the server where user namespaces are allowed (Linux 5.12 or newer), or as root"


def _reads(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
