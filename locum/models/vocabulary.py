"""The o200k_base vocabulary of tokens.

No other module imports the library that implements it, so that it can be replaced in one file.

Results are arrays of the standard library, which numpy reads without a copy: servers count tokens without numpy.
"""

from __future__ import annotations

import sys
from array import array
from functools import lru_cache
from typing import Any

_SPECIAL = "<|"
"""The beginning of every special token."""


def encode(text: str, *, cached_words: int = 20_000) -> array[int]:
    """Return the ids of a text's tokens. The spelling of a special token is text like any other.

    text: without lone surrogates. cached_words: the library's cache of words is cleared when it has more of them.
    """
    tokenizer = _tokenizer()
    if _SPECIAL in text:
        ids = array("I", tokenizer.encode_ordinary(text))
    else:  # takes half the time, but would read special tokens
        ids = array("I")
        ids.frombytes(tokenizer.encode_flat(text))  # little-endian
        if sys.byteorder == "big":
            ids.byteswap()
    if tokenizer.cache_len > cached_words:
        tokenizer.clear_cache()
    return ids


@lru_cache(maxsize=1)
def byte_lengths() -> array[int]:
    """Return the length of every token in bytes, indexed by its id; 0 for special tokens, which no text contains."""
    tokenizer = _tokenizer()
    lengths = array("I", bytes(4 * tokenizer.vocab_size))
    for token in range(tokenizer.vocab_size):
        try:
            lengths[token] = len(tokenizer.decode_token_bytes(token))
        except ValueError:  # special tokens, which come last
            break
    return lengths


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """Load the vocabulary at its first use: it takes 70 ms, and most prompts are too short to need a count."""
    from splintr import Tokenizer

    return Tokenizer.from_pretrained("o200k_base")
