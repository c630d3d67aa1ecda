"""What the parsers make of documents: their words, in order, and their structure. They are called without a sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from locum.documents.text import Text
from locum.ingestion.extract.parsers import html, office, pdf, text
from locum.ingestion.extract.parsers.refusal import CannotParse
from tests.ingestion import documents
from tests.ingestion.documents import BODY, KOREAN, links, paragraphs, word

PARSERS = {"pdf": pdf.parse, "office": office.parse, "html": html.parse, "text": text.parse}


@pytest.fixture
def parse(tmp_path: Path):
    def parsed(kind: str, data: bytes | str) -> Text:
        path = tmp_path / "file"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        result = Text(1 << 20)
        PARSERS[kind](str(path), result)
        return result

    return parsed


def test_word(parse) -> None:
    assert str(parse("office", documents.docx())) == (
        f"# 연간 보고서\n## Revenue\n{KOREAN}\n- first\n- second\n지역 | 매출\n서울 | 1,234\n\nthe end\n"
    )


def test_word_headings_by_their_outline_and_items_by_their_number(parse) -> None:
    styles = (
        '<w:styles xmlns:w="w"><w:style w:styleId="a1"><w:name w:val="heading 1"/></w:style>'
        '<w:style w:styleId="own"><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style></w:styles>'
    )
    body = (
        '<w:p><w:pPr><w:pStyle w:val="a1"/><w:numPr/></w:pPr><w:r><w:t>One</w:t></w:r></w:p>'
        '<w:p><w:pPr><w:pStyle w:val="own"/></w:pPr><w:r><w:t>Two</w:t></w:r></w:p>'
        '<w:p><w:pPr><w:outlineLvl w:val="2"/></w:pPr><w:r><w:t>Three</w:t></w:r></w:p>'
        '<w:p><w:pPr><w:numPr><w:ilvl w:val="1"/><w:numId w:val="3"/></w:numPr></w:pPr><w:r><w:t>item</w:t></w:r></w:p>'
        '<w:p><w:pPr><w:outlineLvl w:val="9"/></w:pPr><w:r><w:t>text</w:t></w:r></w:p>'
    )
    assert str(parse("office", word(BODY.format(body), styles=styles))) == (
        "# One\n## Two\n### Three\n  - item\ntext\n"
    )


def test_word_notes_stand_where_they_are_referred_to(parse) -> None:
    body = '<w:p><w:r><w:t>A</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r><w:r><w:t>, B</w:t></w:r></w:p>'
    notes = (
        '<w:footnotes xmlns:w="w"><w:footnote w:id="2"><w:p><w:r><w:t>see </w:t></w:r><w:r><w:t>C</w:t></w:r></w:p>'
        "<w:p><w:r><w:t>and D</w:t></w:r></w:p></w:footnote></w:footnotes>"
    )
    assert str(parse("office", word(BODY.format(body), footnotes=notes))) == "A ^[see C and D], B\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r></w:p>", "a\tb\nc\n"),
        ("<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>a</w:t></w:r></w:p>", "a\n"),
        ("<w:p><w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink><w:r><w:t>ed</w:t></w:r></w:p>", "linked\n"),
        (
            "<w:p><w:del><w:r><w:delText>old</w:delText></w:r></w:del><w:ins><w:r><w:t>new</w:t></w:r></w:ins></w:p>",
            "new\n",
        ),
        ("<w:p><w:moveFrom><w:r><w:t>here</w:t></w:r></w:moveFrom><w:r><w:t>there</w:t></w:r></w:p>", "there\n"),
        ("<w:p><w:r><w:instrText>PAGE</w:instrText></w:r><w:r><w:t>7</w:t></w:r></w:p>", "7\n"),
        (  # a text box, as Word writes it: for today's programs, and again for yesterday's
            f'<w:p><w:r><w:t>around</w:t><x:AlternateContent xmlns:x="x"><x:Choice>{paragraphs("box")}</x:Choice>'
            f"<x:Fallback>{paragraphs('box')}</x:Fallback></x:AlternateContent></w:r></w:p>",
            "box\naround\n",
        ),
        (  # a table in a table's cell
            f"<w:tbl><w:tr><w:tc>{paragraphs('a', 'b')}</w:tc><w:tc><w:tbl><w:tr><w:tc>{paragraphs('c')}</w:tc>"
            f"<w:tc>{paragraphs('d')}</w:tc></w:tr></w:tbl></w:tc></w:tr></w:tbl>",
            "a b | c | d\n\n",
        ),
        ('<w:p><m:oMath xmlns:m="m"><m:r><m:t>E=mc²</m:t></m:r></m:oMath></w:p>', "E=mc²\n"),
        ("<w:sdt><w:sdtContent>" * 100 + paragraphs("deep") + "</w:sdtContent></w:sdt>" * 100, "deep\n"),
    ],
)
def test_word_says_what_a_reader_sees(parse, body: str, expected: str) -> None:
    assert str(parse("office", word(BODY.format(body)))) == expected


def test_word_of_the_strict_standard_and_at_another_place(parse) -> None:
    main = f'<d:document xmlns:d="http://purl.oclc.org/ooxml/wordprocessingml/main"><d:body>{paragraphs("x")}</d:body></d:document>'
    parts = {"_rels/.rels": links(officeDocument="/elsewhere/main.xml"), "elsewhere/main.xml": main.replace("w:", "d:")}
    assert str(parse("office", documents.archive(parts))) == "x\n"


def test_powerpoint(parse) -> None:
    slides = parse("office", documents.pptx())
    first = f"# {KOREAN}\none\ntwo\n발표자 노트\n\n"
    assert str(slides) == f"{first}# Table\n지역 | 매출\n서울 | 1,234\n\n"
    assert slides.pages.tolist() == [0, len(first)]


def test_powerpoint_slides_come_in_the_order_of_the_show(parse) -> None:
    import io

    import pptx

    show = pptx.Presentation(io.BytesIO(documents.pptx()))
    order = show.slides._sldIdLst
    order.append(order[0])
    assert str(parse("office", documents.saved(show))).startswith("# Table\n")


def test_pdf_pages(parse) -> None:
    found = parse("pdf", documents.pdf(["first line\nsecond line", "", KOREAN, "(last)"]))
    assert str(found) == f"first line\nsecond line\n\n{KOREAN}\n\n(last)\n\n"
    assert found.pages.tolist() == [0, 24, 24, 24 + len(KOREAN) + 2]


def test_pdf_words_that_a_line_s_end_has_cut_are_whole(parse) -> None:
    found = str(parse("pdf", documents.pdf(["some infor-\nmation of New-\nYork, 12-\n13"])))
    assert found == "some information of New-York, 12-\n13\n\n"


def test_html(parse) -> None:
    page = """<!doctype html><html><head><meta charset="utf-8"><title>제목</title><style>p{}</style>
    <script>alert("<p>no</p>")</script></head><body><nav><a href=/>Home</a></nav><h2>Part <b>one</b></h2>
    <p>Some <i>words</i>,<br>a line; caf&eacute; &amp; bar&nbsp;x <span>a</span><span>b</span>
    <ul><li>one<li>two <ul><li>three</ul></ul>
    <table><tr><th>지역<th>매출<tr><td><p>서울</p><td><div>1,234</div></table>
    <pre>  def f():
    return 1</pre><noscript>no</noscript><svg><text>no</text></svg>the end"""
    assert str(parse("html", page)) == (
        "# 제목\nHome\n## Part one\nSome words,\na line; café & bar x ab\n- one\n- two\n- three\n지역 | 매출\n"
        "서울 | 1,234\n  def f():\n    return 1\nthe end\n"
    )


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("매출".encode(), "매출\n"),
        ("매출".encode("utf-16"), "매출\n"),
        ("<meta charset=euc-kr><p>매출</p>".encode("cp949"), "매출\n"),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=windows-1252">caf\xe9', "café\n"),
        ("<meta charset=euc-kr>매출 보고서".encode(), "매출 보고서\n"),  # what it says of itself is wrong
        *((f"<meta charset={name}>café".encode("cp1252") * 3, "cafécafécafé\n") for name in ("none", "undefined")),
        (b"", ""),
        (b"\xef\xbb\xbf", ""),
        (b"<!-- nothing -->", ""),
        (b"<ul><li></li></ul><h1><!-- nothing --></h1><p>no item, no heading", "no item, no heading\n"),
        (b"<ul><li><p>one<p>more", "- one\nmore\n"),
        (b"<p>never closed <b>bold <i>both</b> italic <div></p>end", "never closed bold both italic\nend\n"),
        (b"<table><tr><td><table><tr><td>a<td>b<tr><td>c</table><td>d</table>", "a | b\nc\nd\n"),
    ],
)
def test_html_is_read_in_its_encoding_and_mended(parse, page: bytes, expected: str) -> None:
    assert str(parse("html", page)) == expected


@pytest.mark.parametrize("encoding", ["cp949", "utf-16-le", "utf-16-be", "shift_jis"])
def test_text_in_other_encodings_is_found_out(parse, encoding: str) -> None:
    words = {"shift_jis": "これは日本語のテキストです。売上報告書を添付します。\n"}.get(
        encoding, "안녕하세요. 이번 분기 매출 보고서를 첨부합니다.\n"
    )
    assert str(parse("text", words.encode(encoding))) == words


def test_text_of_western_europe_is_told_from_that_of_its_east(parse) -> None:
    for words, encoding in (
        ("L'été dernier, nous avons été à la plage; ça m'a plu. Où êtes-vous allé, Noël?\n", "cp1252"),
        ("Zażółć gęślą jaźń. Być może jutro będzie lepiej, źle się dzieje.\n", "cp1250"),
    ):
        assert str(parse("text", words.encode(encoding) * 3)) == words * 3


def test_utf_8_that_was_cut_or_has_a_wrong_byte_is_utf_8(parse) -> None:
    data = bytearray("안녕하세요 여러분.\n".encode() * 1000)
    data[500] = 0xFF
    assert str(parse("text", bytes(data[:-2]))).startswith("안녕하세요 여러분.\n")


def test_the_spreadsheet_is_named(parse) -> None:
    book = documents.archive({"_rels/.rels": links(officeDocument="xl/workbook.xml"), "xl/workbook.xml": "<workbook/>"})
    with pytest.raises(CannotParse, match="Excel"):
        parse("office", book)
