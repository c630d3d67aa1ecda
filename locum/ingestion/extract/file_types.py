"""What a file is: its name says which parser it is for, its first bytes say whether that is so.

The name comes first, as with the hosted API: the same bytes are a page as `a.html` and a program's text as `a.js`. The
content comes second: bytes that are surely a PDF or an Office document are read as what they are, whatever they are
called, and bytes that surely are no text fail with the word for what they are.
"""

from __future__ import annotations

from typing import Literal

from locum.domain.vector_stores import ErrorCode, FileError, extension, unsupported

__all__ = ["HEAD_BYTES", "Kind", "Unreadable", "identify", "kind_by_name"]

Kind = Literal["pdf", "office", "html", "text"]
"""Which parser. `office` are the documents of Word and PowerPoint: ZIP archives that look alike from outside."""

HEAD_BYTES = 1024
"""How much of a file's beginning `identify` looks at."""

_PARSED: dict[str, Kind] = {"pdf": "pdf", "docx": "office", "pptx": "office", "doc": "office", "html": "html"}
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""The container of Office files before 2007, and of newer ones that are protected by a password."""
_OLD_WORD = (
    "Word documents of the old format (.doc) cannot be read: save it as .docx or PDF, without a password, and upload "
    "that."
)
_OLD_OR_PROTECTED = (
    "The file is protected by a password, or it is of the old format of Office (.doc, .ppt) under a new name: save it "
    "as .docx, .pptx or PDF, without a password, and upload it."
)
_RICH_TEXT = "Documents in Rich Text Format cannot be read: save it as .docx or PDF, and upload it."
_NO_TEXT: dict[bytes, str] = {
    b"\x89PNG\r\n\x1a\n": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"II*\x00": "a TIFF picture",
    b"MM\x00*": "a TIFF picture",
    b"\x1f\x8b": "gzip data",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ\x00": "xz data",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x7fELF": "a program",
    b"MZ\x90\x00": "a program",
    b"SQLite format 3\x00": "an SQLite database",
    b"PAR1": "a Parquet table",
    b"ID3": "sound",
    b"OggS": "sound or a film",
}
_ARCHIVE = (b"PK\x03\x04", b"PK\x05\x06")


class Unreadable(Exception):
    """The file cannot be searched: its `code`, and a sentence for whoever uploaded it."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def error(self) -> FileError:
        return FileError(code=self.code, message=self.message)


def kind_by_name(filename: str) -> Kind:
    """Unreadable where files of such a name are not searched, in the hosted API's words."""
    if (wrong := unsupported((filename,))) is not None:
        raise Unreadable("unsupported_file", wrong)
    return _PARSED.get(extension(filename), "text")


def identify(filename: str, head: bytes) -> Kind:
    """The parser for a file of that name with these first bytes (`HEAD_BYTES`, or all there are).

    Unreadable when there is none, or no byte, or when it is clear already that this is no such file.
    """
    named, ending = kind_by_name(filename), extension(filename)
    if not head:
        raise Unreadable("invalid_file", "The file is empty: it has 0 bytes.")
    if head.startswith(b"%PDF-") or (named == "pdf" and b"%PDF-" in head):  # some begin with a few other bytes
        return "pdf"
    if head.startswith(_ARCHIVE):
        return "office"
    if head.startswith(_COMPOUND):
        raise Unreadable("unsupported_file", _OLD_WORD) if ending == "doc" else _invalid(_OLD_OR_PROTECTED)
    for beginning, what in _NO_TEXT.items():
        if head.startswith(beginning):
            raise _invalid(f"The file is called .{ending}, and its content is {what}.")
    if named == "pdf":
        raise _invalid("The file is called .pdf, and its content is no PDF: it does not begin with %PDF.")
    if named == "office":
        return _not_an_archive(ending, head)
    return named


def _not_an_archive(ending: str, head: bytes) -> Kind:
    """Word itself has written pages and plain text under the name .doc."""
    if head.startswith(b"{\\rtf"):
        raise Unreadable("unsupported_file", _RICH_TEXT)
    if ending != "doc":
        raise _invalid(f"The file is called .{ending}, and its content is not that of an Office document.")
    return "html" if b"<html" in head.lower() else "text"


def _invalid(message: str) -> Unreadable:
    return Unreadable("invalid_file", message)
