"""Identifiers: a prefix that names the noun, and 24 random base-62 characters (the hosted API's form).

Nothing is ever parsed out of an id beyond its prefix.
"""

from __future__ import annotations

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def new(prefix: str) -> str:
    """A fresh id, e.g. `new("asst_")` -> `asst_` + 24 characters."""
    number = int.from_bytes(secrets.token_bytes(20))  # 24 characters hold 143 bits
    characters = []
    for _ in range(24):
        number, digit = divmod(number, 62)
        characters.append(_ALPHABET[digit])
    return prefix + "".join(characters)
