"""The commands of `locum`, one module each."""

from __future__ import annotations

import io
import sys

import typer

from locum import __version__
from locum.cli import demo, doctor, import_files, keys, migrate, models, serve, usage
from locum.errors import StartupError

app = typer.Typer(
    name="locum",
    help="A self-hosted server for the Assistants API of OpenAI and Azure OpenAI.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.add_typer(keys.app, name="keys")
app.command("models")(models.models)
app.command("import-files")(import_files.import_files)
app.command("usage")(usage.usage)
app.command("migrate")(migrate.migrate)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point: errors that keep a command from its work are one line, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to fail
    try:
        app(standalone_mode=True)
    except StartupError as error:
        typer.echo(f"locum: {error.message}", err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
