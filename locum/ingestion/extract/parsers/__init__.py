"""What runs behind the sandbox's walls: one file in, its text out. Loaded by the parsers' zygote, never by the server.

`main` is the whole of what a session is asked for. It leaves two files: `text` (UTF-8), and `outcome` (JSON: why there
is no text, or where the pages begin), which the server reads as it reads anything that hostile code has made.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path

from lxml import etree

from locum.documents.text import Text, TooMuchText
from locum.ingestion.extract.parsers import html, office, pdf, text
from locum.ingestion.extract.parsers.refusal import CannotParse

_PARSERS = {"pdf": pdf.parse, "office": office.parse, "html": html.parse, "text": text.parse}
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, etree.LxmlError)


def main(path: str, kind: str, most_bytes: int) -> None:
    """Parse the file in the current folder, which is the session's own, and leave `text` and `outcome` beside it."""
    said = Text(most_bytes)
    try:
        _PARSERS[kind](path, said)
        if said.is_blank:
            raise CannotParse("The file has no text in it.")
    except CannotParse as refusal:
        _leave(error=str(refusal))
    except TooMuchText:
        _leave(error=f"The file has more than {most_bytes >> 20} MiB of text.")
    except _DAMAGED as failure:
        _leave(error=f"The file is damaged, or cut off: {failure}.")
    else:
        with Path("text").open("wb") as file:
            file.writelines(block.encode() for block in said.blocks)
        _leave(pages=said.pages.tolist())


def _leave(*, error: str | None = None, pages: list[int] | None = None) -> None:
    Path("outcome").write_text(json.dumps({"error": error, "pages": pages or []}))
