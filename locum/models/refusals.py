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
    r"context[_ ]length|context[_ ]window|context[_ ]size|context (?:the )?overflow|prompt is too long"
    r"|maximum number of tokens|max_new_tokens` must be <=",
    re.IGNORECASE,
)
_NUMBER = r"\(?([0-9][0-9,]*)"
_WINDOW = (
    re.compile(rf"maximum context length (?:is|of) {_NUMBER}", re.IGNORECASE),
    re.compile(rf"context length (?:is|of) (?:only )?{_NUMBER}", re.IGNORECASE),
    re.compile(rf"context (?:window|size)(?: is| of|:)? {_NUMBER}", re.IGNORECASE),
    re.compile(rf"> {_NUMBER} maximum", re.IGNORECASE),
    re.compile(rf"maximum number of tokens (?:allowed )?{_NUMBER}", re.IGNORECASE),
    re.compile(rf"must be <= {_NUMBER}", re.IGNORECASE),
)


def is_overflow(problem: Problem) -> bool:
    """The prompt (or the prompt and its answer) does not fit into the model's context window."""
    return _OVERFLOW.search(f"{problem.code} {problem.text}") is not None


def window_of(problem: Problem) -> int | None:
    """The window in tokens, where the server names it; never the size of the prompt it refused."""
    if problem.window is not None:
        return problem.window
    for pattern in _WINDOW:
        if found := pattern.search(problem.text):
            return int(found[1].replace(",", ""))
    return None


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
    is_about_a_parameter = problem.code in _CODES or re.search(_UNKNOWN, problem.text, re.IGNORECASE) is not None
    if problem.param:
        last = re.split(r"[.\[\]]+", problem.param.rstrip("]"))[-1]
        return last if last in candidates and is_about_a_parameter else None
    for name in candidates:
        if problem.code in _CODES and re.search(rf"\b{name}\b", problem.text):
            return name
        # The name and the complaint stand close together; a word like `temperature` alone may be the prompt's.
        near = rf"(?:\b{name}\b.{{0,40}}?{_UNKNOWN}|{_UNKNOWN}.{{0,60}}?\b{name}\b)"
        if re.search(near, problem.text, re.IGNORECASE | re.DOTALL):
            return name
    return None


class Habits:
    """What one upstream model has turned out not to take."""

    def __init__(self, max_tokens_parameter: str) -> None:
        self.max_tokens_parameter = max_tokens_parameter
        self._has_swapped = False
        self.without: frozenset[str] = frozenset()

    def drop(self, name: str) -> bool:
        """Leave it out from now on (an answer's limit goes by its other name); False where nothing is left to try."""
        if name in ("max_tokens", "max_completion_tokens"):
            if self._has_swapped:
                return False
            self._has_swapped = True
            self.max_tokens_parameter = "max_tokens" if name == "max_completion_tokens" else "max_completion_tokens"
            return True
        if name in self.without:
            return False
        self.without |= {name}
        return True
