"""The keyword index on a real disk, with real deaths of its writer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tantivy import Index

from locum.errors import StorageFull, Unavailable
from locum.search.keyword.index import IndexBusy, IndexUnusable, KeywordReader, KeywordWriter
from tests.disks import small_disk
from tests.search.indexing import unit

FRUIT = ["Apples grow on trees.", "Pears grow on trees as well.", "Bananas do not."]
TOOLS = ["A hammer drives nails.", "Apples are no tools."]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "terms" / "vs_1"


def units(directory: Path, text: str, **options: object) -> list[tuple[str, int]]:
    hits = KeywordReader(directory).search(text, 10, **options)  # type: ignore[arg-type]
    return [(hit.unit, hit.ordinal) for hit in hits]


def test_the_chunk_with_more_of_the_words_comes_first(directory: Path) -> None:
    KeywordWriter(directory).apply(remove=[], add=[unit("fruit", FRUIT), unit("tools", TOOLS)])
    assert units(directory, "which pears grow")[0] == ("fruit", 1)
    assert units(directory, "hammer") == [("tools", 0)]
    assert set(units(directory, "apple")) == {("fruit", 0), ("tools", 1)}


def test_a_share_is_of_what_the_query_asks(directory: Path) -> None:
    KeywordWriter(directory).apply(remove=[], add=[unit("fruit", FRUIT), unit("tools", TOOLS)])
    reader = KeywordReader(directory)
    (whole,) = reader.search("hammer nails", 10)
    (half,) = reader.search("hammer xylophone", 10)
    assert whole.share > 0.8
    assert half.share < whole.share / 1.5


def test_only_allowed_units_are_found(directory: Path) -> None:
    KeywordWriter(directory).apply(remove=[], add=[unit("fruit", FRUIT), unit("tools", TOOLS)])
    assert units(directory, "apples", allowed={"tools"}) == [("tools", 1)]
    assert units(directory, "apples", allowed={"nothing"}) == []
    assert units(directory, "apples", allowed=()) == []


def test_what_is_allowed_does_not_change_scores(directory: Path) -> None:
    KeywordWriter(directory).apply(remove=[], add=[unit("fruit", FRUIT), unit("tools", TOOLS)])
    reader = KeywordReader(directory)
    of_all = {hit.unit: hit for hit in reader.search("apples", 10)}
    (alone,) = reader.search("apples", 10, {"tools"})
    assert alone.share == pytest.approx(of_all["tools"].share)


def test_a_reader_sees_the_last_commit(directory: Path) -> None:
    reader, writer = KeywordReader(directory), KeywordWriter(directory)
    assert not reader.is_there
    assert reader.search("apples", 10) == []
    assert reader.languages() == {}
    writer.apply(remove=[], add=[unit("fruit", FRUIT)])
    assert reader.is_there
    assert [hit.unit for hit in reader.search("apples", 10)] == ["fruit"]
    writer.apply(remove=["fruit"], add=[unit("tools", TOOLS)])
    assert [hit.unit for hit in reader.search("apples", 10)] == ["tools"]
    shutil.rmtree(directory)
    assert reader.search("apples", 10) == []
    writer.apply(remove=[], add=[unit("fruit", FRUIT)])
    assert [hit.unit for hit in reader.search("apples", 10)] == ["fruit"]


def test_applying_twice_is_as_good_as_once(directory: Path) -> None:
    writer = KeywordWriter(directory)
    for _ in range(2):
        writer.apply(remove=["old", "never there"], add=[unit("fruit", FRUIT)])
    assert sorted(units(directory, "grow trees")) == [("fruit", 0), ("fruit", 1)]
    for _ in range(2):
        writer.apply(remove=["fruit"], add=[])
    assert units(directory, "grow trees") == []


def test_a_unit_that_is_applied_again_is_replaced(directory: Path) -> None:
    writer = KeywordWriter(directory)
    writer.apply(remove=[], add=[unit("unit", FRUIT)])
    writer.apply(remove=[], add=[unit("unit", ["Only cherries are left."])])
    assert units(directory, "apples") == []
    assert units(directory, "cherries") == [("unit", 0)]


def test_a_query_without_words_finds_nothing(directory: Path) -> None:
    KeywordWriter(directory).apply(remove=[], add=[unit("fruit", FRUIT)])
    assert units(directory, "") == []
    assert units(directory, "?!") == []


def test_a_very_long_query_is_searched_by_its_beginning(directory: Path) -> None:
    KeywordWriter(directory).apply(remove=[], add=[unit("fruit", FRUIT)])
    assert units(directory, "pears " + " ".join(f"word{number}" for number in range(20_000)))[0] == ("fruit", 1)


def test_what_looks_like_query_syntax_is_words(directory: Path) -> None:
    KeywordWriter(directory).apply(remove=[], add=[unit("fruit", FRUIT)])
    assert units(directory, 'unit:fruit AND "pears" OR (* -[a TO b]') == [("fruit", 1)]


def test_languages_are_counted_by_chunk(directory: Path) -> None:
    KeywordWriter(directory).apply(
        remove=[],
        add=[unit("a", ["This is the one.", "Das ist die andere und keine weitere."]), unit("b", ["한국어입니다"])],
    )
    assert KeywordReader(directory).languages() == pytest.approx({"en": 1 / 3, "de": 1 / 3, "ko": 1 / 3})


def test_a_second_writer_is_told_that_the_index_is_busy(directory: Path) -> None:
    KeywordWriter(directory).apply(remove=[], add=[unit("fruit", FRUIT)])
    other = Index.open(str(directory)).writer(heap_size=15_000_000, num_threads=1)
    with pytest.raises(IndexBusy):
        KeywordWriter(directory).apply(remove=["fruit"], add=[])
    assert units(directory, "pears") == [("fruit", 1)]
    other.wait_merging_threads()
    KeywordWriter(directory).apply(remove=["fruit"], add=[])
    assert units(directory, "pears") == []


def test_an_error_on_the_way_changes_nothing_and_lets_go_of_the_index(directory: Path) -> None:
    writer = KeywordWriter(directory)
    writer.apply(remove=[], add=[unit("fruit", FRUIT)])

    def failing() -> object:
        yield unit("tools", TOOLS)
        raise ValueError("the text is gone")

    with pytest.raises(ValueError, match="the text is gone"):
        writer.apply(remove=["fruit"], add=failing())  # type: ignore[arg-type]
    assert units(directory, "apples") == [("fruit", 0)]
    writer.apply(remove=[], add=[unit("tools", TOOLS)])
    assert units(directory, "hammer") == [("tools", 0)]


@pytest.mark.parametrize("spoil", ["meta", "segment", "missing segment", "other"])
def test_a_spoiled_index_is_said_to_be_unusable_and_can_be_built_again(directory: Path, spoil: str) -> None:
    writer = KeywordWriter(directory)
    writer.apply(remove=[], add=[unit("fruit", FRUIT)])
    match spoil:
        case "meta":
            (directory / "meta.json").write_text("{")
        case "segment":
            for path in directory.glob("*.term"):
                path.write_bytes(b"nonsense")
        case "missing segment":
            for path in directory.glob("*.idx"):
                path.unlink()
        case _:
            (directory / "meta.json").write_text((directory / "meta.json").read_text().replace("characters", "letters"))
    with pytest.raises(IndexUnusable):
        KeywordReader(directory).search("apples", 10)
    with pytest.raises(IndexUnusable):
        writer.apply(remove=[], add=[unit("tools", TOOLS)])
    shutil.rmtree(directory)
    writer.apply(remove=[], add=[unit("fruit", FRUIT)])
    assert units(directory, "apples") == [("fruit", 0)]


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    with small_disk(tmp_path / "small", "1m") as folder:
        yield folder


def test_a_full_disk_is_not_taken_for_a_spoiled_index_and_room_is_all_it_takes(small_disk: Path) -> None:
    directory, filler = small_disk / "vs_1", small_disk / "filler"
    writer = KeywordWriter(directory)
    writer.apply(remove=[], add=[unit("fruit", FRUIT)])
    filler.write_bytes(bytes(200_000))
    with pytest.raises(StorageFull):
        writer.apply(remove=["fruit"], add=[unit("much", [f"word{n} " * 20 + f"{n * n}x{n}" for n in range(60_000)])])
    assert units(directory, "pears") == [("fruit", 1)]
    filler.unlink()
    writer.apply(remove=[], add=[unit("tools", TOOLS)])
    assert units(directory, "hammer") == [("tools", 0)]
    assert sum(path.stat().st_size for path in directory.iterdir()) < 100_000


_WRITER = """
import sys
from collections.abc import Iterator
from pathlib import Path
from locum.search.keyword.index import KeywordWriter
from tests.search.indexing import unit

