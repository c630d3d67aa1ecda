from __future__ import annotations

import pytest

from locum.domain.files import File, mount_names, safe_filename
from locum.domain.messages import annotate


def file(file_id: str, filename: str = "x", created_at: int = 0) -> File:
    return File(id=file_id, created_at=created_at, filename=filename, purpose="assistants", bytes=1, sha256="")


def test_a_sandbox_link_is_annotated_with_the_slice_of_text_it_stands_for() -> None:
    value = "결과: [out.csv](sandbox:/mnt/data/out.csv) 😀."
    (annotation,) = annotate(value, {"out.csv": file("file-1")})
    assert value[annotation.start_index : annotation.end_index] == annotation.text == "sandbox:/mnt/data/out.csv"
    assert annotation.file_path.file_id == "file-1"


def test_every_link_is_annotated_in_the_order_of_the_text() -> None:
    value = "sandbox:/mnt/data/b.txt and sandbox:/mnt/data/a.txt and sandbox:/mnt/data/b.txt"
    found = annotate(value, {"a.txt": file("A"), "b.txt": file("B")})
    assert [each.file_path.file_id for each in found] == ["B", "A", "B"]


def test_a_name_that_begins_another_name_does_not_take_its_link() -> None:
    value = "[x](sandbox:/mnt/data/a.txt.bak)"
    (annotation,) = annotate(value, {"a.txt": file("SHORT"), "a.txt.bak": file("LONG")})
    assert annotation.file_path.file_id == "LONG"


def test_a_percent_escaped_link_finds_its_file() -> None:
    value = "[x](sandbox:/mnt/data/my%20%ED%91%9C.csv)"
    (annotation,) = annotate(value, {"my 표.csv": file("F")})
    assert annotation.text == "sandbox:/mnt/data/my%20%ED%91%9C.csv"


def test_text_without_known_links_has_no_annotations() -> None:
    assert annotate("sandbox:/mnt/data/other.csv", {"out.csv": file("F")}) == ()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("data.csv", "data.csv"),
        ("C:\\Users\\me\\data.csv", "data.csv"),
        ("../../etc/passwd", "passwd"),
        ("실적 2024.xlsx", "실적 2024.xlsx"),
        ("a\x00b\nc.txt", "abc.txt"),
        ("invoice\u202egnp.exe", "invoicegnp.exe"),
        ("..", None),
        ("/", None),
        ("   ", None),
    ],
)
def test_a_filename_is_reduced_to_its_harmless_last_part(given: str, kept: str | None) -> None:
    assert safe_filename(given) == kept


def test_of_two_equal_names_the_older_file_keeps_it_and_the_other_shows_its_id() -> None:
    older, newer = file("file-aaaaaaOLDOLD", "data.csv", 1), file("file-aaaaaaNEWNEW", "data.csv", 2)
    assert mount_names([newer, older]) == {older.id: "data.csv", newer.id: "data-NEWNEW.csv"}


def test_an_equal_name_without_a_suffix_gets_the_id_at_its_end() -> None:
    older, newer = file("file-aaaaaaOLDOLD", "Makefile", 1), file("file-aaaaaaNEWNEW", "Makefile", 2)
    assert mount_names([older, newer])[newer.id] == "Makefile-NEWNEW"
