"""JSON bodies: bytes -> an object that everything behind can hold.

Refused here, with words: what is not JSON, what PostgreSQL or UTF-8 cannot store, and shapes meant to exhaust.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from locum.api.validation import path_of
from locum.errors import InvalidRequest, TooLarge

MAX_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 30_000
"""Elements of arrays and objects: openings and commas outside of strings. The time of decoding, checking and validating
a body grows with their number, and every other request waits for it."""
_MAX_INTEGER = 2**63 - 1


async def read(chunks: AsyncIterator[bytes], *, max_bytes: int = MAX_BYTES) -> bytes:
    """The whole body, unless it is larger than that."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(f"The body of the request is larger than the maximum of {max_bytes} bytes.")
    return bytes(body)


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body. An empty body is an empty object: `POST /threads` is sent that way."""
    if not raw:
        return {}
    _refuse_many_values(raw)
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
        ) from None
    if not isinstance(value, dict):
        raise InvalidRequest("Invalid body: expected an object.", code="invalid_type")
    _refuse_what_cannot_be_stored(value)
    return value


def _refuse_many_values(raw: bytes) -> None:
    """Count values before any of them is decoded; a text may hold as many commas as it likes."""
    if len(raw) <= MAX_VALUES or _count_structure(raw) <= MAX_VALUES:
        return
    without_escapes = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Outside of a string and inside one by turns. An element has two strings at most, each with two quotes.
    pieces = without_escapes.split(b'"', 4 * MAX_VALUES)
    if len(pieces) > 4 * MAX_VALUES or _count_structure(b"".join(pieces[::2])) > MAX_VALUES:
        raise TooLarge(f"The body of the request holds more than the maximum of {MAX_VALUES} values.")


def _count_structure(raw: bytes) -> int:
    return len(raw) - len(raw.translate(None, b",[{"))


def _refuse_what_cannot_be_stored(body: dict[str, Any]) -> None:
    """Raise InvalidRequest for NUL characters, integers of more than 64 bits and nesting deeper than MAX_DEPTH."""
    pending: list[tuple[Any, tuple[int | str, ...]]] = [(body, ())]
    while pending:
        container, loc = pending.pop()
        if len(loc) >= MAX_DEPTH:
            raise InvalidRequest(f"The body of the request is nested deeper than {MAX_DEPTH} levels.")
        for key, value in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(key, str) and "\0" in key:
                raise _nul(loc)
            if isinstance(value, str):
                if "\0" in value:
                    raise _nul((*loc, key))
            elif isinstance(value, dict | list):
                pending.append((value, (*loc, key)))
            elif isinstance(value, int) and abs(value) > _MAX_INTEGER:
                path = path_of((*loc, key))
                raise InvalidRequest(f"Invalid '{path}': integer out of range.", param=path, code="invalid_value")


def _nul(loc: tuple[int | str, ...]) -> InvalidRequest:
    path = path_of(loc)
    at = f" '{path}'" if path else ""
    return InvalidRequest(f"Invalid{at}: NUL characters are not allowed.", param=path or None, code="invalid_value")
