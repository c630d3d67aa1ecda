"""Every attack of the table meets the wall that it names, on each tier; the same attacks work where there is none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from locum.sandbox.profile import NOTEBOOK
from tests.sandbox import attacks
from tests.sandbox.attack import LAYERS, Attack
from tests.sandbox.attacks import ELSEWHERE, LIMITS, NUMBERS, TABLE, Attacker, Surroundings, surroundings
from tests.sandbox.conftest import Box, start

TESTS = Path(__file__).parents[1]

# What a machine that allows namespaces uses is tried in every run; the others, and what takes seconds, in the long one.
ROWS = [
    pytest.param(
        tier,
        attack,
        id=f"{tier}-{attack.number}-{attack.name}",
        marks=[pytest.mark.long] if attack.slow or tier != "namespaces" else [],
    )
    for tier in ("namespaces", "landlock")
    for attack in attacks.applicable(tier)
]


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    with surroundings(tmp_path_factory.mktemp("attacked")) as around:
        yield around


class Attackers:
    """One for each tier, started when it is first asked for."""

    def __init__(self, around: Surroundings, python: pytest.FixtureRequest) -> None:
        self._around = around
        self._request = python
        self._made: dict[str, Attacker] = {}

    def on(self, tier: str) -> Attacker:
        if tier not in self._made:
            shared = tier != "namespaces"
            # Users of sessions cannot read a Python in root's home; in namespaces they are shown it all the same.
            python = str(self._request.getfixturevalue("readable_python")) if shared else sys.executable
            folder = self._around.directory / f"sandbox-{tier}"
            self._made[tier] = Attacker(start(folder, LIMITS, profile=NOTEBOOK, mode=tier, python=python), self._around)
        return self._made[tier]

    def close(self) -> None:
        for attacker in self._made.values():
            assert attacker.box.cell(attacker.box.session(), "1 + 1").logs == "2\n"
            attacker.box.close()


@pytest.fixture(scope="module")
def attackers(around: Surroundings, request: pytest.FixtureRequest) -> Iterator[Attackers]:
    attackers = Attackers(around, request)
    yield attackers
    attackers.close()


@pytest.mark.parametrize(("tier", "attack"), ROWS)
def test_a_wall_stands_against(tier: str, attack: Attack, attackers: Attackers) -> None:
    outcome = attackers.on(tier).attempt(attack)
    assert attack.is_stopped(tier, outcome), f"{attack.expected!r} was expected, by {attack.layer}: {outcome}"


@pytest.fixture(scope="module")
def without_a_sandbox(around: Surroundings, attackers: Attackers) -> dict[str, str]:
    attackers.on("namespaces")  # the neighbour, whose files are looked for
    root = os.geteuid() == 0
    return attacks.outside(
        [
            row
            for row in attacks.applicable("namespaces")
            if row.outside and not row.cells and (root or not row.needs_root)
        ],
        around,
    )


@pytest.mark.parametrize("attack", [pytest.param(row, id=row.name) for row in TABLE if row.outside and not row.cells])
def test_without_a_sandbox_it_works(attack: Attack, without_a_sandbox: dict[str, str]) -> None:
    """Or gets as far as an error of its arguments, where going on would harm the machine."""
    if attack.name not in without_a_sandbox:
        pytest.skip("only root can do that" if attack.needs_root else "not on this architecture")
    outcome = without_a_sandbox[attack.name]
    assert re.fullmatch(attack.outside, outcome, re.DOTALL), outcome
    assert not re.fullmatch(attack.expected, outcome) or attack.layer == "accepted" or attack.expected == "ENOSYS"


def test_the_whole_list_is_covered() -> None:
    assert not set(NUMBERS) - {attack.number for attack in TABLE} - set(ELSEWHERE)
    for module, function in ELSEWHERE.values():
        assert f"\ndef {function}(" in (TESTS / f"{module.replace('.', '/')}.py").read_text()


def test_every_row_names_layers_and_says_why_it_is_not_tried_for_real() -> None:
    names = [attack.name for attack in TABLE]
    assert len(names) == len(set(names))
    assert {layer for attack in TABLE for layer in (attack.layer, *attack.also)} <= set(LAYERS)
    assert [attack.name for attack in TABLE if not attack.cells and not attack.outside and not attack.harm] == []


@pytest.mark.long
@pytest.mark.parametrize("tier", ["namespaces", "weak"])
def test_no_attack_succeeds_in_a_sandbox_of_an_ordinary_user(tier: str, readable_python: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="locum-attacked-") as name:
        os.chown(name, 65534, 65534)
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        played = subprocess.run(
            [*user, readable_python, "-m", "tests.sandbox.attacks", name, tier],
            capture_output=True,
            text=True,
            env={"HOME": name},
            cwd="/",
            check=False,
        )
    if "no sandbox on this machine" in played.stderr:
        pytest.skip(played.stderr.splitlines()[-1])
    assert played.returncode == 0, played.stderr
    outcomes: dict[str, str] = json.loads(played.stdout)
    rows = attacks.applicable(tier)
    assert len(outcomes) == len(rows)
    through = {row.name: outcomes[row.name] for row in rows if not row.is_stopped(tier, outcomes[row.name], user=True)}
    assert through == {}


def test_a_session_has_no_capabilities_and_cannot_gain_any(box: Box, key: str) -> None:
    logs = box.cell(key, "print(open('/proc/self/status').read())").logs
    state = dict(line.split(":\t", 1) for line in logs.splitlines() if ":\t" in line)
    assert {state[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (state["NoNewPrivs"], state["Seccomp"], state["NSpid"].split()[-1]) == ("1", "2", "1")


def test_environment_and_arguments_hold_nothing_of_the_server(around: Surroundings, attackers: Attackers) -> None:
    box = attackers.on("namespaces").box
    logs = box.cell(
        box.session(),
        "import os\n"
        "print(dict(os.environ))\n"
        "for name in ('environ', 'cmdline', 'maps', 'mountinfo'):\n"
        "    print(name, open(f'/proc/1/{name}', errors='replace').read())",
    ).logs
    assert "environ" in logs
    assert os.environ[attacks.SECRET_NAME] not in logs
    assert str(around.directory) not in logs


def test_sessions_do_not_see_each_other(box: Box, key: str) -> None:
    other = box.session()
    box.cell(other, "open('/mnt/data/secret.txt', 'w').write('secret'); open('/tmp/secret.txt', 'w').write('x')")
    box.cell(other, "import subprocess; child = subprocess.Popen(['sleep', '30'])")
    logs = box.cell(
        key,
        "import os\nprint(os.listdir('/mnt/data'), os.path.exists(os.environ['TMPDIR'] + '/secret.txt'),"
        " [n for n in os.listdir('/proc') if n.isdigit()])",
    ).logs
    assert logs.strip() == "[] False ['1']"
    box.run(box.sandbox.delete(other))


def test_standard_input_is_no_way_to_another_session(box: Box, key: str) -> None:
    """The flags of an open file are seen by all who share it: zygote of one process do, unless it is opened anew."""
    flags = "import fcntl; print(fcntl.fcntl(0, fcntl.F_GETFL) & 0o4000)"
    box.cell(key, "import fcntl, os; fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_NONBLOCK)")
    assert box.cell(key, flags).logs == "2048\n"
    assert box.cell(box.session(), flags).logs == "0\n"


def test_random_numbers_differ_between_sessions(box: Box) -> None:
    code = "import random, numpy as np; print(random.random(), np.random.rand())"
    first, second = (box.cell(box.session(), code).logs for _ in range(2))
    assert not set(first.split()) & set(second.split())
