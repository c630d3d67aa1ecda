"""Documentation is tested: its code runs, its reference is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate import SETTINGS, settings_page
from locum.settings import Settings
from tests.cli.commands import locum
from tests.programs import run_code
from tests.serving import ServerProcess

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def test_the_settings_page_is_made_from_the_table() -> None:
    assert SETTINGS.read_text() == settings_page(), "run: python docs/generate.py"


NAMED_TESTS = re.findall(r"`(tests/[a-z_/]+\.py)::(test_\w+)`", (ROOT / "docs/security/threat-model.md").read_text())


@pytest.mark.parametrize(("path", "name"), NAMED_TESTS)
def test_tests_that_the_threat_model_names_exist(path: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / path).read_text()


def test_threat_model_names_a_test_in_each_line_of_its_tables() -> None:
    page = (ROOT / "docs/security/threat-model.md").read_text()
    means = [
        line for line in page.splitlines() if line.count(" | ") >= 3 and not line.startswith(("| tries", "| slip"))
    ]
    assert len(means) > 30
    assert [line for line in means if "`tests/" not in line] == []


READMES = [ROOT / "README.md", ROOT / "README.ko.md"]


def run(code: str, server: ServerProcess, folder: Path) -> str:
    """What a page's program prints, run as a reader would run it."""
    here = code.replace("http://127.0.0.1:8000", server.azure_endpoint)
    done = run_code(here, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("code", blocks(ROOT / "docs" / "quickstart.md", "python"))
def test_the_quickstarts_python_runs_against_a_fresh_server(code: str, server: ServerProcess, tmp_path: Path) -> None:
    said = run(code, server, tmp_path)
    assert "completed" in said
    assert ("chart.png" in said) == (tmp_path / "chart.png").exists()


@pytest.mark.parametrize("code", [code for page in READMES for code in blocks(page, "python")])
def test_the_readmes_python_runs_against_a_fresh_server(code: str, server: ServerProcess, tmp_path: Path) -> None:
    said = run(code, server, tmp_path)
    assert "x = 1" in said
    assert "sympy" in said


@pytest.mark.parametrize("code", blocks(ROOT / "docs" / "file-search.md", "python"))
def test_the_python_about_vector_stores_runs_against_a_fresh_server(
    code: str, server: ServerProcess, tmp_path: Path
) -> None:
    assert "1 file" in run(code, server, tmp_path)


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_the_readmes_locum_toml_is_understood(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = blocks(page, "toml")
    (tmp_path / "locum.toml").write_text(example)
    monkeypatch.chdir(tmp_path)
    assert Settings.load().models["gpt-4o"].model == "my-large-model"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|sandbox:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_commands_in_pages_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for shell in blocks(page, "sh"):
        for target in re.findall(r"\bmake ([a-z-]+)", shell):
            assert target in targets, target


def commands_in(page: Path) -> set[tuple[str, ...]]:
    """`locum serve`, `locum keys create` and the like, in blocks and in running text."""
    words = re.findall(r"\blocum ((?:keys )?[a-z]+)\b(?=[ `;]|$)", page.read_text(), re.MULTILINE)
    return {tuple(each.split()) for each in words}


def test_commands_in_the_readmes_exist(tmp_path: Path) -> None:
    commands = set().union(*(commands_in(page) for page in READMES))
    assert ("keys", "create") in commands
    commands |= commands_in(ROOT / "docs" / "quickstart.md")
    for command in sorted(commands):
        assert locum(*command, "--help", cwd=tmp_path).returncode == 0, command
