"""A small, real file of every type that the code interpreter takes, and how a model reads it.

The 26 extensions are those of the hosted service's table of supported files.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from dataclasses import dataclass
from typing import Any

WORDS = "매출 보고서: 1,234 원"
"""What is in every file that holds words."""


@dataclass(frozen=True)
class Sample:
    """`code` reads the file called `name` in /mnt/data and prints `expected`, among other things perhaps."""

    name: str
    content: bytes
    code: str
    expected: str


def samples() -> dict[str, Sample]:
    """By extension."""
    made = [*(_text(name, text) for name, text in _TEXTS.items()), *_tables(), *_documents(), *_images(), *_archives()]
    return {each.name.rpartition(".")[2]: each for each in made}


_TEXTS = {
    "main.c": f'#include <stdio.h>\nint main(void) {{ puts("{WORDS}"); return 0; }}\n',
    "main.cpp": f'#include <iostream>\nint main() {{ std::cout << "{WORDS}"; }}\n',
    "Main.java": f'class Main {{ String words = "{WORDS}"; }}\n',
    "page.php": f'<?php echo "{WORDS}"; ?>\n',
    "main.rb": f'puts "{WORDS}"\n',
    "paper.tex": f"\\documentclass{{article}}\\begin{{document}}{WORDS}\\end{{document}}\n",
    "notes.txt": f"{WORDS}\n",
    "notes.md": f"# {WORDS}\n",
    "style.css": f'.report::before {{ content: "{WORDS}"; }}\n',
    "main.js": f'console.log("{WORDS}");\n',
    "main.ts": f'const words: string = "{WORDS}";\n',
}


def _text(name: str, text: str) -> Sample:
    return Sample(name, text.encode(), f"print(open('/mnt/data/{name}', encoding='utf-8').read())", WORDS)


def _tables() -> list[Sample]:
    import openpyxl

    book = openpyxl.Workbook()
    sheet: Any = book.active
    sheet.append(["지역", "매출"])
    sheet.append([WORDS, 1234])
    return [
        Sample(
            "sales.csv",
            "지역,매출\n서울,1200\n부산,34\n".encode("utf-8-sig"),
            "import pandas as pd\nprint(pd.read_csv('/mnt/data/sales.csv')['매출'].sum())",
            "1234",
        ),
        Sample(
            "sales.json",
            json.dumps([{"지역": WORDS, "매출": 1234}], ensure_ascii=False).encode(),
            "import pandas as pd\nprint(pd.read_json('/mnt/data/sales.json')['지역'][0])",
            WORDS,
        ),
        Sample(
            "sales.xlsx",
            _saved(book),
            "import pandas as pd\nprint(pd.read_excel('/mnt/data/sales.xlsx', sheet_name=0).to_string())",
            WORDS,
        ),
        Sample(
            "sales.xml",
            f'<?xml version="1.0"?><rows><row region="{WORDS}" amount="1234"/></rows>'.encode(),
            "import pandas as pd\nprint(pd.read_xml('/mnt/data/sales.xml').to_string())",
            WORDS,
        ),
        Sample(
            "page.html",
            f"<table><tr><th>region</th></tr><tr><td>{WORDS}</td></tr></table>".encode(),
            "import pandas as pd\nprint(pd.read_html('/mnt/data/page.html', encoding='utf-8')[0].to_string())",
            WORDS,
        ),
        Sample(
            "module.py",
            f"def words():\n    return {WORDS!r}\n".encode(),
            "import sys; sys.path.append('/mnt/data')\nfrom module import words\nprint(words())",
            WORDS,
        ),
    ]


def _documents() -> list[Sample]:
    import docx
    import pptx

    document = docx.Document()
    document.add_heading("Report", 1)
    document.add_paragraph(WORDS)
    document.add_table(1, 1).cell(0, 0).text = "cell"
    slides = pptx.Presentation()
    slide = slides.slides.add_slide(slides.slide_layouts[5])
    slide.shapes.title.text = WORDS
    return [
        Sample(
            "report.docx",
            _saved(document),
            "from docx import Document\nd = Document('/mnt/data/report.docx')\n"
            "print([p.text for p in d.paragraphs], d.tables[0].cell(0, 0).text)",
            WORDS,
        ),
        Sample(
            "slides.pptx",
            _saved(slides),
            "from pptx import Presentation\n"
            "for slide in Presentation('/mnt/data/slides.pptx').slides:\n"
            "    print([shape.text for shape in slide.shapes if shape.has_text_frame])",
            WORDS,
        ),
        Sample(
            "report.pdf",
            _pdf("Revenue report 1,234"),
            "from pypdf import PdfReader\nreader = PdfReader('/mnt/data/report.pdf')\n"
            "print(len(reader.pages), reader.pages[0].extract_text())",
            "1 Revenue report 1,234",
        ),
    ]


def _saved(document: Any) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def _pdf(words: str) -> bytes:
    """One page, written by hand: object by object, and a table of where each begins."""
    content = f"BT /F1 24 Tf 72 720 Td ({words}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    pdf, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(pdf))
        pdf += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return pdf + end % (size, table, size, len(pdf))


def _images() -> list[Sample]:
    from PIL import Image

    made = []
    for extension, form in {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "gif": "GIF"}.items():
        buffer = io.BytesIO()
        Image.new("RGB", (7, 5), "red").save(buffer, form)
        code = (
            f"from PIL import Image\nimage = Image.open('/mnt/data/photo.{extension}')\nprint(image.format, image.size)"
        )
        made.append(Sample(f"photo.{extension}", buffer.getvalue(), code, f"{form} (7, 5)"))
    return made


def _archives() -> list[Sample]:
    packed, bundle = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner/보고서.txt", WORDS)
    with tarfile.open(fileobj=bundle, mode="w") as tar:
        entry = tarfile.TarInfo("inner.txt")
        entry.size = len(WORDS.encode())
        tar.addfile(entry, io.BytesIO(WORDS.encode()))
    return [
        Sample(
            "data.zip",
            packed.getvalue(),
            "import zipfile\nzipfile.ZipFile('/mnt/data/data.zip').extractall('/mnt/data/unpacked')\n"
            "print(open('/mnt/data/unpacked/inner/보고서.txt').read())",
            WORDS,
        ),
        Sample(
            "data.tar",
            bundle.getvalue(),
            "import tarfile\nwith tarfile.open('/mnt/data/data.tar') as tar:\n"
            "    tar.extractall('/mnt/data/out')\nprint(open('/mnt/data/out/inner.txt').read())",
            WORDS,
        ),
    ]
