"""Parsing behind the sandbox's walls: every kind of file, hostile ones, and what becomes of the next file."""

from __future__ import annotations

import asyncio
import io
import random
import subprocess
import sys
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from locum.domain.vector_stores import SEARCHABLE
from locum.ingestion.extract.parser import PROFILE, Parsed, SandboxParser
from locum.sandbox.client import Sandbox
from locum.sandbox.limits import MIB
from tests.file_types import WORDS, samples
from tests.ingestion import documents
from tests.ingestion.documents import BODY, KOREAN, archive, links, paragraphs, pdf, word
from tests.sandbox.conftest import pieces, wait_until
from tests.search.conftest import Parsing, chunks_of, require_sandbox

FINE = word(BODY.format(paragraphs(KOREAN)))
FINE_TEXT = f"{KOREAN}\n"
MANY_ENDS = b"<b>" * 1900 + b"</i>" * 5_000_000
"""Finding nothing to end takes as long as there are elements open: half a minute for all of it."""


@pytest.mark.parametrize("ending", sorted(SEARCHABLE - {"doc"}))
def test_every_ending_that_is_searched_is_read(parsing: Parsing, ending: str) -> None:
    made = samples()
    if ending in made and ending != "pdf":
        assert WORDS in parsing.parse(made[ending].name, made[ending].content).text
    elif ending == "pdf":
        assert parsing.parse("a.pdf", pdf(["one", KOREAN])) == Parsed(f"one\n\n{KOREAN}\n\n", (0, 5))
    else:
        assert parsing.parse(f"프로그램.{ending}", f"// {WORDS}\r\n".encode("utf-8-sig")).text == f"// {WORDS}\n"


def test_pages_are_told(parsing: Parsing) -> None:
    slides = parsing.parse("a.pptx", documents.pptx())
    assert [slides.text[at:].split("\n")[0] for at in slides.pages] == [f"# {KOREAN}", "# Table"]


def test_what_a_file_is_counts_for_more_than_what_it_is_called(parsing: Parsing) -> None:
    assert parsing.parse("a.txt", pdf(["in truth a PDF"])).text == "in truth a PDF\n\n"
    assert parsing.parse("a.pdf", FINE).text == FINE_TEXT
    assert parsing.parse("a.doc", FINE).text == FINE_TEXT


def test_text_in_an_encoding_that_has_to_be_guessed_is_read(parsing: Parsing) -> None:
    words = "안녕하세요. 이번 분기 매출 보고서를 첨부합니다.\n"
    assert parsing.parse("a.txt", words.encode("cp949")).text == words


@cache
def _bomb() -> bytes:
    """Two MiB that become two GiB: one deflated MiB of blanks, many times. To deflate them all takes ten seconds."""
    deflate = zlib.compressobj(wbits=-15)
    begin = deflate.compress(BODY.partition("{}")[0].encode()) + deflate.flush(zlib.Z_FULL_FLUSH)
    blanks = deflate.compress(b" " * MIB) + deflate.flush(zlib.Z_FULL_FLUSH)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("_rels/.rels", links(officeDocument="word/document.xml"))
        file.writestr("word/document.xml", begin + blanks * 2048 + deflate.flush())
        part = file.getinfo("word/document.xml")
        part.compress_type, part.file_size = zipfile.ZIP_DEFLATED, 2048 * MIB
    return packed.getvalue()


