"""A cell's text on its way out: made safe to show, bounded in the middle, passed on while it comes.

Covered: terminal escapes, control characters and characters that turn the direction of text are removed; bytes that
are not UTF-8 are replaced; memory is bounded whatever the cell prints. Not covered: what the text says.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])")
_UNFINISHED = re.compile(
    r"(?:\r|\x1b(?:\[[0-?]{0,64}[ -/]{0,8}|\][^\x07\x1b]{0,256}\x1b?|[PX^_][^\x1b]{0,256}\x1b?)?)\Z"
)
_CONTROLS = dict.fromkeys(
    [*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
del _CONTROLS[ord("\n")], _CONTROLS[ord("\t")]


class Sanitiser:
    """Bytes in pieces of any size to text; a sequence cut in two by a piece's end is recognised all the same."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes, *, final: bool = False) -> str:
        text = self._held + self._decode.decode(data, final)
        self._held = ""
        if not final and (unfinished := _UNFINISHED.search(text)):
            self._held = unfinished.group()
            text = text[: unfinished.start()]
        return clean(text)


def clean(text: str) -> str:
    text = _ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return text.translate(_CONTROLS)


class _Names:
    """Replaces a name wherever it comes, also when it comes in two pieces. Without one there is nothing to do."""

    def __init__(self, names: tuple[str, str] | None) -> None:
        self._real, self._told = names or ("", "")
        self._held = ""

    def feed(self, text: str, *, final: bool = False) -> str:
        if not self._real:
            return text
        text = (self._held + text).replace(self._real, self._told)
        self._held = "" if final else self._beginning_in(text)
        return text[: len(text) - len(self._held)]

    def _beginning_in(self, text: str) -> str:
        """The end of the text, as far as the name may have begun there."""
        for length in range(min(len(self._real) - 1, len(text)), 0, -1):
            if self._real.startswith(text[-length:]):
                return text[-length:]
        return ""


class Transcript:
    """What the model will see: the head and the tail of everything, with a note about what is missing between.

    The pieces given to `on_text` are, joined, exactly the text that `close` returns. names: a real path and what it is
    called instead.
    """

    def __init__(self, limit: int, on_text: Callable[[str], None], names: tuple[str, str] | None = None) -> None:
        self.received = 0
        self._half = limit // 2
        self._on_text = on_text
        self._sanitiser = Sanitiser()
        self._names = _Names(names)
        self._pieces: list[str] = []
        self._head_bytes = 0
        self._tail = bytearray()
        self._omitted = 0

    def begin(self, preface: str) -> None:
        """Ours, about the session, in front of everything; it is never cut."""
        self._emit(preface)

    def feed(self, data: bytes) -> None:
        self.received += len(data)
        self._add(self._names.feed(self._sanitiser.feed(data)))

    def close(self, note: str = "") -> str:
        """`note` is ours, about how the cell ended; it is never cut."""
        self._add(self._names.feed(self._sanitiser.feed(b"", final=True), final=True))
        self._trim(self._half)
        tail = self._tail.decode(errors="ignore")
        if self._omitted:
            tail = f"\n[... {self._omitted} bytes of output left out ...]\n{tail}"
        self._emit(tail)
        if note:
            ended = not self._pieces or self._pieces[-1].endswith("\n")
            self._emit(note if ended else f"\n{note}")
        return "".join(self._pieces)

    def _add(self, text: str) -> None:
        data = text.encode()
        room = self._half - self._head_bytes
        if room > 0:
            head = data[:room].decode(errors="ignore")
            self._head_bytes += min(len(data), room)
            self._emit(head)
            data = data[len(head.encode()) :]
        self._tail += data
        if len(self._tail) > 4 * self._half:
            self._trim(self._half)

    def _trim(self, size: int) -> None:
        excess = len(self._tail) - size
        if excess > 0:
            del self._tail[:excess]
            self._omitted += excess

    def _emit(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            self._on_text(text)
