"""Options that several commands share; their help is the settings' own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from locum.settings import Settings


def described(name: str) -> str:
    return f"{Settings.model_fields[name].description} [LOCUM_{name.upper()}]"


def printable(text: str) -> str:
    """One line that only says something: names and errors of other servers could steer a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


DataDir = Annotated[Path | None, typer.Option("--data-dir", help=described("data_dir"))]
