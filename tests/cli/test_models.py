"""`locum models`: the names on offer, by the running server's settings or by those at hand."""

from __future__ import annotations

from pathlib import Path

from tests.cli.commands import assert_one_line, locum, said
from tests.models.upstream import ScriptedUpstream
from tests.serving import serving


def test_without_settings_the_demo_model_is_all_there_is(tmp_path: Path) -> None:
    text = said("models", cwd=tmp_path)
    assert "demo model" in text
    assert "locum-demo" in text
    assert list(tmp_path.iterdir()) == []


def test_mapped_names_and_the_model_servers_own_are_shown_with_where_they_lead(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.models = ["small", "large"]
        (tmp_path / "locum.toml").write_text('[models."gpt-4o"]\nmodel = "large"\n')
        text = said("models", cwd=tmp_path, LOCUM_MODEL_BASE_URL=upstream.base_url)
    rows = {words[0]: words[1:] for words in map(str.split, text.splitlines()[1:])}
    assert rows == {
        name: [to, "at", upstream.base_url]
        for name, to in {"gpt-4o": "large", "small": "small", "large": "large"}.items()
    }


def test_a_running_server_answers_by_the_settings_it_was_started_with(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.models = ["theirs"]
        with serving(tmp_path / "data", LOCUM_MODEL_BASE_URL=upstream.base_url, LOCUM_SANDBOX="off"):
            assert f"theirs at {upstream.base_url}" in said("models", "--data-dir", "data", cwd=tmp_path)
    assert "locum-demo" in said("models", "--data-dir", "data", cwd=tmp_path)


def test_a_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.models = ["\x1b]0;owned\x07", "two\nlines"]
        text = said("models", cwd=tmp_path, LOCUM_MODEL_BASE_URL=upstream.base_url)
    assert "\x1b" not in text
    assert len(text.splitlines()) == 3


def test_a_model_server_that_is_away_is_no_reason_to_fail(tmp_path: Path) -> None:
    done = locum("models", cwd=tmp_path, LOCUM_MODEL_BASE_URL="http://127.0.0.1:9/v1")
    assert done.returncode == 0
    assert "locum doctor" in done.stderr


def test_a_setting_that_cannot_be_is_named_in_one_line(tmp_path: Path) -> None:
    assert_one_line(locum("models", cwd=tmp_path, LOCUM_MODEL_BASE_URL="nowhere"), "LOCUM_MODEL_BASE_URL")
