"""Fragments of the changelog are validated, and collected under a release."""

from __future__ import annotations

import pytest

from checks.changelog import collected, fault

CHANGELOG = """# Changelog

## [Unreleased]

### Added

- Runs.

### Fixed

- A crash.

## [0.1.0] - 2026-01-01

### Added

- Everything.
"""


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("tables.fixed.md", "Styled tables are rendered.\n", None),
        ("wait-for-run.added.md", "`?wait` holds a request.\nIt takes seconds.", None),
        ("tables.md", "Tables.", "NAME.KIND.md"),
        ("tables.repaired.md", "Tables.", "NAME.KIND.md"),
        ("Tables.fixed.md", "Tables.", "NAME.KIND.md"),
        ("tables.fixed.md", "- Tables.", "capital letter"),
        ("tables.fixed.md", "# Tables.", "capital letter"),
        ("tables.fixed.md", "", "capital letter"),
        ("tables.fixed.md", "Tables", "full stop"),
    ],
)
def test_fragment_is_validated(name: str, text: str, reason: str | None) -> None:
    result = fault(name, text)
    assert result is None if reason is None else result is not None and reason in result


def test_release_takes_over_unreleased_entries_and_fragments() -> None:
    fragments = [("fixed", "Another crash.\nIt needed two lines.\n"), ("security", "A leak.")]
    assert (
        collected(CHANGELOG, fragments, "0.2.0", "2026-12-24")
        == """# Changelog

## [Unreleased]

## [0.2.0] - 2026-12-24

### Added

- Runs.

### Fixed

- A crash.
- Another crash.
  It needed two lines.

### Security

- A leak.

## [0.1.0] - 2026-01-01

### Added

- Everything.
"""
    )


def test_release_of_fragments_alone() -> None:
    empty = "# Changelog\n\n## [Unreleased]\n"
    assert collected(empty, [("added", "Runs.")], "0.1.0", "2026-12-24") == (
        "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-12-24\n\n### Added\n\n- Runs.\n"
    )


def test_changelog_without_an_unreleased_section_is_an_error() -> None:
    with pytest.raises(ValueError, match="Unreleased"):
        collected("# Changelog\n", [], "0.1.0", "2026-12-24")
