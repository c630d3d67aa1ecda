"""What an attack is: who tries what, and which layer stops it."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

LAYERS = {
    "root": "own mount namespace, whose root holds program files and nothing else, read-only",
    "pids": "own pid namespace, and a read-only /proc that shows no more",
    "network": "own empty network namespace",
    "user": "a user id of its own, in a user namespace of its own",
    "capabilities": "no capabilities, none to regain",
    "seccomp": "the list of allowed system calls and arguments",
    "landlock": "the files and processes that Landlock leaves within reach",
    "rlimits": "resource limits",
    "tmpfs": "size and file quota of the session's memory file system",
    "cgroup": "the control group, where this machine lets us make one",
    "watchdog": "the host looks at the memory of all processes together",
    "timer": "the host's clock: interrupt, then kill",
    "stop": "the host stops every process between two cells",
    "exec": "the zygote is started by exec, with a clean environment and no descriptor of others",
    "fresh": "what all zygote of one process would share is made anew in each",
    "protocol": "the host takes one short message per cell, and no other",
    "output": "text is made safe and cut in the middle",
    "collect": "files are opened beneath one folder through no link, regular ones only, and counted while read",
    "process 1": "a session dies with its first process, and nothing else does",
    "server": "the API server: owners are checked, downloads are never taken for a page",
    "accepted": "nothing; it is known, and said in docs/security/sandbox.md",
}

# What the tiers answer differently. absent: a file that is none of one's business; nobody: a process that is none;
# read-only: a write to what all share.
WORDS = {
    "namespaces": {"absent": "ENOENT|EACCES", "nobody": "ESRCH", "read-only": "EROFS|EACCES"},
    "landlock": {"absent": "ENOENT|EACCES", "nobody": "ESRCH|EPERM", "read-only": "EROFS|EACCES"},
    "weak": {"absent": "ENOENT|EACCES", "nobody": "ESRCH|EPERM", "read-only": "EROFS|EACCES"},
}


@dataclass(frozen=True)
class Attack:
    """`number` is that of the threat list. `code` is one expression, or the cells of a session of its own.

    expected: what the attacker gets, as a regular expression: the name of the error that the wall answers with, or
    `error or ok | files | logs` of the last cell; a word in angle brackets is one of WORDS. `shared` is what the tiers
    without namespaces answer instead, `as_user` a sandbox that an ordinary user started.

    outside: what the same expression gets from a plain Python without a sandbox: an attack that does not work there
    proves nothing. Where it must not be tried for real, `harm` says why, and `outside` is the error that comes after
    permission was given (a wrong argument), or empty where there is no such thing.

    layer: what stops it on the tier `namespaces`; the others in `also` hold should that one fail.
    """

    number: int
    name: str
    code: str | tuple[str, ...]
    expected: str
    layer: str
    also: tuple[str, ...] = ()
    outside: str = "GOT.*"
    harm: str = ""
    needs_root: bool = False  # to work without a sandbox
    shared: str = ""
    as_user: str = ""
    tiers: tuple[str, ...] = ("namespaces", "landlock", "weak")
    pause: float = 0.0  # between two cells: time for what must not happen then
    slow: bool = False
    x86_only: bool = False

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(map(textwrap.dedent, self.code)) if isinstance(self.code, tuple) else ()

    def is_stopped(self, tier: str, outcome: str, *, user: bool = False) -> bool:
        pattern = self.shared if tier != "namespaces" and self.shared else self.expected
        pattern = self.as_user if user and self.as_user else pattern
        for word, meaning in WORDS[tier].items():
            pattern = pattern.replace(f"<{word}>", f"(?:{meaning})")
        return re.fullmatch(pattern, outcome, re.DOTALL) is not None
