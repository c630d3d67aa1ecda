"""JSON bodies: bytes -> an object that everything behind can hold.

Refused here, with words: what is not JSON, what PostgreSQL or UTF-8 cannot store, and shapes meant to exhaust.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

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
    if not _can_be_stored(value):
        _explain(value)
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


def _can_be_stored(body: dict[str, Any]) -> bool:
    """Return False for NUL characters, integers of more than 64 bits and nesting deeper than MAX_DEPTH."""
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for container in level:
            if isinstance(container, dict):
                if any("\0" in key for key in container):
                    return False
                container = container.values()
            for value in container:
                if isinstance(value, str):
                    if "\0" in value:
                        return False
                elif isinstance(value, dict | list):
                    deeper.append(value)
                elif isinstance(value, int) and abs(value) > _MAX_INTEGER:
                    return False
        if not deeper:
            return True
        level = deeper
    return False


def _explain(body: dict[str, Any]) -> None:
    """Raise InvalidRequest for the first value that cannot be stored, with its path."""
    pending: list[tuple[Any, str, int]] = [(body, "", 1)]
    while pending:
        value, path, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"The body of the request is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(value, dict):
            for key, each in value.items():
                _refuse_nul(key, path)
                pending.append((each, f"{path}.{key}" if path else key, depth + 1))
        elif isinstance(value, list):
            pending.extend((each, f"{path}[{index}]", depth + 1) for index, each in enumerate(value))
        elif isinstance(value, str):
            _refuse_nul(value, path)
        elif isinstance(value, int) and abs(value) > _MAX_INTEGER:
            raise InvalidRequest(f"Invalid '{path}': integer out of range.", param=path, code="invalid_value")


def _refuse_nul(text: str, path: str) -> None:
    if "\0" in text:
        at = f" '{path}'" if path else ""
        raise InvalidRequest(f"Invalid{at}: NUL characters are not allowed.", param=path or None, code="invalid_value")