def _billion_laughs() -> bytes:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    return word(f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><document>&a11;</document>')


def _deep_slide() -> bytes:
    depth = 200_000
    slide = "<p:sld xmlns:p='p'>" + "<p:grpSp>" * depth + "</p:grpSp>" * depth + "</p:sld>"
    show = "<p:presentation xmlns:p='p' xmlns:r='r'><p:sldId id='1' r:id='slide'/></p:presentation>"
    parts = {"_rels/.rels": links(officeDocument="ppt/presentation.xml"), "ppt/presentation.xml": show}
    return archive(parts | {"ppt/_rels/presentation.xml.rels": links(slide="slide.xml"), "ppt/slide.xml": slide})


HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty": ("a.txt", bytes, "0 bytes"),
    "blank": ("a.md", lambda: b" \r\n\t", "no text in it"),
    "blank document": ("a.docx", lambda: word(BODY.format("")), "no text in it"),
    "random bytes as text": ("a.txt", lambda: random.Random(1).randbytes(5000), "no text in any encoding"),
    "random bytes as a page": ("a.html", lambda: random.Random(2).randbytes(5000), "no text in any encoding"),
    "a picture as text": ("a.txt", lambda: b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG picture"),
    "an archive as PDF": ("a.pdf", lambda: archive({"a": "b"}), "a ZIP archive, and not a document"),
    "an archive as text": ("a.txt", lambda: archive({"a": "b"}), "a ZIP archive, and not a document"),
    "a workbook": (
        "a.docx",
        lambda: archive({"_rels/.rels": links(officeDocument="x"), "x": "<workbook/>"}),
        "Excel workbook",
    ),
    "too much text": ("a.txt", lambda: b"a" * (65 * MIB), "more than 64 MiB of text"),
    "too large a page": ("a.html", lambda: b" " * (129 * MIB), "larger than 128 MiB"),
    "PDF that is cut off": ("a.pdf", lambda: pdf(["words"] * 50)[:3000], "cut off"),
    "PDF with a password": ("a.pdf", lambda: pdf(["words"], encrypted=True), "protected by a password"),
    "PDF of random bytes": ("a.pdf", lambda: b"%PDF-1.4\n" + random.Random(3).randbytes(99_999) + b"%%EOF", "damaged"),
    "PDF without text": ("a.pdf", lambda: pdf([""] * 10_000), "its pages (10000) are blank, or scanned"),
    "PDF of too many pages": ("a.pdf", lambda: pdf(["x"] * 20_001), "20001 pages, and at most 20000"),
    "Word that is cut off": ("a.docx", lambda: documents.docx()[:9000], "cut off, or damaged"),
    "Word with a wrong part": ("a.docx", lambda: word("<document><p>"), "damaged, or cut off"),
    "Word with a number that is none": (
        "a.docx",
        lambda: word(BODY.format(f'<w:p><w:pPr><w:numPr><w:ilvl w:val="{"9" * 5000}"/></w:numPr></w:pPr></w:p>')),
        "made in a way that the parser does not know (ValueError)",
    ),
    "a bomb": ("a.docx", _bomb, "200 times larger when unpacked"),
    "a billion laughs": ("a.docx", _billion_laughs, "document type declaration"),
    "another's file": (
        "a.docx",
        lambda: word(
            '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><document><p><r><t>&a;</t></r></p></document>'
        ),
        "document type declaration",
    ),
    "too many entries": ("a.docx", lambda: archive({f"{n}": "" for n in range(20_001)}), "more than 20000 files"),
    "nested elements": ("a.html", lambda: b"<div>" * 300_000 + b"x", "nested more than 2000 deep"),
    "deep slide": ("a.pptx", _deep_slide, "no text in it"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_fails_in_words_and_the_next_one_is_fine(parsing: Parsing, name: str) -> None:
    filename, make, words = HOSTILE[name]
    refusal = parsing.refusal(filename, make())
    assert refusal.code == "invalid_file"
    assert words in refusal.message
    assert parsing.parse("a.docx", FINE).text == FINE_TEXT


def test_a_pdf_of_ten_thousand_pages_is_read(parsing: Parsing) -> None:
    found = parsing.parse("a.pdf", pdf(f"page {number}" for number in range(10_000)))
    assert len(found.pages) == 10_000
    assert found.text[found.pages[-1] :] == "page 9999\n\n"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"cpu_seconds": 1}, "more than 1 seconds of processor time"),
        ({"cell_seconds": 1}, "longer than 1 seconds"),
        ({"memory_bytes": 96 * MIB}, "more than 96 MiB of memory"),
        ({"disk_bytes": 8 * MIB}, "larger than 8 MiB"),
    ],
)
def test_a_file_that_takes_too_much_fails_with_what_it_took(tmp_path: Path, limits: dict[str, int], words: str) -> None:
    require_sandbox()
    parsing = Parsing(tmp_path / "sandbox-parser", limits=limits)
    try:
        refusal = parsing.refusal("a.html", MANY_ENDS if "memory_bytes" not in limits else b"<p>words " * (8 * MIB))
        assert refusal.code == "invalid_file"
        assert words in refusal.message
        assert parsing.parse("a.docx", FINE).text == FINE_TEXT
    finally:
        parsing.close()


