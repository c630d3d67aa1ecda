"""Many sessions at once with deaths among them, and many one after the other: nothing crosses, nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from locum.sandbox.host import collect
from locum.sandbox.session import SessionLost
from tests.sandbox.conftest import SMALL, Box, start, wait_until
from tests.sandbox.test_daemon import alive, daemon_of, processes_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

SESSIONS, ROUNDS, ONE_AFTER_THE_OTHER = 200, 3, 1000
_LIMITS = msgspec.structs.replace(SMALL, max_sessions=SESSIONS + 10, cell_seconds=60.0)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Box]:
    """Started where only a few files may be open, as most machines do it; sandboxd has to see to that itself."""
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, most))
    try:
        box = start(tmp_path / "sandbox", _LIMITS, mode="namespaces")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    yield box
    box.close()


class Crowd:
    """Sessions that each keep a number of their own, and are asked for it again and again."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.keys = [f"crowd-{number}" for number in range(SESSIONS)]
        self.kept: dict[str, str] = dict(zip(self.keys, self.keys, strict=True))  # what its variable must hold
        self.lost: Counter[str] = Counter()
        self._few = asyncio.Semaphore(40)

    async def begin(self, key: str) -> None:
        async with self._few:
            await self.box.sandbox.open(key)
            own = f"mine = {key!r}\nopen('mine.txt', 'w').write(mine)\nopen('/tmp/mine', 'w').write(mine)"
            assert (await self.box.sandbox.execute(key, "begin", own)).ok

    async def ask(self, key: str, turn: int) -> None:
        """Its variables and files, or, after its death, its files and the word that variables were lost."""
        code = (
            "import os\nassert {n for n in os.listdir('/proc') if n.isdigit()} == {'1'}\n"
            "print(globals().get('mine'), open('mine.txt').read(), sorted(os.listdir('/mnt/data')))\n"
            f"mine = {key!r}"  # the file is not written again: a kill between opening and writing leaves an empty one
        )
        async with self._few:
            try:
                result = await self.box.sandbox.execute(key, f"turn-{turn}", code)
                if result.error == "SessionDied":
                    self.lost[key] += 1
                    self.kept[key] = "None"
                    return
                held = "None" if result.reset else self.kept[key]
                *note, answer = result.logs.splitlines()
                assert (answer, len(note), result.ok) == (f"{held} {key} ['mine.txt']", result.reset, True)
                self.lost[key] += result.reset
                self.kept[key] = key
            except SessionLost:
                self.lost[key] += 1
                self.kept[key] = "None"
                await self.box.sandbox.open(key)

    async def everybody(self, *work: object) -> None:
        await asyncio.gather(*work)  # type: ignore[arg-type]


def first_processes(directory: Path) -> list[int]:
    """Process 1 of each session: the zygote's children, seen from here."""
    found = []
    for pid in processes_of(directory):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if len(numbers) >= 3 and numbers[-1] == "1":
                found.append(pid)
    return found


def test_two_hundred_sessions_keep_what_is_theirs_while_some_are_killed(own: Box, tmp_path: Path) -> None:
    directory = tmp_path / "sandbox"
    crowd = Crowd(own)
    chance = random.Random(5)

    async def live() -> None:
        await asyncio.gather(*(crowd.begin(key) for key in crowd.keys))
        for turn in range(ROUNDS):
            asking = asyncio.gather(*(crowd.ask(key, turn) for key in chance.sample(crowd.keys, SESSIONS)))
            await asyncio.sleep(0)
            victims = await asyncio.to_thread(first_processes, directory)
            for pid in chance.sample(victims, min(10, len(victims))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asking

    own.run(live())
    assert 0 < sum(crowd.lost.values()) <= 10 * ROUNDS

    daemon = daemon_of(directory)
    (launcher,) = (int(pid) for pid in Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split())
    before = processes_of(directory) - {daemon}
    os.kill(launcher, signal.SIGKILL)
    wait_until(lambda: not alive(before))
    crowd.lost.clear()
    told_already = list(crowd.kept.values()).count("None")
    own.run(crowd.everybody(*(crowd.ask(key, ROUNDS) for key in crowd.keys)))
    own.run(crowd.everybody(*(crowd.ask(key, ROUNDS + 1) for key in crowd.keys)))
    assert sum(crowd.lost.values()) == SESSIONS - told_already  # each once


class Held(msgspec.Struct, frozen=True):
    """What a sandboxd and its machine hold."""

    processes: int
    descriptors: int
    threads: int
    own_mounts: int
    host_mounts: int
    groups: int
    shared_memory_mib: int


def held(directory: Path) -> Held:
    daemon = daemon_of(directory)
    groups = [path for path in Path("/sys/fs/cgroup").glob(f"*/**/locum-{daemon}/*") if path.is_dir()]
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return Held(
        processes=len(processes_of(directory)),
        descriptors=sum(1 for _ in Path(f"/proc/{daemon}/fd").iterdir()),
        threads=sum(1 for _ in Path(f"/proc/{daemon}/task").iterdir()),
        own_mounts=len(Path(f"/proc/{daemon}/mountinfo").read_text().splitlines()),
        host_mounts=len(Path("/proc/self/mountinfo").read_text().splitlines()),
        groups=len(groups),
        shared_memory_mib=int(meminfo["Shmem"].split()[0]) // 1024,
    )


def test_a_thousand_sessions_leave_nothing_behind(own: Box, tmp_path: Path) -> None:
    directory = tmp_path / "sandbox"
    few = asyncio.Semaphore(8)

    async def one(number: int) -> None:
        key = f"passing-{number}"
        async with few:
            await own.sandbox.open(key)
            code = (
                "import subprocess\nopen('a', 'wb').write(bytes(1_000_000))\n"
                "child = subprocess.Popen(['sleep', '60'], start_new_session=True);"
            )
            assert (await own.sandbox.execute(key, "1", code)).ok
            if number % 5 == 0:
                await own.sandbox.execute(key, "2", "import os; os._exit(1)")
            await own.sandbox.delete(key)

    async def all_of(numbers: range) -> None:
        await asyncio.gather(*(one(number) for number in numbers))

    own.run(all_of(range(50)))  # what is made once, and kept, is made by now
    expected = 3 + _LIMITS.spare_sessions  # sandboxd, launcher, zygote
    wait_until(lambda: len(processes_of(directory)) == expected)
    before = held(directory)
    own.run(all_of(range(50, 50 + ONE_AFTER_THE_OTHER)))
    wait_until(lambda: len(processes_of(directory)) == expected)
    own.run(all_of(range(1)))  # groups of those that ended are removed with the next one
    wait_until(lambda: len(processes_of(directory)) == expected)
    after = held(directory)
    assert after.descriptors <= before.descriptors + 8
    assert after.own_mounts <= before.own_mounts
    assert after.host_mounts <= before.host_mounts
    assert after.groups <= before.groups + 2
    assert after.threads <= 8 + collect.MOST_THREADS, "a thread for each of a thousand sessions would be more"
    assert after.shared_memory_mib <= before.shared_memory_mib + 500  # of the whole machine; the files were 1,000 MiB
