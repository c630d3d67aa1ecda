"""JSON bodies: bytes -> an object that everything behind can hold.

Refused here, with words: what is not JSON, what PostgreSQL or UTF-8 cannot store, and shapes meant to exhaust.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from locum.errors import InvalidRequest, TooLarge

MAX_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 64
_MAX_INTEGER = 2**63 - 1

# The walk over the whole body is needed only where one of these is seen; hardly ever.
_SUSPICIOUS = re.compile(rb"\\u0000|\d{19}")


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
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
        ) from None
    if not isinstance(value, dict):
        raise InvalidRequest("Invalid body: expected an object.", code="invalid_type")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH or _SUSPICIOUS.search(raw):
        _inspect(value)
    return value


def _inspect(body: dict[str, Any]) -> None:
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
