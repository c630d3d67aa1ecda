"""Validate the fragments in changelog.d/, and collect them into CHANGELOG.md for a release.

`python -m checks.changelog` validates; `python -m checks.changelog 0.2.0 2026-12-24` writes the section of that release
and deletes the fragments. One file per change keeps branches from conflicting in CHANGELOG.md.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
KINDS = ("added", "changed", "deprecated", "removed", "fixed", "security")
UNRELEASED = "## [Unreleased]\n"


def fault(name: str, text: str) -> str | None:
    """Return the reason why a fragment cannot be collected, or None."""
    if not re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(KINDS)})\.md", name):
        return f"{name}: the name must be NAME.KIND.md, with a kind of {', '.join(KINDS)}"
    if not re.match(r"[A-Z`]", text):
        return f"{name}: the entry must begin with a capital letter or code, without a bullet or a heading"
    if not text.rstrip().endswith("."):
        return f"{name}: the entry must end with a full stop"
    return None


def entry(text: str) -> str:
    """Return a fragment as an item of a list."""
    return "- " + text.strip().replace("\n", "\n  ")


def collected(changelog: str, fragments: Iterable[tuple[str, str]], version: str, day: str) -> str:
    """Return the changelog with the unreleased entries and the fragments (kind, text) under that version."""
    before, heading, after = changelog.partition(UNRELEASED)
    if not heading:
        raise ValueError(f"CHANGELOG.md has no line {UNRELEASED.strip()!r}")
    unreleased, older = _split_at_next_release(after)
    entries = {name.lower(): body.strip() for name, body in _sections(unreleased)}
    for kind, text in fragments:
        entries[kind] = "\n".join(filter(None, (entries.get(kind), entry(text))))
    body = "\n\n".join(f"### {kind.capitalize()}\n\n{entries[kind]}" for kind in KINDS if entries.get(kind))
    release = f"## [{version}] - {day}\n\n{body}\n"
    return f"{before}{UNRELEASED}\n{release}" + (f"\n{older}" if older else "")


def _split_at_next_release(text: str) -> tuple[str, str]:
    start = text.find("\n## ") + 1
    return (text[:start], text[start:]) if start else (text, "")


def _sections(text: str) -> list[tuple[str, str]]:
    parts = re.split(r"^### (\w+)\n", text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def main(arguments: list[str]) -> int:
    files = sorted(file for file in (ROOT / "changelog.d").glob("*") if file.name != "README.md")
    texts = [(file.name, file.read_text(encoding="utf-8")) for file in files]
    faults = [reason for name, text in texts if (reason := fault(name, text))]
    print(f"changelog fragments: {len(files)} checked, {len(faults)} wrong")
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 1
    if arguments:
        version, day = arguments
        changelog = ROOT / "CHANGELOG.md"
        fragments = [(name.split(".")[1], text) for name, text in texts]
        changelog.write_text(
            collected(changelog.read_text(encoding="utf-8"), fragments, version, day), encoding="utf-8"
        )
        for file in files:
            file.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
