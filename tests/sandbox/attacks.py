"""Plays the attacks: against a sandbox of any tier, and without one.

Run as a program, it plays all of them and says what each got: python -m tests.sandbox.attacks FOLDER TIER
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from locum.sandbox.profile import NOTEBOOK
from locum.sandbox.session import CellResult
from tests.sandbox.attack import Attack
from tests.sandbox.cells import CELLS
from tests.sandbox.conftest import SMALL, Box, start
from tests.sandbox.expressions import EXPRESSIONS

NUMBERS = range(1, 80)
"""Of the threat list that the sandbox was designed against."""

TIERS = ("namespaces", "landlock", "weak")
TABLE = (*EXPRESSIONS, *CELLS)

# Where the host's side has to be looked at, or two sessions: tests of their own.
ELSEWHERE = {
    6: ("sandbox.test_attacks", "test_sessions_do_not_see_each_other"),
    53: ("sandbox.test_abuse", "test_a_flood_of_output_is_cut_in_the_middle_and_costs_the_writer"),
    56: ("sandbox.test_abuse", "test_processes_left_behind_do_not_run_between_cells"),
    58: ("sandbox.test_abuse", "test_a_session_that_dies_says_why_and_its_files_are_kept"),
    61: ("sandbox.test_abuse", "test_a_forged_end_of_a_cell_gains_nothing"),
    66: ("sandbox.test_collect", "test_the_data_folder_itself_swapped_for_a_link_is_not_followed"),
    68: ("sandbox.test_collect", "test_a_fifo_a_link_and_a_hidden_file_are_passed_over"),
    74: ("sandbox.test_collect", "test_a_file_swapped_after_it_was_found_is_not_read"),
    75: ("api.test_files", "test_download_headers"),
    77: ("sandbox.test_attacks", "test_random_numbers_differ_between_sessions"),
    78: ("conformance.test_routing", "test_resources_see_nothing_of_each_other"),
}


@dataclass(frozen=True)
class Surroundings:
    """What an attack can aim at: a secret, files, sockets and processes of the host."""

    directory: Path
    names: dict[str, object]

    @property
    def prelude(self) -> str:
        own = "".join(f"{name} = {value!r}\n" for name, value in self.names.items())
        tools = Path(__file__).with_name("inside.py").read_text().split("annotations\n", 1)[1]
        return f"{own}{tools}\nTMP = os.environ.get('TMPDIR', '/tmp')\n{_MADE_FILE}"


_MADE_FILE = """
def made_file():
    path = f"{TMP}/made-{os.getpid()}"
    open(path, "w").close()
    return path
"""
SECRET_NAME = "LOCUM_SECRET_FOR_TEST"


@contextlib.contextmanager
def surroundings(directory: Path) -> Iterator[Surroundings]:
    """Make the targets. The secret is in this process's environment, which the sandbox is started from."""
    token = secrets.token_hex(4)
    os.environ[SECRET_NAME] = f"locum-canary-{secrets.token_hex(16)}"
    directory.mkdir(exist_ok=True)
    (directory / "host.txt").write_text("of the host")
    owners = Path(sys.prefix) / f"locum-attack-{token}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="locum-sockets-")))
        folder.chmod(0o755)

        def listen(family: int, kind: int, address: object) -> socket.socket:
            listening = stack.enter_context(socket.socket(family, kind))
            listening.bind(address)  # type: ignore[arg-type]
            if kind == socket.SOCK_STREAM:
                listening.listen()
            return listening

        port = listen(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)).getsockname()[1]
        places = {
            "UNIX_SOCKET": (socket.SOCK_STREAM, f"{folder}/stream"),
            "UNIX_DATAGRAMS": (socket.SOCK_DGRAM, f"{folder}/datagrams"),
            "ABSTRACT": (socket.SOCK_STREAM, f"\0locum-attack-{token}"),
            "ABSTRACT_DATAGRAMS": (socket.SOCK_DGRAM, f"\0locum-attack-{token}-datagrams"),
        }
        for kind, address in places.values():
            listen(socket.AF_UNIX, kind, address)
            if not address.startswith("\0"):
                Path(address).chmod(0o777)
        try:
            with contextlib.suppress(OSError):
                owners.touch(mode=0o600)
            names = {name: address for name, (_, address) in places.items()}
            yield Surroundings(
                directory,
                {
                    **names,
                    "PORT": port,
                    "SERVER": str(directory),
                    "SERVER_PID": os.getpid(),
                    "HOST_FILE": str(directory / "host.txt"),
                    "OWNERS_FILE": str(owners),
                    "SECRET_NAME": SECRET_NAME,
                    "NEIGHBOUR": "of-the-neighbour",
                },
            )
        finally:
            owners.unlink(missing_ok=True)
            del os.environ[SECRET_NAME]


