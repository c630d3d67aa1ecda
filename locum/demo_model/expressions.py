"""Finds formulas in prose: `Please solve 3x + 11 = 14!` holds the equation `3*x + 11 = 14`.

What comes out is Python source made of numbers, one-letter names, the functions listed here and operators only.
"""

from __future__ import annotations

import ast
import itertools
import re
import unicodedata
from collections.abc import Iterator

import msgspec

FUNCTIONS = frozenset({"sin", "cos", "tan", "exp", "log", "ln", "sqrt", "abs"})
CONSTANTS = frozenset({"pi"})
_MAX_TOKENS = 200

_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?|\.\d+)|(?P<word>[A-Za-z_]+)|(?P<operator>\*\*|[-+*/^()])|(?P<equals>=+)"
    r"|(?P<space>[^\S\n]+)|(?P<other>.)",
    re.DOTALL,
)
_TYPOGRAPHY = str.maketrans(
    {"²": "^2", "³": "^3", "−": "-", "–": "-", "×": "*", "⋅": "*", "·": "*", "÷": "/", "π": "pi", "\xa0": " "}
)
_BARE_ARGUMENT = re.compile(r"\b(sin|cos|tan|exp|log|ln|sqrt|abs) ?([xt])(?![A-Za-z0-9_])")
_PYTHON_FENCE = re.compile(r"```(?:python|py)\b.*?(?:```|\Z)", re.DOTALL | re.IGNORECASE)


class Formula(msgspec.Struct, frozen=True):
    """One side of an equation, or an expression standing alone."""

    source: str
    """As Python."""
    names: frozenset[str]
    """The letters in it."""
    has_structure: bool
    """It is more than a number or a letter."""
    has_operator: bool
    """It is more than a product such as 3x (or 3D, as in `3D plot`)."""
    after_equals: bool = False
    before_equals: bool = False


class Equation(msgspec.Struct, frozen=True):
    left: str
    right: str
    unknown: str

    def __str__(self) -> str:
        return f"{self.left} = {self.right}".replace("**", "^")


class Function(msgspec.Struct, frozen=True):
    """`body` in terms of `variable`."""

    body: str
    variable: str

    def __str__(self) -> str:
        return f"y = {self.body}".replace("**", "^")


def equations(text: str) -> list[Equation]:
    """The equations in one unknown. A mere `n = 10` is an assignment and none."""
    found = []
    for left, right in _sides(text):
        unknowns = left.names | right.names
        if len(unknowns) == 1 and (left.has_structure or right.has_structure):
            found.append(Equation(left.source, right.source, next(iter(unknowns))))
    return found


def functions(text: str) -> list[Function]:
    """The functions of one variable: `y = x^2`, `f(x) = 2x`, or just `sin(x)`."""
    found = []
    formulas = _formulas(text)
    for at, formula in enumerate(formulas):
        if formula is None or formula.before_equals or not (formula.has_operator or formula.after_equals):
            continue
        left = formulas[at - 1] if formula.after_equals else None
        if formula.after_equals and not (left and re.fullmatch(r"[a-zA-Z](\*\([a-zA-Z]\))?", left.source)):
            continue
        names = formula.names - ({"e"} if len(formula.names) > 1 else set())
        if len(names) == 1:
            found.append(Function(formula.source, next(iter(names))))
    return found


def arithmetic(text: str) -> str | None:
    """The first expression of numbers alone, such as `12 * 7`."""
    for formula in _formulas(text):
        if formula and formula.has_structure and not formula.names and re.search(r"[-+*/]", formula.source[1:]):
            return formula.source
    return None


def _sides(text: str) -> Iterator[tuple[Formula, Formula]]:
    formulas = _formulas(text)
    for left, right in itertools.pairwise(formulas):
        if left and right and left.before_equals and right.after_equals:
            yield left, right


def _formulas(text: str) -> list[Formula | None]:
    """The runs of mathematical tokens in order; None where something that looked like one is none."""
    text = _PYTHON_FENCE.sub("\n", text).translate(_TYPOGRAPHY)
    text = _BARE_ARGUMENT.sub(r"\1(\2)", unicodedata.normalize("NFKC", text))
    formulas: list[Formula | None] = []
    run: list[str] = []
    spaced = glued = after_equals = False
    previous = "other"

    def flush(*, before_equals: bool = False) -> None:
        nonlocal run, glued, after_equals
        if run or before_equals or after_equals:
            formulas.append(None if glued else _formula(run, after_equals=after_equals, before_equals=before_equals))
        run, glued, after_equals = [], False, before_equals

    for match in _TOKEN.finditer(text):
        kind, part = match.lastgroup or "other", match.group()
        if kind == "space":
            spaced = True
            continue
        if kind == "word" and (re.fullmatch("[A-Za-z]", part) or part in FUNCTIONS | CONSTANTS):
            kind = "name"
        if kind in ("number", "name", "operator"):
            if spaced and run and _ends_operand(run[-1]) and _starts_operand(part) and (run[-1], part) != (")", "("):
                flush()
            # "the equation - 3x": a dash between a word and a space is punctuation
            is_dash = part == "-" and not run and previous == "word" and text[match.end() : match.end() + 1] == " "
            if not is_dash:
                glued = glued or (not run and not spaced and previous == "word")
                glued = glued or (kind == "number" and not spaced and previous == "name")  # Q1, H2: names of things
                run.append(part)
        elif kind == "equals":
            flush(before_equals=True)
        else:
            glued = glued or (kind == "word" and bool(run) and not spaced)
            flush()
        spaced, previous = False, kind
    flush()
    return formulas


def _formula(run: list[str], *, after_equals: bool, before_equals: bool) -> Formula | None:
    if len(run) > _MAX_TOKENS:
        return None
    tokens = list(run)
    while tokens and not before_equals and tokens[-1] in ("+", "-", "*", "/", "^", "**", "("):
        tokens.pop()
    while tokens and tokens[0] in ("*", "/", "^", "**", ")"):
        tokens.pop(0)
    while tokens.count("(") > tokens.count(")") and tokens[0] == "(":
        tokens.pop(0)
    while tokens.count(")") > tokens.count("(") and tokens[-1] == ")":
        tokens.pop()
    if not tokens:
        return None
    source = _source(tokens)
    try:
        ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names = frozenset(part for part in tokens if part.isalpha() and part not in FUNCTIONS | CONSTANTS)
    has_operator = any(not part[0].isalnum() and part[0] != "." for part in tokens)
    return Formula(source, names, len(tokens) > 1, has_operator, after_equals, before_equals)


def _source(tokens: list[str]) -> str:
    """Python for these tokens: products written out, `^` as `**`."""
    source = ""
    before = "("
    for part in tokens:
        if _ends_operand(before) and _starts_operand(part) and not (before in FUNCTIONS and part == "("):
            source += "*"
        if part in ("+", "-") and _ends_operand(before):
            source += f" {part} "
        else:
            source += "**" if part == "^" else part
        before = part
    return source


def _ends_operand(part: str) -> bool:
    return part == ")" or part[-1].isalnum()


def _starts_operand(part: str) -> bool:
    return part == "(" or part[0].isalnum() or part[0] == "."
