"""Count what the language rules of CONTRIBUTING.md discourage, and let no count grow.

`[tool.locum.language]` in pyproject.toml holds the denied identifiers and the recorded counts of each tree. A higher
count fails, and so does a lower one until it is recorded. `python -m checks.language --write` lowers recorded counts
and never raises them.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OPENINGS = frozenset({"How", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why"})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True)
class Denied:
    """Identifiers to avoid: `names` as whole identifiers, `words` anywhere in one."""

    names: frozenset[str]
    words: frozenset[str]

    def covers(self, identifier: str) -> bool:
        name = identifier.strip("_").lower()
        return name in self.names or any(word.lower() in self.words for word in _WORD.findall(identifier))


@dataclass(frozen=True)
class Counts:
    """Counts of some source files; those named in `RATCHETS` may only fall."""

    docstrings: int = 0
    question_docstrings: int = 0
    denied_identifiers: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.docstrings + other.docstrings,
            self.question_docstrings + other.question_docstrings,
            self.denied_identifiers + other.denied_identifiers,
        )

    @property
    def percent(self) -> float:
        """Share of docstrings that open with a question word."""
        return 100 * self.question_docstrings / self.docstrings if self.docstrings else 0.0


RATCHETS = ("question_docstrings", "denied_identifiers")


def docstrings(tree: ast.AST) -> Iterator[str]:
    """Yield every string statement: docstrings of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def opens_with_question(docstring: str) -> bool:
    """Return whether the first word asks a question instead of naming an action or a thing."""
    first = re.match(r"\W*(\w+)", docstring)
    return first is not None and first[1] in OPENINGS


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Yield every name that is bound, once per binding. Names of tests are sentences, so they are left out."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if not name.startswith("test_"):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name


def count(source: str, module: str, denied: Denied) -> Counts:
    """Count one file; the module's own name is an identifier too."""
    tree = ast.parse(source)
    texts = list(docstrings(tree))
    names = [module, *identifiers(tree)]
    return Counts(
        docstrings=len(texts),
        question_docstrings=sum(map(opens_with_question, texts)),
        denied_identifiers=sum(map(denied.covers, names)),
    )


def count_tree(folder: Path, denied: Denied) -> Counts:
    """Count every Python file below a folder."""
    files = sorted(folder.rglob("*.py"))
    return sum((count(file.read_text(encoding="utf-8"), file.stem, denied) for file in files), Counts())


def complaint(name: str, tree: str, recorded: int, current: int) -> str | None:
    """Return the reason why this count fails, or None."""
    if current > recorded:
        return f"{tree}: {name} rose from {recorded} to {current}. Reword what you added: see CONTRIBUTING.md."
    if current < recorded:
        return (
            f"{tree}: {name} fell from {recorded} to {current}. "
            f"Lower the recorded count to {current}: python -m checks.language --write"
        )
    return None


def lowered(pyproject: str, current: Mapping[str, Counts]) -> str:
    """Return pyproject.toml with every recorded count that is too high lowered; higher counts stay as they are."""
    recorded = tomllib.loads(pyproject)["tool"]["locum"]["language"]
    for name in RATCHETS:
        for tree, counts in current.items():
            value = getattr(counts, name)
            if value < recorded[name][tree]:
                line = re.compile(
                    rf"(^\[tool\.locum\.language\.{name}\].*\n(?:[^\[\n].*\n)*?{tree} = )\d+", re.MULTILINE
                )
                pyproject = line.sub(rf"\g<1>{value}", pyproject)
    return pyproject


def report(current: Mapping[str, Counts]) -> str:
    """Return one line for each tree."""
    return "\n".join(
        f"{tree:<9} {counts.question_docstrings:>4} of {counts.docstrings:>4} docstrings open with a question word "
        f"({counts.percent:4.1f} %), {counts.denied_identifiers:>4} denied identifiers"
        for tree, counts in current.items()
    )


def complaints(settings: Mapping[str, Any], current: Mapping[str, Counts]) -> list[str]:
    """Return the reasons why the check fails."""
    return [
        reason
        for name in RATCHETS
        for tree, counts in current.items()
        if (reason := complaint(name, tree, settings[name][tree], getattr(counts, name)))
    ]


def main(arguments: list[str]) -> int:
    path = ROOT / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    settings = tomllib.loads(text)["tool"]["locum"]["language"]
    denied = Denied(frozenset(settings["denied_names"]), frozenset(settings["denied_words"]))
    current = {tree: count_tree(ROOT / tree, denied) for tree in settings["question_docstrings"]}
    print(report(current))
    if "--write" in arguments:
        text = lowered(text, current)
        path.write_text(text, encoding="utf-8")
        settings = tomllib.loads(text)["tool"]["locum"]["language"]
    reasons = complaints(settings, current)
    print("\n".join(reasons), end="\n" if reasons else "", file=sys.stderr)
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
