"""Documents of Word and PowerPoint: which of the two an archive is, by what its main part begins with."""

from __future__ import annotations

from locum.documents.text import Text
from locum.ingestion.extract.parsers import docx, pptx
from locum.ingestion.extract.parsers.package import Elements, Package
from locum.ingestion.extract.parsers.refusal import CannotParse

_OTHERS = {
    "workbook": "The file is an Excel workbook, and tables are not searched: the code interpreter reads them.",
}


class _Root(Exception):
    """The name of the first element; the rest is not of interest."""


class _Beginning(Elements):
    def begin(self, name: str, attributes: dict[str, str]) -> None:
        raise _Root(name)


def parse(path: str, text: Text) -> None:
    package = Package(path)
    main = package.main_part()
    root = ""
    try:
        package.read(main, _Beginning())
    except _Root as found:
        root = str(found)
    if root == "document":
        docx.parse(package, main, text)
    elif root == "presentation":
        pptx.parse(package, main, text)
    else:
        raise CannotParse(_OTHERS.get(root, "The file is an Office document, and not one of Word or PowerPoint."))
