"""What a model server's refusal means for a call: too long a prompt, a parameter it does not take, no tools. Pure.

Servers agree on the status 400 at most; the rest is their own words. They are matched narrowly: a refusal that is not
recognised fails the run with what the server said, one that is mistaken would change what the caller asked for.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec

DROPPABLE = (
    "stream_options",
    "parallel_tool_calls",
    "reasoning_effort",
    "strict",
    "temperature",
    "top_p",
    "max_completion_tokens",
    "max_tokens",
)
"""Parameters a call is made again without. Tools, tool_choice and response_format are not among them: an answer without
them is not what was asked for."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What an upstream says went wrong: its words and, where it gives them, a code, the parameter at fault and the size
    of its context window."""

    text: str
    code: str = ""
    param: str = ""
    window: int | None = None


_OVERFLOW = re.compile(
    r"context[_ ](?:length|window|size|limit)|context (?:the )?overflow|(?:prompt|input) is too long"
    r"|maximum number of tokens|maximum model length|max_new_tokens` must be <=",
    re.IGNORECASE,
)
_NUMBER = r"\(?([0-9][0-9,]*)"
_WINDOW = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:context|model) length (?:is |of )?(?:only )?{_NUMBER}",
        rf"{_NUMBER} maximum context length",
        rf"context (?:window|size)(?: is| of|:)? {_NUMBER}",
        rf"n_ctx: {_NUMBER}",
        rf"> {_NUMBER}(?: maximum|, decrease)",
        rf"maximum number of tokens (?:allowed )?{_NUMBER}",
        rf"must be <= {_NUMBER}",
    )
)
_LEAST_WINDOW = 256
"""A smaller number was not meant as a window."""


_NOT_THEIRS = re.compile(r"(?:https?:|data:)\S+|input(?:_value)?['\"]?[=:].*", re.IGNORECASE | re.DOTALL)
"""What servers repeat of a request in their refusals: addresses of pictures, and the value a validator found wrong."""


def _words(problem: Problem) -> str:
    """The server's own words: what a caller has written must not pass for them."""
    return _NOT_THEIRS.sub(" ", problem.text)


def is_overflow(problem: Problem) -> bool:
    """The prompt (or the prompt and its answer) does not fit into the model's context window."""
    return _OVERFLOW.search(f"{problem.code} {_words(problem)}") is not None


def window_of(problem: Problem) -> int | None:
    """The window in tokens, where the server names it; never the size of the prompt it refused."""
    named = problem.window
    for pattern in _WINDOW if named is None else ():
        if found := pattern.search(_words(problem)):
            named = _number(found)
            break
    return named if named is not None and named >= _LEAST_WINDOW else None


_MOST_TOKENS = tuple(
    re.compile(rf"max_(?:completion_)?tokens\b{pattern}")
    for pattern in (
        rf".*\bsupports at most {_NUMBER} (?:completion|output) tokens",
        rf"[` ]*must be less than or equal to `?{_NUMBER}",
        rf" is \[[0-9]+, ?{_NUMBER}\]",
        rf": [0-9]+ > {_NUMBER}, which is the maximum",
    )
)


def most_tokens_of(problem: Problem) -> int | None:
    """How long an answer may be at most, where the server refuses a longer one and says so."""
    for pattern in _MOST_TOKENS:
        if found := pattern.search(_words(problem)):
            return _number(found) or None
    return None


def _number(found: re.Match[str]) -> int:
    """Of hardly any digits: it came from outside."""
    return int(found[1].replace(",", "")[:12])


_NO_TOOLS = re.compile(
    r"does not support tools|tool use (?:is )?not supported|tools? (?:are|is) not supported|--enable-auto-tool-choice"
    r"|--jinja|tool[- ]call(?:ing|s)? (?:is|are) not supported|tools param requires",
    re.IGNORECASE,
)


def is_without_tools(problem: Problem) -> bool:
    """The server (or the model) cannot call tools by itself."""
    return _NO_TOOLS.search(problem.text) is not None


_UNKNOWN = (
    r"(?:unsupported|not (?:currently )?supported|(?:does not|doesn't) (?:support|accept)|unrecogni[sz]ed|unknown"
    r"|unexpected|extra (?:inputs|fields)|not permitted|not allowed|additional propert|deprecated)"
)
_CODES = ("unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden")


def refused_parameter(problem: Problem, sent: Collection[str]) -> str | None:
    """Which of the droppable parameters that were sent the server does not take; None where that is not its trouble."""
    candidates = [name for name in DROPPABLE if name in sent]
    is_about_a_parameter = problem.code in _CODES or re.search(_UNKNOWN, _words(problem), re.IGNORECASE) is not None
    if problem.param:
        last = re.split(r"[.\[\]]+", problem.param.rstrip("]"))[-1]
        return last if last in candidates and is_about_a_parameter else None
    for name in candidates:
        if problem.code in _CODES and re.search(rf"\b{name}\b", _words(problem)):
            return name
        # The name and the complaint stand close together; a word like `temperature` alone may be the prompt's.
        near = rf"(?:\b{name}\b.{{0,40}}?{_UNKNOWN}|{_UNKNOWN}.{{0,60}}?\b{name}\b)"
        if re.search(near, _words(problem), re.IGNORECASE | re.DOTALL):
            return name
    return None


_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """What one upstream model has turned out not to take.

    max_tokens_parameter: how the limit of an answer is called. most_tokens: the largest limit it takes, where known.
    """

    max_tokens_parameter: str
    has_swapped: bool = False
    most_tokens: int | None = None
    without: frozenset[str] = frozenset()

    def after(self, problem: Problem, sent: Collection[str]) -> Habits | None:
        """With what is to be tried after this refusal; None where the refusal is about something else."""
        if (most := most_tokens_of(problem)) is not None:
            return None if most == self.most_tokens else msgspec.structs.replace(self, most_tokens=most)
        name = refused_parameter(problem, sent)
        return None if name is None else self.dropping(name)

    def dropping(self, name: str) -> Habits | None:
        """Without this parameter (the limit of an answer goes by its other name); None where nothing is left to try."""
        if name not in _LIMITS:
            return None if name in self.without else msgspec.structs.replace(self, without=self.without | {name})
        if self.has_swapped:
            return None
        (other,) = _LIMITS - {name}
        return msgspec.structs.replace(self, max_tokens_parameter=other, has_swapped=True)

    def including(self, other: Habits) -> Habits:
        """With what another call has found out."""
        named = other if other.has_swapped else self
        most = [habits.most_tokens for habits in (self, other) if habits.most_tokens is not None]
        return Habits(
            max_tokens_parameter=named.max_tokens_parameter,
            has_swapped=named.has_swapped,
            most_tokens=min(most, default=None),
            without=self.without | other.without,
        )
