"""The suite about itself: its page is current, its list is whole, its oracles can be read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import spec
from tests.conformance.behaviours import CHECKED, ELSEWHERE, PAGE, SECTIONS, everything, page
from tests.conformance.corruption import CORRUPTIONS

ROOT = Path(__file__).parents[2]


def test_the_page_says_what_the_tests_say() -> None:
    assert PAGE.read_text() == page(), "run: make conformance"


def test_every_behaviour_has_a_sentence_and_one_state() -> None:
    assert [each.number for each in everything()] == list(range(1, 161))
    assert not {each.number for each in ELSEWHERE} & CHECKED.keys()
    for each in ELSEWHERE:
        for path in re.findall(r"`(tests/[^`]+)`", each.state):
            assert (ROOT / path).exists()


def test_every_behaviour_is_tested_in_the_file_of_its_section(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        marker = item.get_closest_marker("behaviour")
        if marker is not None:
            (section,) = (each for each in SECTIONS if marker.args[0] in each.numbers)
            assert item.path.name == section.module


def test_every_corruption_is_named_once_and_concerns_a_behaviour_that_is_checked() -> None:
    everything()
    names = [way.name for way in CORRUPTIONS]
    assert len(set(names)) == len(names) >= 40
    for way in CORRUPTIONS:
        assert way.noticed_by
        assert set(way.noticed_by) <= CHECKED.keys(), way.name


@pytest.mark.skipif(not spec.is_available(), reason="LOCUM_SPEC_DIR names no folder with the published files")
@pytest.mark.parametrize("name", spec.FILES)
def test_the_published_files_are_read_and_judge(name: str) -> None:
    assert list(spec.check(name, "DELETE", "/threads/thread_x", {"id": 1, "object": "thread"})) != []
    fine = {"id": "thread_x", "object": "thread.deleted", "deleted": True}
    assert list(spec.check(name, "DELETE", "/threads/thread_x", fine)) == []
    places = [(each.spec, each.at) for each in spec.DEVIATIONS]
    assert len(set(places)) == len(places)
    assert all(each.reason for each in spec.DEVIATIONS)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_suite_notices_every_falsified_answer() -> None:
    command = [sys.executable, "-m", "tests.conformance.selftest"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
