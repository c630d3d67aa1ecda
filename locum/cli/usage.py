"""`locum usage`: what the code interpreter's sessions used, as their owner pays for it or bills it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from locum.admin import protocol
from locum.cli.options import DataDir
from locum.cli.requests import ask, must_exist
from locum.cli.tables import table
from locum.domain.usage import By, UsageSum
from locum.settings import Settings

_HEADINGS: dict[By, tuple[str, ...]] = {
    "resource": ("RESOURCE",),
    "thread": ("RESOURCE", "THREAD"),
    "day": ("DAY (UTC)",),
}


def usage(
    resource: Annotated[str | None, typer.Option(help="Of this resource only.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Sessions opened on that day (UTC) or later."),
    ] = None,
    by: Annotated[By, typer.Option(help="One line for each of these.")] = "resource",
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Sum up the code interpreter's sessions: how many, their started hours, cells, CPU time and memory.

    The hosted service took one fee for each session and hour. Sessions of deleted threads are still there.
    """
    settings = Settings.load(data_dir=data_dir)
    must_exist(settings)
    moment = int(since.replace(tzinfo=UTC).timestamp()) if since else 0
    reply = asyncio.run(ask(settings, protocol.SumUsage(by=by, resource=resource, since=moment)))
    assert isinstance(reply, protocol.UsageSums)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode([_with_day(row) for row in reply.rows])).decode())
    elif reply.rows:
        _print_table(by, reply.rows)
    else:
        typer.echo("No session of the code interpreter has been used.", err=True)


def _print_table(by: By, rows: list[UsageSum]) -> None:
    headings = _HEADINGS[by]
    lines = [(*headings, "SESSIONS", "HOURS", "CELLS", "CPU SECONDS", "PEAK MIB")]
    lines += [(*_keys(by, row), *_figures(row)) for row in rows]
    if len(rows) > 1:
        total = UsageSum(
            sessions=sum(row.sessions for row in rows),
            hours=sum(row.hours for row in rows),
            cells=sum(row.cells for row in rows),
            cpu_seconds=sum(row.cpu_seconds for row in rows),
            peak_memory_bytes=max(row.peak_memory_bytes for row in rows),
        )
        lines.append((*("TOTAL", *[""] * (len(headings) - 1)), *_figures(total)))
    typer.echo(table(lines, right=5))


def _keys(by: By, row: UsageSum) -> tuple[str, ...]:
    match by:
        case "resource":
            return (row.resource or "",)
        case "thread":
            return (row.resource or "", row.thread_id or "")
        case "day":
            return (_day(row.day or 0),)


def _figures(row: UsageSum) -> tuple[str, ...]:
    memory = f"{row.peak_memory_bytes / 1024**2:.0f}"
    return (str(row.sessions), str(row.hours), str(row.cells), f"{row.cpu_seconds:.2f}", memory)


def _with_day(row: UsageSum) -> dict[str, object]:
    """As JSON: a day by its date."""
    fields: dict[str, object] = msgspec.to_builtins(row)
    return fields if row.day is None else {**fields, "day": _day(row.day)}


def _day(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d")