def test_files_that_are_parsed_at_once_have_each_its_own_text(parsing: Parsing) -> None:
    async def all_of_them() -> list[Parsed]:
        files = [(f"{n}.docx", word(BODY.format(paragraphs(f"this is {n}")))) for n in range(8)]
        return await asyncio.gather(*(parsing.parser.parse(name, chunks_of(data)) for name, data in files))

    assert [found.text for found in parsing.run(all_of_them())] == [f"this is {n}\n" for n in range(8)]


def test_a_file_that_nobody_waits_for_any_more_leaves_its_session(parsing: Parsing) -> None:
    async def give_up() -> int:
        slow = asyncio.create_task(parsing.parser.parse("a.html", chunks_of(MANY_ENDS)))
        beside = parsing.parser._sandbox
        while (stats := await beside.stats()) is None or not stats.busy_sessions:  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)
        async with parsing.parser._presence():
            slow.cancel()
            await asyncio.gather(slow, return_exceptions=True)
            assert slow.cancelled()
            stats = await beside.stats()
            assert stats is not None
            return stats.sessions

    assert parsing.run(give_up()) == 0
    assert parsing.parse("a.docx", FINE).text == FINE_TEXT


def test_a_session_sees_its_own_file_only_and_gives_way_to_the_server(tmp_path: Path) -> None:
    require_sandbox()

    async def see() -> tuple[list[str], list[str]]:
        sandbox = Sandbox(tmp_path / "sandbox-parser", profile=PROFILE)
        try:
            for name in ("one", "other"):
                await sandbox.open(name)
                await sandbox.put(name, f"{name}.pdf", "", pieces(b"x"))
            code = "import glob, os, sys\nprint(*glob.glob('/mnt/data/*'), os.nice(0) >= 10, 'numpy' in sys.modules)"
            found = [(await sandbox.execute(name, name, code)).logs.split() for name in ("one", "other")]
            return found[0], found[1]
        finally:
            await sandbox.close()

    assert asyncio.run(see()) == (["/mnt/data/one.pdf", "True", "False"], ["/mnt/data/other.pdf", "True", "False"])


def test_a_session_that_lies_is_not_believed(tmp_path: Path) -> None:
    """The builder that reads PDF files is large: one of them may make of a session what it likes."""
    require_sandbox()
    lies = {
        "not JSON": "open('outcome', 'w').write('{')",
        "other JSON": "open('outcome', 'w').write('[1, 2]')",
        "nothing": "pass",
        "pages beyond the text": "leave('text', [0, 99])",
        "pages in no order": "leave('text', [3, 1])",
        "no UTF-8": "leave(b'\\xff', [])",
        "text that is not clean": "leave('a\\0b', [])",
        "more than there can be": "open('text', 'wb').truncate(65 << 20); leave(None, [])",
    }
    leave = (
        "import json\ndef leave(text, pages):\n"
        "    text is None or open('text', 'wb').write(text if isinstance(text, bytes) else text.encode())\n"
        "    open('outcome', 'w').write(json.dumps({'error': None, 'pages': pages}))\n"
    )

    class Lying(Sandbox):
        """Runs another code than it is given: what a session does that has been taken over."""

        lie = ""

        async def execute(self, session, call_id, code, on_output=None, *, preface=""):  # type: ignore[no-untyped-def]
            return await super().execute(session, call_id, leave + self.lie, on_output, preface=preface)

    parsing = Parsing(tmp_path / "sandbox-parser")
    parsing.parser._sandbox = lying = Lying(tmp_path / "sandbox-parser", profile=PROFILE)
    try:
        for name, lie in lies.items():
            lying.lie = lie
            refusal = parsing.refusal("a.docx", FINE)
            assert (refusal.code, "no text" in refusal.message) == ("invalid_file", True), name
        lying.lie = "open('outcome', 'w').write(json.dumps({'error': '\\x1b[1mwords' + 'x' * 9999, 'pages': []}))"
        assert parsing.refusal("a.docx", FINE).message.startswith("wordsx")
        assert len(parsing.refusal("a.docx", FINE).message) <= 500
    finally:
        parsing.close()