writer = KeywordWriter(Path(sys.argv[1]))
for number in range(10_000):
    writer.apply(remove=[f"unit{number - 3}"], add=[unit(f"unit{number}", [f"chunk{n} common" for n in range(50)])])
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_whole_commits_and_no_lock(directory: Path) -> None:
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", _WRITER, str(directory)], stdout=subprocess.PIPE, cwd=ROOT)
        assert child.stdout is not None
        committed = [int(child.stdout.readline()) for _ in range(4)][-1]
        child.kill()
        child.wait()
        committed = max([committed, *(int(line) for line in child.stdout.read().split())])
        child.stdout.close()
        hits = KeywordReader(directory).search("common", 1000)
        by_unit = {hit.unit: sum(other.unit == hit.unit for other in hits) for hit in hits}
        assert set(by_unit.values()) == {50}
        assert f"unit{committed}" in by_unit
    KeywordWriter(directory).apply(remove=[], add=[unit("fruit", FRUIT)])
    assert units(directory, "pears") == [("fruit", 1)]


@pytest.mark.skipif(sys.platform == "win32", reason="bounds of a process")
def test_an_index_that_cannot_be_opened_just_now_is_not_a_spoiled_one(directory: Path) -> None:
    import resource

    KeywordWriter(directory).apply(remove=[], add=[unit("fruit", FRUIT)])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # every file that is opened is one too many
    try:
        with pytest.raises(Unavailable) as failure:
            units(directory, "apples")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files" in failure.value.message
    assert units(directory, "apples")
