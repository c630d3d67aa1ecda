"""What it takes to make text of files: the parsers alone, by their processor time, and a small file's way through the
sandbox.

The parsers run in this process, as they run in a session; the documents are made here, of random words and dense. A
small file is put into a session of its own, parsed, read back and the session ended: that is what isolation costs.
"Processor time" of it is that of everything: this process, sandboxd, the zygote and the sessions.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from bench import measuring
from bench.measuring import MIB, Target, quantile
from bench.server import scratch
from locum.documents.text import Text, decode
from locum.ingestion.extract.parser import MOST_TEXT_BYTES, SandboxParser
from locum.ingestion.extract.parsers import html, office, pdf
from tests.ingestion import documents

WORDS_A_PAGE = 500
_SYLLABLES = "가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허고노도로모보소오조초코토포호"


def words(count: int, seed: int, *, korean: bool = False) -> list[str]:
    chosen = random.Random(seed)
    letters, most = (_SYLLABLES, 4) if korean else ("etaoinshrdlucmfwypvbgk", 9)
    return ["".join(chosen.choices(letters, k=chosen.randint(1, most))) for _ in range(count)]


def lines(count: int, seed: int, *, korean: bool = False) -> Iterator[str]:
    """Of twelve words, as they stand on a page."""
    each = words(count, seed, korean=korean)
    return (" ".join(each[at : at + 12]) for at in range(0, count, 12))


def pdf_pages(count: int) -> bytes:
    return documents.pdf("\n".join(lines(WORDS_A_PAGE, number)) for number in range(count))


def word_document(paragraphs: int) -> bytes:
    import docx

    document = docx.Document()
    for number, paragraph in enumerate(lines(paragraphs * 12, 1)):
        document.add_paragraph(paragraph, style="Heading 2" if number % 20 == 0 else None)
    return documents.saved(document)


def slide_show(slides: int) -> bytes:
    import pptx

    show: Any = pptx.Presentation()
    for number in range(slides):
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text = f"Slide {number}"
        slide.placeholders[1].text = "\n".join(lines(72, number))
    return documents.saved(show)


def page(paragraphs: int) -> bytes:
    body = "".join(f"<p class='text'>{line} <a href='/more'>more</a></p>\n" for line in lines(paragraphs * 12, 2))
    return f"<!doctype html><meta charset=utf-8><title>A page</title><main>{body}</main>".encode()


def processor_seconds(work: Callable[[], object], rounds: int) -> list[float]:
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return taken


def parsers(folder: Path, rounds: int) -> dict[str, Any]:
    """Amounts per second of processor time, of each kind of document."""
    made: dict[str, tuple[Callable[[str, Text], None], bytes, float, str]] = {
        "PDF": (pdf.parse, pdf_pages(300), 300, "pages"),
        "Word": (office.parse, word_document(3000), 3000, "paragraphs"),
        "PowerPoint": (office.parse, slide_show(150), 150, "slides"),
    }
    markup = page(20_000)
    made["HTML"] = (html.parse, markup, len(markup) / MIB, "MiB")
    found = {}
    for name, (parse, data, amount, unit) in made.items():
        path = folder / "file"
        path.write_bytes(data)

        def work(parse: Callable[[str, Text], None] = parse, path: Path = path) -> None:
            parse(str(path), Text(MOST_TEXT_BYTES))

        rates = [amount / seconds for seconds in processor_seconds(work, rounds)]
        found[name] = {"unit": unit, "of": round(amount, 1), "per_cpu_s": measuring.spread(rates, 1)}
    for name, korean in (("plain text, English", False), ("plain text, Korean", True)):
        data = "\n".join(lines(1_000_000, 3, korean=korean)).encode()
        size = len(data) / MIB
        rates = [
            size / seconds for seconds in processor_seconds(lambda data=data: decode(data, MOST_TEXT_BYTES), rounds)
        ]
        found[name] = {"unit": "MiB", "of": round(size, 1), "per_cpu_s": measuring.spread(rates, 1)}
    return found


def _processor_time() -> float:
    """Of this process and of all below it that have ended and been waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in both)


async def small_files(folder: Path, count: int, pause: float) -> dict[str, Any]:
    """One page of PDF each, one after the other. What a start takes is measured with a single file, and left out."""
    data = pdf_pages(1)

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    async def through(number_of_files: int) -> tuple[list[float], float]:
        began, taken = _processor_time(), []
        parser = SandboxParser(folder / "sandbox-parser")
        for _ in range(number_of_files):
            await asyncio.sleep(pause)
            at = time.perf_counter()
            await parser.parse("a.pdf", chunks)
            taken.append((time.perf_counter() - at) * 1000)
        await parser.close()
        return taken, _processor_time() - began

    (first,), started = await through(1)
    taken, spent = await through(count + 1)
    return {
        "first_ms": round(first, 1),
        "start_cpu_ms": round(started * 1000),
        "p50_ms": round(quantile(taken[1:], 0.5), 2),
        "p99_ms": round(quantile(taken[1:], 0.99), 2),
        "min_ms": round(min(taken[1:]), 2),
        "cpu_ms": round((spent - started) * 1000 / count, 2),
        "count": count,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5, help="of each parser")
    arguments.add_argument("--files", type=int, default=100, help="small ones, through the sandbox")
    arguments.add_argument("--pause", type=float, default=0.1, help="seconds for a spare session to be forked in")
    options = arguments.parse_args()
    began_on = measuring.machine()
    with tempfile.TemporaryDirectory(prefix="locum-bench-", dir=scratch(), ignore_cleanup_errors=True) as name:
        figures: dict[str, Any] = {"parsers": parsers(Path(name), options.rounds)}
        figures["small_file"] = asyncio.run(small_files(Path(name), options.files, options.pause))
    rows = []
    for what, each in figures["parsers"].items():
        rate = each["per_cpu_s"]
        rows.append([what, f"{rate['median']:g}", f"{rate['max']:g}", f"{each['unit']} per CPU second"])
    measuring.print_table(["", "median", "best", ""], rows)
    small = figures["small_file"]
    measuring.print_table(
        ["a small file, through the sandbox", ""], [[key, f"{value:g}"] for key, value in small.items()]
    )
    rates = {what: each["per_cpu_s"]["median"] for what, each in figures["parsers"].items()}
    targets = [
        Target("PDF pages per CPU second", rates["PDF"], at_least=300),
        Target("plain text, English, MiB per CPU second", rates["plain text, English"], at_least=5),
        Target("plain text, Korean, MiB per CPU second", rates["plain text, Korean"], at_least=5),
        Target("a small file, CPU of all processes, ms", small["cpu_ms"], at_most=30),
    ]
    measuring.save("parsing", figures, targets, began_on)


if __name__ == "__main__":
    sys.exit(main())
