"""Why a file has no text for us, in a sentence for whoever uploaded it."""

from __future__ import annotations


class CannotParse(Exception):
    """The file is not what it should be, or more than is taken; the message says which."""
