"""What a file is: by its name, and by what it begins with."""

from __future__ import annotations

import pytest

from locum.domain.vector_stores import SEARCHABLE
from locum.ingestion.extract.file_types import Unreadable, identify, kind_by_name

COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100)
ZIP = b"PK\x03\x04" + bytes(100)
PDF = b"%PDF-1.7\n..."


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.pdf", PDF, "pdf"),
        ("A.PDF", b"\r\n\xef\xbb\xbf" + PDF, "pdf"),
        ("a.docx", ZIP, "office"),
        ("a.pptx", ZIP, "office"),
        ("a.html", b"<p>", "html"),
        ("a.md", b"# A", "text"),
        ("보고서.txt", "보고서".encode(), "text"),
        ("a.py", b'PDF = b"%PDF-1.4"', "text"),
        ("a.js", b"<html>", "text"),
        # What it surely is counts for more than what it is called.
        ("a.txt", PDF, "pdf"),
        ("a.docx", PDF, "pdf"),
        ("a.pdf", ZIP, "office"),
        ("a.txt", ZIP, "office"),
        ("a.doc", ZIP, "office"),
        ("a.doc", b"<HTML xmlns:o=...", "html"),
        ("a.doc", b"plain words", "text"),
    ],
)
def test_the_name_says_which_parser_and_the_content_whether_that_is_so(name: str, head: bytes, kind: str) -> None:
    assert identify(name, head) == kind


def test_every_ending_that_is_searched_has_a_parser() -> None:
    kinds = {ending: kind_by_name(f"a.{ending}") for ending in SEARCHABLE}
    assert {ending for ending, kind in kinds.items() if kind != "text"} == {"pdf", "docx", "pptx", "doc", "html"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a.csv", ".csv"),
        ("a.PNG", ".png"),
        ("a.xlsx", ".xlsx"),
        ("a.tar.gz", ".gz"),
        ("README", "none"),
        ("a.", "none"),
    ],
)
def test_other_endings_fail_in_the_hosted_words(name: str, shown: str) -> None:
    with pytest.raises(Unreadable) as failure:
        identify(name, b"1,2\n")
    assert failure.value.error.code == "unsupported_file"
    assert failure.value.error.message == (
        f"Files with extensions [{shown}] are not supported for retrieval. "
        "See https://platform.openai.com/docs/assistants/tools/file-search/supported-files"
    )


@pytest.mark.parametrize(
    ("name", "head", "code", "words"),
    [
        ("a.doc", COMPOUND, "unsupported_file", "save it as .docx or PDF"),
        ("a.doc", b"{\\rtf1\\ansi", "unsupported_file", "Rich Text"),
        ("a.docx", COMPOUND, "invalid_file", "protected by a password, or"),
        ("a.pptx", COMPOUND, "invalid_file", "protected by a password, or"),
        ("a.pdf", b"<html>not found</html>", "invalid_file", "no PDF"),
        ("a.docx", b"words", "invalid_file", "not that of an Office document"),
        ("a.txt", b"\x89PNG\r\n\x1a\n", "invalid_file", "a PNG picture"),
        ("a.py", b"\x7fELF\x02", "invalid_file", "a program"),
        ("a.pdf", b"\xff\xd8\xff\xe0", "invalid_file", "a JPEG picture"),
        ("a.txt", b"", "invalid_file", "0 bytes"),
        ("a.pdf", b"", "invalid_file", "0 bytes"),
    ],
)
def test_what_is_not_what_it_is_called_fails_with_what_it_is(name: str, head: bytes, code: str, words: str) -> None:
    with pytest.raises(Unreadable) as failure:
        identify(name, head)
    assert failure.value.code == code
    assert words in failure.value.message
