"""PDF: the text of every page, in the order in which the file has it, with PDFium.

Covered: what PDFium refuses (a password, no PDF at all) and pages without text. Not covered: text in pictures (there is
no OCR), and the order of columns that a file does not have in order itself.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pypdfium2

from locum.documents.text import Text
from locum.ingestion.extract.parsers.refusal import CannotParse

MOST_PAGES = 20_000
_TAIL_BYTES = 64 * 1024
_HYPHENATED = re.compile("[\ufffe\x02](?:\r?\n)?([A-Z0-9]?)")
"""A word that a line's end has cut in two, as PDFium tells it; before a capital, the hyphen is the word's own."""


def parse(path: str, text: Text) -> None:
    _check_end(path)
    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as failure:
        if "password" in str(failure).lower():
            raise CannotParse("The PDF is protected by a password: upload it without one.") from None
        raise CannotParse("The PDF is damaged: it cannot be opened.") from None
    count = len(document)
    if count > MOST_PAGES:
        raise CannotParse(f"The PDF has {count} pages, and at most {MOST_PAGES} are read: upload it in parts.")
    unread = sum(not _read(document, number, text) for number in range(count))
    if unread == count:
        raise CannotParse("The PDF is damaged: none of its pages can be read.")
    if text.is_blank:
        raise CannotParse(
            f"There is no text in the PDF: its pages ({count}) are blank, or scanned pictures, and there is no OCR. "
            "Upload a PDF with text in it."
        )


def _whole(cut: re.Match[str]) -> str:
    return f"-{cut[1]}" if cut[1] else ""


def _check_end(path: str) -> None:
    """PDFium reads what there is of a file that was cut off, and does not say that it was."""
    with Path(path).open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        end = file.read()
    if b"%%EOF" not in end and b"startxref" not in end:
        raise CannotParse("The PDF is cut off: its end is missing.")


def _read(document: pypdfium2.PdfDocument, number: int, text: Text) -> bool:
    """A page that is damaged has no text; the others have theirs."""
    text.page()
    try:
        page = document[number]
        words = page.get_textpage()
        content = _HYPHENATED.sub(_whole, words.get_text_range()).strip()
        words.close()
        page.close()
    except pypdfium2.PdfiumError:
        return False
    if content:
        text.add(f"{content}\n\n")
    return True
