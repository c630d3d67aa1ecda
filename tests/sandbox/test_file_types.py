"""Files of every supported type can be read in a session with what is installed there, as a model would read them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.file_types import Sample, samples
from tests.sandbox.conftest import Box

SAMPLES = samples()


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_a_file_is_read_by_what_a_model_writes(sample: Sample, box: Box, key: str) -> None:
    box.put(key, sample.name, sample.content)
    result = box.cell(key, sample.code)
    assert result.ok, result.logs
    assert sample.expected in result.logs


@pytest.mark.skipif(
    "LOCUM_SPEC_DIR" not in os.environ, reason="LOCUM_SPEC_DIR names no folder with the published files"
)
def test_the_samples_are_of_the_published_types() -> None:
    table = json.loads((Path(os.environ["LOCUM_SPEC_DIR"]) / "file-types-and-limits.json").read_text())
    assert {f".{extension}" for extension in SAMPLES} == {each["ext"] for each in table["code_interpreter"]}


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import docx\nd = docx.Document(); d.add_paragraph('보고서'); d.save('a.docx')", ["a.docx"]),
        ("import pptx\np = pptx.Presentation(); p.slides.add_slide(p.slide_layouts[0]); p.save('a.pptx')", ["a.pptx"]),
        (
            "from pypdf import PdfWriter\nw = PdfWriter(); w.add_blank_page(99, 99); w.write('a.pdf');",
            ["a.pdf"],
        ),
        (
            "import matplotlib.pyplot as plt\nfrom matplotlib.backends.backend_pdf import PdfPages\n"
            "with PdfPages('b.pdf') as pages:\n    plt.figtext(0, 0, '한글'); pages.savefig()\nplt.close();",
            ["b.pdf"],
        ),
        ("import networkx as nx\nnx.write_gml(nx.path_graph(3), 'a.gml')", ["a.gml"]),
    ],
)
def test_documents_are_written_too(code: str, names: list[str], box: Box, key: str) -> None:
    result = box.cell(key, code)
    assert (result.logs.startswith("Traceback"), [file.name for file in result.files]) == (False, names), result.logs