def test_the_server_itself_loads_no_parser() -> None:
    parsers = ["lxml", "pypdfium2", "charset_normalizer"]
    code = f"import sys, locum.ingestion.extract.parser; print([name for name in {parsers} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_nothing_is_started_for_plain_text_and_all_ends_when_no_file_comes(tmp_path: Path) -> None:
    require_sandbox()
    parsing = Parsing(tmp_path / "sandbox-parser", limits={"linger_seconds": 0.2})
    try:
        parsing.parse("a.txt", WORDS.encode())
        assert not parsing.directory.exists()
        parsing.parse("a.docx", FINE)
        process = parsing.parser._sandbox._process
        assert process is not None
        wait_until(lambda: process.poll() is not None)
        assert parsing.parse("a.docx", FINE).text == FINE_TEXT
    finally:
        parsing.close()


def test_a_small_text_is_fetched_once(tmp_path: Path) -> None:
    async def fetches(content: bytes) -> int:
        count = 0

        def chunks() -> AsyncIterator[bytes]:
            nonlocal count
            count += 1
            return chunks_of(content)()

        parser = SandboxParser(tmp_path, mode="off")
        assert (await parser.parse("a.txt", chunks)).text == content.decode()
        await parser.close()
        return count

    assert asyncio.run(fetches(b"small")) == 1
    assert asyncio.run(fetches(b"large " * 100_000)) == 2


def test_a_sandboxd_that_dies_under_a_file_is_begun_again(tmp_path: Path) -> None:
    require_sandbox()
    parsing = Parsing(tmp_path / "sandbox-parser")

    async def parse_while_it_dies() -> Parsed:
        async def chunks():
            yield FINE[:2000]
            if (process := parsing.parser._sandbox._process) is not None and not killed:
                killed.append(process.pid)
                process.kill()
            yield FINE[2000:]

        return await parsing.parser.parse("a.docx", chunks)

    killed: list[int] = []
    try:
        assert parsing.run(parse_while_it_dies()).text == FINE_TEXT
        assert killed
    finally:
        parsing.close()


def test_one_that_cannot_be_begun_again_is_the_server_s_fault(tmp_path: Path) -> None:
    require_sandbox()
    parsing = Parsing(tmp_path / "sandbox-parser")

    async def chunks():
        if (process := parsing.parser._sandbox._process) is not None:
            process.kill()
        yield FINE

    try:
        with pytest.raises(Exception, match="The parser died while it read this file"):
            parsing.run(parsing.parser.parse("a.docx", chunks))
        assert parsing.parse("a.docx", FINE).text == FINE_TEXT
    finally:
        parsing.close()


@pytest.mark.parametrize(
    ("name", "data", "beginning"),
    [
        ("a.pdf", pdf(["x"]), "PDF files are parsed in the sandbox"),
        ("a.docx", FINE, "Documents of Word and PowerPoint are parsed in the sandbox"),
        ("a.html", b"<p>", "HTML files are parsed in the sandbox"),
        ("a.txt", "매출".encode("cp949"), "Text that is not in UTF-8, UTF-16 or ASCII is parsed in the sandbox"),
    ],
)
def test_without_a_sandbox_what_needs_it_says_how_to_have_it(
    tmp_path: Path, name: str, data: bytes, beginning: str
) -> None:
    parsing = Parsing(tmp_path / "sandbox-parser", mode="off")
    try:
        refusal = parsing.refusal(name, data)
        assert refusal.code == "server_error"
        assert refusal.message.startswith(beginning)
        assert refusal.message.endswith("To have it: set LOCUM_SANDBOX=auto.")
        assert parsing.parse("a.md", "# 매출".encode("utf-16")).text == "# 매출"
    finally:
        parsing.close()


@pytest.fixture(scope="module", params=["landlock", "weak"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, readable_python: Path
) -> Iterator[Parsing]:
    settings = {"mode": request.param, "accepts_weak": True, "python": readable_python}
    require_sandbox(**settings)
    parsing = Parsing(tmp_path_factory.mktemp("data") / "sandbox-parser", **settings)
    yield parsing
    parsing.close()


@pytest.mark.parametrize("name", ["PDF with a password", "a bomb", "nested elements"])
def test_the_lower_tiers_parse_too(shared: Parsing, name: str) -> None:
    filename, make, words = HOSTILE[name]
    assert words in shared.refusal(filename, make()).message
    assert shared.parse("a.pdf", pdf(["one", KOREAN])) == Parsed(f"one\n\n{KOREAN}\n\n", (0, 5))
    assert shared.parse("a.docx", FINE).text == FINE_TEXT


def test_a_parser_has_a_version() -> None:
    assert SandboxParser.version
