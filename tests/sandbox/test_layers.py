"""Each layer that the attack table names is what stops its attacks: without it, some of them get through."""

from __future__ import annotations

import os

import pytest

from tests.sandbox import layers_off
from tests.sandbox.attack import LAYERS
from tests.sandbox.attacks import TABLE
from tests.sandbox.conftest import start

# Not to be taken out of the sandbox: the first is no wall, the second is not in it.
_NO_WALLS = {"accepted", "server"}


def test_every_layer_of_the_table_can_be_taken_out() -> None:
    assert {attack.layer for attack in TABLE} <= {layer for run in layers_off.RUNS for layer in run} | _NO_WALLS
    assert set(LAYERS) - {"landlock"} == set(layers_off.EDITS) | _NO_WALLS


@pytest.mark.long
@pytest.mark.parametrize("layers", [pytest.param(run, id=" and ".join(run)) for run in layers_off.RUNS])
def test_without_a_layer_attacks_get_through(layers: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid() != 0:
        pytest.skip("the isolation are taken down as root")
    start(tmp_path_factory.mktemp("needed") / "sandbox", mode="namespaces").close()
    through = layers_off.through(layers)
    assert set(layers) & {attack.layer for attack in TABLE if attack.name in through}, through
