"""The commands of `locum`, one module each."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module

import typer

from locum import __version__, importing
from locum.errors import StartupError

_COMMANDS = ("serve", "demo", "doctor", "keys", "models", "import-files", "usage", "migrate")

app = typer.Typer(
    name="locum",
    help="A self-hosted server for the Assistants API of OpenAI and Azure OpenAI.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _add(name: str) -> None:
    """A command is what has its name in the module of its name."""
    function = name.replace("-", "_")
    command = getattr(import_module(f"locum.cli.{function}"), function)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point: errors that keep a command from its work are one line, not a traceback."""
    os.umask(0o077)  # every command may create files in the data directory: they are its owner's alone
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to fail
    # Of all commands one is run: what the others import would be half of its time.
    with importing.in_one_go():
        for name in set(_COMMANDS).intersection(sys.argv[1:2]) or _COMMANDS:
            _add(name)
    try:
        app(standalone_mode=True)
    except StartupError as error:
        typer.echo(f"locum: {error.message}", err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
