"""Documents for the parsers, made as small as they can be: PDF by hand, Office with the libraries that users have."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

KOREAN = "매출 보고서: 2분기 실적"

_FONTS = (
    b"<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> "
    b"/F2 << /Type /Font /Subtype /Type0 /BaseFont /HYSMyeongJo-Medium /Encoding /UniKS-UCS2-H /DescendantFonts [ "
    b"<< /Type /Font /Subtype /CIDFontType0 /BaseFont /HYSMyeongJo-Medium "
    b"/CIDSystemInfo << /Registry (Adobe) /Ordering (Korea1) /Supplement 1 >> >> ] >> >>"
)


def pdf(pages: Iterable[str], *, encrypted: bool = False) -> bytes:
    """A PDF with these lines on its pages; text that is not ASCII is set in a Korean font, by its UTF-16."""
    texts = list(pages)
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(texts)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [ %s ] /Count %d /MediaBox [0 0 612 792] /Resources << /Font 3 0 R >> >>"
        % (kids, len(texts)),
        _FONTS,
    ]
    for number, text in enumerate(texts):
        objects.append(b"<< /Type /Page /Parent 2 0 R /Contents %d 0 R >>" % (5 + 2 * number))
        lines = b" T* ".join(map(_shown, text.split("\n"))) if text else b""
        content = b"BT /F1 12 Tf 14 TL 72 720 Td %s ET" % lines
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    trailer = b"/Root 1 0 R"
    if encrypted:  # keys that no password fits
        objects.append(b"<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >>" % (b"ab" * 32, b"cd" * 32))
        trailer += b" /Encrypt %d 0 R /ID [<00> <00>]" % len(objects)
    return _with_table(objects, trailer)


def _shown(line: str) -> bytes:
    if line.isascii():
        escaped = line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        return b"/F1 12 Tf (%s) Tj" % escaped.encode()
    return b"/F2 12 Tf <%s> Tj" % line.encode("utf-16-be").hex().encode()


def _with_table(objects: list[bytes], trailer: bytes) -> bytes:
    parts, places, at = [b"%PDF-1.4\n"], [], 9
    for number, each in enumerate(objects, start=1):
        places.append(at)
        parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, each))
        at += len(parts[-1])
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    head = b"xref\n0 %d\n0000000000 65535 f \n" % size
    end = b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, at)
    return b"".join((*parts, head, table, end))


_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
BODY = f'<w:document xmlns:w="{_WORD}"><w:body>{{}}</w:body></w:document>'
"""The main part of a Word document, around what is in it."""


def archive(parts: Mapping[str, bytes | str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return packed.getvalue()


def links(**targets: str) -> str:
    """Relationships, by kind, each with its kind for an id."""
    each = (f'<Relationship Id="{kind}" Type="{_OFFICE}/{kind}" Target="{to}"/>' for kind, to in targets.items())
    return f'<Relationships xmlns="{_RELATIONSHIPS}">{"".join(each)}</Relationships>'


def word(main: bytes | str, **others: bytes | str) -> bytes:
    """A Word document of just this main part, and of others that it is linked with: `footnotes=...`."""
    parts: dict[str, bytes | str] = {
        "_rels/.rels": links(officeDocument="word/document.xml"),
        "word/document.xml": main,
    }
    if others:
        parts["word/_rels/document.xml.rels"] = links(**{kind: f"{kind}.xml" for kind in others})
        parts |= {f"word/{kind}.xml": content for kind, content in others.items()}
    return archive(parts)


def paragraphs(*texts: str) -> str:
    return "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in texts)


def docx() -> bytes:
    """With headings, items, a table and Korean, as python-docx writes them."""
    import docx as builder

    document = builder.Document()
    document.add_heading("연간 보고서", 0)
    document.add_heading("Revenue", 2)
    document.add_paragraph(KOREAN)
    document.add_paragraph("first", style="List Bullet")
    document.add_paragraph("second", style="List Bullet")
    table = document.add_table(2, 2)
    for place, words in enumerate(("지역", "매출", "서울", "1,234")):
        table.cell(*divmod(place, 2)).text = words
    document.add_paragraph("the end")
    return saved(document)


def pptx() -> bytes:
    """Two slides: title, bullets and notes; a table."""
    import pptx as builder
    from pptx.util import Inches

    show: Any = builder.Presentation()
    first = show.slides.add_slide(show.slide_layouts[1])
    first.shapes.title.text = KOREAN
    first.placeholders[1].text = "one\ntwo"
    first.notes_slide.notes_text_frame.text = "발표자 노트"
    second = show.slides.add_slide(show.slide_layouts[5])
    second.shapes.title.text = "Table"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for place, words in enumerate(("지역", "매출", "서울", "1,234")):
        table.cell(*divmod(place, 2)).text = words
    return saved(show)


def saved(document: Any) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()
