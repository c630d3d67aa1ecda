"""Subjects of commits are judged by their length, their end and their first word."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from checks.commits import LONGEST, RULES_SINCE, check, faults

GOOD = [
    "Add a ratchet for the language rules to make check",
    "Disable GC during lazy command imports",
    "Send stored UTF-8 to the compute process without re-encoding",
    "Embed windows in batches",
    "Bring figures up to date",
    "Process one file at a time",
    "Pass the resource to every store function",
    "Speed up the keyword search",
    "Re-embed stores whose embedder has changed",
    "Use Python 3.13 in the image...?",
    "Add " + "x" * (LONGEST - 4),
]
WRONG = [
    ("Add " + "x" * (LONGEST - 3), "73 characters"),
    ("Add a ratchet.", "full stop"),
    ("add a ratchet", "imperative"),
    ("Added a ratchet", "imperative"),
    ("Adding a ratchet", "imperative"),
    ("Adds a ratchet", "imperative"),
    ("Tests start a sandbox", "imperative"),
    ("A ratchet for the language rules", "imperative"),
    ("What the slow requests wait for", "imperative"),
    ("No garbage is collected", "imperative"),
    ("fixup! Add a ratchet", "imperative"),
    ("feat: add a ratchet", "imperative"),
    ("CI runs the checks", "imperative"),
    ("/metrics: count runs", "imperative"),
    ("", "imperative"),
]


@pytest.mark.parametrize("subject", GOOD)
def test_imperative_subject_has_no_faults(subject: str) -> None:
    assert faults(subject) == []


@pytest.mark.parametrize(("subject", "reason"), WRONG)
def test_other_subject_has_its_fault_named(subject: str, reason: str) -> None:
    (fault,) = faults(subject)
    assert reason in fault


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *author, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path, subject: str) -> None:
    git(folder, "commit", "--allow-empty", "--message", subject)


def test_folder_without_git_is_skipped_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, RULES_SINCE) == 0
    assert "skipped, this is not a Git checkout" in capsys.readouterr().out


def test_history_without_the_first_commit_is_skipped_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(tmp_path, "init")
    commit(tmp_path, "wrong.")
    assert check(tmp_path, RULES_SINCE) == 0
    assert "skipped, commit" in capsys.readouterr().out


def test_commits_since_the_rules_are_checked_and_merges_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(tmp_path, "init", "--initial-branch", "main")
    commit(tmp_path, "older than the rules.")
    since = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "checkout", "-b", "side")
    commit(tmp_path, "Add a side")
    git(tmp_path, "checkout", "main")
    commit(tmp_path, "Add a front")
    git(tmp_path, "merge", "side", "--message", "merged the side.")
    assert check(tmp_path, since) == 0
    assert "2 checked, 0 wrong" in capsys.readouterr().out

    commit(tmp_path, "Add an end.")
    assert check(tmp_path, since) == 1
    assert "'Add an end.': ends with a full stop" in capsys.readouterr().err