_PATIENCE_SECONDS = 12.0
LIMITS = msgspec.structs.replace(SMALL, cell_seconds=4.0)


class Attacker:
    """A session that makes every attack of one expression, and new ones for those of cells."""

    def __init__(self, box: Box, around: Surroundings) -> None:
        self.box = box
        self.around = around
        self._key = ""
        neighbour = box.session()
        made = box.cell(
            neighbour,
            "import os\n"
            "for place in ('/mnt/data', os.environ['TMPDIR']): open(f'{place}/of-the-neighbour', 'w').close()",
        )
        assert made.ok, made.logs

    def attempt(self, attack: Attack) -> str:
        try:
            return self._in_cells(attack) if attack.cells else self._by_expression(str(attack.code))
        except TimeoutError:
            self._key = ""
            return "it has no end"

    def _by_expression(self, code: str) -> str:
        if not self._key:
            self._key = self.box.session()
            prepared = self.box.cell(self._key, self.around.prelude)
            assert prepared.ok, prepared.logs
        result = self._cell(self._key, f"print(outcome(lambda: {code}))")
        if result.error == "SessionDied":
            self._key = ""
        return result.logs.removesuffix("\n") if result.ok else describe(result)

    def _cell(self, key: str, code: str) -> CellResult:
        call = self.box.sandbox.execute(key, secrets.token_hex(4), code)
        return self.box.run(asyncio.wait_for(call, _PATIENCE_SECONDS))

    def _in_cells(self, attack: Attack) -> str:
        key = self.box.session()
        try:
            *before, last = attack.cells
            for cell in before:
                result = self._cell(key, cell)
                if not result.ok:
                    return describe(result)
                time.sleep(attack.pause)  # what must not run meanwhile is given the time to
            result = self._cell(key, last)
            ended_before = before and result.reset and result.error not in ("Timeout", "SessionDied")
            return "SessionDied |  | before its last cell" if ended_before else describe(result)
        finally:
            self.box.run(self.box.sandbox.delete(key))


def describe(result: CellResult) -> str:
    files = ", ".join(file.name for file in (*result.files, *result.images))
    return f"{result.error or 'ok'} | {files} | {result.logs}"


def outside(attacks: list[Attack], around: Surroundings) -> dict[str, str]:
    """The same expressions in a plain Python; by root in mount namespaces of their own, for they mount and unmount."""
    lines = [around.prelude, "results = {}"]
    for attack in attacks:
        lines.append(f"results[{attack.name!r}] = reported(lambda: {attack.code})")
    program = f"{_REPORTED}\n" + "\n".join(lines) + "\nprint(__import__('json').dumps(results))"
    apart = ["unshare", "--mount", "--propagation", "private"] if os.geteuid() == 0 else []
    # A descriptor it is born with, as a careless parent would leave it.
    ours, theirs = socket.socketpair()
    with ours, theirs:
        completed = subprocess.run(
            [*apart, sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
        )
    assert completed.returncode == 0, completed.stderr
    outcomes: dict[str, str] = json.loads(completed.stdout)
    return outcomes


# Each in a child of its own: some change the process that makes them.
_REPORTED = """
def reported(attack):
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        libc.unshare(0x20000)
        os.write(theirs, outcome(attack).encode())
        os._exit(0)
    os.close(theirs)
    text = os.read(ours, 4096).decode()
    os.close(ours)
    os.waitpid(pid, 0)
    return text
"""


def applicable(tier: str) -> list[Attack]:
    x86 = os.uname().machine == "x86_64"
    return [attack for attack in TABLE if tier in attack.tiers and (x86 or not attack.x86_only)]


def play(directory: Path, tier: str, layers: tuple[str, ...] = ()) -> dict[str, str]:
    """Every attack of the table against a sandbox of that tier, or those that these layers stop: outcomes by name."""
    with surroundings(directory) as around:
        box = start(directory / "sandbox", LIMITS, profile=NOTEBOOK, mode=tier, accepts_weak=True)
        try:
            attacker = Attacker(box, around)
            rows = [attack for attack in applicable(tier) if not layers or attack.layer in layers]
            return {attack.name: attacker.attempt(attack) for attack in rows}
        finally:
            box.close()


if __name__ == "__main__":
    print(json.dumps(play(Path(sys.argv[1]), sys.argv[2], tuple(sys.argv[3:]))))
