"""A process that ingests, and dies of a text whenever it is to take it in."""

from __future__ import annotations

import os

from locum.app import ingestion
from locum.ingestion.extract.parser import Chunks, Parsed

DEADLY = b"whoever ingests this dies"


class DyingParser(ingestion.SandboxParser):
    async def parse(self, filename: str, chunks: Chunks) -> Parsed:
        parsed = await super().parse(filename, chunks)
        if DEADLY.decode() in parsed.text:
            os._exit(1)
        return parsed


def main() -> None:
    ingestion.SandboxParser = DyingParser  # type: ignore[misc]
    ingestion.main()
