"""Check the subjects of commits: imperative, at most 72 characters, no full stop.

No list holds every verb. `_is_imperative` therefore only rejects first words that are certainly no imperative:
articles, pronouns, prepositions, a few nouns, and forms in -ed, -ing and -s. Commits up to `RULES_SINCE` are older than
the rules.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RULES_SINCE = "67d1ffbc1a114535d7f271a9522a06591814db42"
LONGEST = 72

_NO_VERBS = """
A An The This That These Those It Its They Their We Our You Your I My He She His Her
One Two Three Four Five No Not Nothing Nobody None All Any Both Each Every Few Fewer Less Many More Most Much Some
About After Also As At Before Beside Between But By During For From In Into Now Of On Once Only Or Out Over
Since So Then There Through To Under Until Up With Within Without
And How If What When Where Whether Which While Who Whose Why
Are Be Been Can Did Had Has Have Is Made Must Ran Said Should Told Was Were Will Would
Assistant Locum Python Server Session Thread Token Tool Vector Better Faster New Old Slower Smaller
"""
_FIRST_WORDS_TO_REJECT = frozenset(_NO_VERBS.split())
_VERBS_IN_ED_ING_S = frozenset({"bias", "bring", "embed", "focus", "ping", "ring", "shed", "string"})


def faults(subject: str) -> list[str]:
    """Return the reasons why a subject breaks the rules."""
    reasons = []
    if len(subject) > LONGEST:
        reasons.append(f"{len(subject)} characters, {LONGEST} are allowed")
    if subject.endswith("."):
        reasons.append("ends with a full stop")
    if not _is_imperative(subject.partition(" ")[0]):
        reasons.append("does not begin with a capitalised verb in the imperative")
    return reasons


def _is_imperative(word: str) -> bool:
    if not re.fullmatch(r"[A-Z][a-z]+(-[a-z]+)*", word) or word in _FIRST_WORDS_TO_REJECT:
        return False
    verb = word.lower().rpartition("-")[2]
    return verb in _VERBS_IN_ED_ING_S or re.search(r"((?<!e)ed|ing|(?<!s)s)$", verb) is None


def reason_to_skip(root: Path, since: str) -> str | None:
    """Return the reason why there is no history to check, or None."""
    if not (root / ".git").exists():
        return "this is not a Git checkout"
    if shutil.which("git") is None:
        return "git is not installed"
    if _git(root, "merge-base", "--is-ancestor", since, "HEAD").returncode != 0:
        return f"commit {since[:7]} is not in the history here (a shallow clone?)"
    return None


def check(root: Path, since: str) -> int:
    """Print the faults of every commit since that one, merges left out, and return an exit status."""
    if reason := reason_to_skip(root, since):
        print(f"commit subjects: skipped, {reason}")
        return 0
    log = _git(root, "log", "--no-merges", "--format=%h %s", f"{since}..HEAD").stdout.splitlines()
    lines = [(commit, subject) for commit, _, subject in (line.partition(" ") for line in log)]
    wrong = [(commit, subject, reasons) for commit, subject in lines if (reasons := faults(subject))]
    print(f"commit subjects: {len(lines)} checked, {len(wrong)} wrong")
    for commit, subject, reasons in wrong:
        print(f"{commit} {subject!r}: {'; '.join(reasons)}", file=sys.stderr)
    return 1 if wrong else 0


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(check(ROOT, RULES_SINCE))
