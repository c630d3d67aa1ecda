"""The ZIP archive that an Office document is: its parts, and which of them belongs to which.

Covered: the number of entries, the bytes that come out of them (counted, not believed), how many times larger than
packed that may be, document types and with them entities (Office's files have none). Parts are not made into trees, so
that it is no matter how deep they are. Not covered: what is beside the parts that are asked for; it is not unpacked.
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from lxml import etree

from locum.ingestion.extract.parsers.refusal import CannotParse

MOST_ENTRIES = 20_000
MOST_UNPACKED = 1 << 30
"""Bytes, of all parts together."""
MOST_TIMES = 200
_UNSUSPICIOUS = 16 << 20
"""Bytes up to which a part may be packed as well as it likes."""
_PIECE = 64 * 1024


class Link(NamedTuple):
    """To another part. kind: the last word of the relationship's type, such as `slide`."""

    kind: str
    part: str


class Package:
    """An archive that is open for reading its parts."""

    def __init__(self, path: str) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile:  # what is in an archive is listed at its end
            words = "The file is cut off, or damaged: it begins as an Office document and does not end so."
            raise CannotParse(words) from None
        if len(self._archive.infolist()) > MOST_ENTRIES:
            raise CannotParse(f"The file is an archive of more than {MOST_ENTRIES} files.")
        self._unpacked = 0

    def main_part(self) -> str:
        """The part that everything hangs on; CannotParse when this is some other archive."""
        main = [link.part for link in self.links("").values() if link.kind == "officeDocument"]
        if not main or not self.has(main[0]):
            raise CannotParse("The file is a ZIP archive, and not a document of Word or PowerPoint (.docx, .pptx).")
        return main[0]

    def has(self, part: str) -> bool:
        return part in self._archive.NameToInfo

    def links(self, part: str) -> dict[str, Link]:
        """What a part refers to, by the ids it uses. "" is the package itself."""
        folder, name = posixpath.split(part)
        links = _Links(folder)
        listed = posixpath.join(folder, "_rels", f"{name}.rels")
        if self.has(listed):
            self.read(listed, links)
        return links.found

    def read(self, part: str, target: Any) -> None:
        """Tell `target` of every element of a part, as it comes: lxml's protocol, but that it has no document type."""
        parser = etree.XMLParser(target=target, resolve_entities=False, no_network=True, load_dtd=False)
        for piece in self._bytes_of(part):
            parser.feed(piece)
        parser.close()

    def _bytes_of(self, part: str) -> Iterator[bytes]:
        entry = self._archive.getinfo(part)
        if entry.flag_bits & 1:
            raise CannotParse("The file is protected by a password: upload it without one.")
        size = 0
        with self._archive.open(entry) as file:
            while piece := file.read(_PIECE):
                size += len(piece)
                self._unpacked += len(piece)
                if size > max(_UNSUSPICIOUS, MOST_TIMES * entry.compress_size):
                    raise CannotParse(f"{part} in the file becomes more than {MOST_TIMES} times larger when unpacked.")
                if self._unpacked > MOST_UNPACKED:
                    raise CannotParse(f"The file becomes more than {MOST_UNPACKED >> 20} MiB when unpacked.")
                yield piece


class Elements:
    """A target that passes on elements by their names without namespaces (there are two sets of these), but for those
    that are `unseen`, and what is in them."""

    unseen: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._within_unseen = 0

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        pass

    def finish(self, name: str) -> None:
        pass

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = local(tag)
        if self._within_unseen or name in self.unseen:
            self._within_unseen += 1
        else:
            self.begin(name, attributes)

    def end(self, tag: str) -> None:
        if self._within_unseen:
            self._within_unseen -= 1
        else:
            self.finish(local(tag))

    def data(self, data: str) -> None:
        pass

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise CannotParse("The file has a document type declaration, which no Office document has.")

    def close(self) -> None:
        pass


class _Links(Elements):
    def __init__(self, folder: str) -> None:
        super().__init__()
        self.found: dict[str, Link] = {}
        self._folder = folder

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        target = attributes.get("Target", "")
        if name == "Relationship" and attributes.get("TargetMode") != "External":
            part = posixpath.normpath(posixpath.join("/", self._folder, target)).lstrip("/")
            self.found[attributes.get("Id", "")] = Link(attributes.get("Type", "").rpartition("/")[2], part)


def local(name: str) -> str:
    return name.rpartition("}")[2]


def attribute(attributes: dict[str, str], name: str) -> str | None:
    """By its name without its namespace."""
    return next((value for key, value in attributes.items() if local(key) == name), None)
