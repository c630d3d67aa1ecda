"""The host's hands in a hostile folder, without a session around it: the folder is an ordinary one here."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from locum.sandbox.host import collect
from locum.sandbox.limits import Limits


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    for name in ("data", "images", "tmp"):
        (tmp_path / name).mkdir()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def names(folder: int, before: collect.Snapshot | None = None, limits: Limits = Limits()) -> list[str]:  # noqa: B008
    return [found.name for found in collect.changed_files(folder, before or {}, limits)[0]]


def test_only_what_is_new_or_different(folder: int, tmp_path: Path) -> None:
    for name in ("same", "changed"):
        (tmp_path / "data" / name).write_text("x")
    before = collect.snapshot(folder)
    (tmp_path / "data/changed").write_text("xx")
    (tmp_path / "data/new").write_text("x")
    assert sorted(names(folder, before)) == ["changed", "new"]


def test_a_fifo_a_link_and_a_hidden_file_are_passed_over(folder: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data/fifo")
    (tmp_path / "data/link").symlink_to("/etc/passwd")
    (tmp_path / "data/loop").symlink_to(".")
    (tmp_path / "data/.hidden").write_text("x")
    assert names(folder) == []


def test_the_data_folder_itself_swapped_for_a_link_is_not_followed(folder: int, tmp_path: Path) -> None:
    (tmp_path / "data").rmdir()
    (tmp_path / "data").symlink_to("/etc")
    assert names(folder) == []
    with pytest.raises(OSError, match="openat2"):
        collect.Incoming(folder, "x", -1)


def test_a_file_swapped_after_it_was_found_is_not_read(folder: int, tmp_path: Path) -> None:
    target = tmp_path / "data/a"
    target.write_text("mine")
    ((found,), _) = collect.changed_files(folder, {}, Limits())
    target.unlink()
    target.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="openat2"):
        list(collect.read(folder, found))
    target.unlink()
    (tmp_path / "data/b").write_text("another")
    (tmp_path / "data/c").write_text("one more: the number of the first may be used again")
    (tmp_path / "data/c").rename(target)
    with pytest.raises(FileNotFoundError):
        list(collect.read(folder, found))


def test_a_file_that_grows_is_read_up_to_the_size_it_had(folder: int, tmp_path: Path) -> None:
    (tmp_path / "data/a").write_bytes(b"x" * 10)
    ((found,), _) = collect.changed_files(folder, {}, Limits())
    (tmp_path / "data/a").write_bytes(b"y" * 1000)
    assert b"".join(collect.read(folder, found)) == b"y" * 10


def test_limits_leave_files_out_and_count_them(folder: int, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"data/{number}").write_bytes(b"x" * 100)
    kept, left_out = collect.changed_files(folder, {}, Limits(files_per_cell=3))
    assert (len(kept), len(left_out)) == (3, 2)
    kept, left_out = collect.changed_files(folder, {}, Limits(files_bytes_per_cell=250))
    assert (len(kept), len(left_out)) == (2, 3)


def test_a_folder_is_not_searched_without_end(folder: int, tmp_path: Path) -> None:
    deep = tmp_path / "data" / "/".join("d" * 20)
    deep.mkdir(parents=True)
    (deep / "x").write_text("x")
    assert names(folder) == []


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"a.txt", "a.txt"),
        (b"sub/a.txt", "sub/a.txt"),
        (b"a\nb\x1b[31m.txt", "a_b.txt"),
        (b"a\\b", "a_b"),
        (b"../../x", "x"),
        (b"\xff", "�"),
        (b" . / x ", "x"),
        (b"\x01", "unnamed"),
        ("매출.csv".encode(), "매출.csv"),
        (b"x" * 255 + b"/" + b"y" * 251 + b".csv", "y" * 251 + ".csv"),
    ],
)
def test_a_name_is_made_safe(raw: bytes, shown: str) -> None:
    assert collect.safe_name(raw) == shown


def test_names_that_become_the_same_are_told_apart(folder: int, tmp_path: Path) -> None:
    for name in ("a\x01.txt", "a\x02.txt", "a.txt"):
        (tmp_path / "data" / name).write_text("x")
    assert sorted(names(folder)) == ["a-2.txt", "a-3.txt", "a.txt"]


def test_a_file_comes_in_whole_or_not_at_all(folder: int, tmp_path: Path) -> None:
    incoming = collect.Incoming(folder, "a.txt", -1)
    incoming.write(b"half")
    incoming.close()
    assert list((tmp_path / "data").iterdir()) == []
    incoming = collect.Incoming(folder, "a.txt", -1)
    incoming.write(b"whole")
    incoming.keep()
    incoming.close()
    assert (tmp_path / "data/a.txt").read_bytes() == b"whole"


def test_a_file_comes_in_through_no_link(folder: int, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "data/sub").mkdir()
    (tmp_path / "data/link").symlink_to(tmp_path / "outside")
    (tmp_path / "data/sub/up").symlink_to("..")
    (tmp_path / "data/sub/a").symlink_to("/etc/passwd")
    for name in ("link/x", "sub/up/x", "link/new/x", "sub/a/x"):
        with pytest.raises(OSError, match="openat2"):
            collect.Incoming(folder, name, -1)
    incoming = collect.Incoming(folder, "sub/a", -1)  # the last name is not followed
    incoming.write(b"mine")
    incoming.keep()
    incoming.close()
    assert not (tmp_path / "data/sub/a").is_symlink()
    assert (tmp_path / "data/sub/a").read_bytes() == b"mine"
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_folder_that_becomes_a_link_on_the_way_takes_nothing_out(folder: int, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    incoming = collect.Incoming(folder, "sub/x", -1)
    (tmp_path / "data/sub").rename(tmp_path / "data/moved")
    (tmp_path / "data/sub").symlink_to(tmp_path / "outside")
    incoming.write(b"mine")
    incoming.keep()
    incoming.close()
    assert (tmp_path / "data/moved/x").read_bytes() == b"mine"
    assert list((tmp_path / "outside").iterdir()) == []


def test_removed_files_are_named_unless_their_name_is_there_again(folder: int, tmp_path: Path) -> None:
    (tmp_path / "data/sub").mkdir()
    for name in ("a", "b", "sub/c", "x\x01", "kept"):
        (tmp_path / "data" / name).write_text("x")
    before = collect.snapshot(folder)
    for name in ("a", "b", "sub/c", "x\x01"):
        (tmp_path / "data" / name).unlink()
    (tmp_path / "data/b").symlink_to("kept")
    (tmp_path / "data/x").write_text("x")
    assert collect.outdated_files(folder, before, [b"data/new"]) == ("a", "b", "sub/c")


def test_files_beyond_what_is_walked_are_not_taken_for_removed(folder: int, tmp_path: Path) -> None:
    (tmp_path / "data/sub").mkdir()
    (tmp_path / "data/sub/a").write_text("x")
    before = collect.snapshot(folder)
    for number in range(4100):
        (tmp_path / f"data/{number}").touch()
    assert b"data/sub/a" not in collect.snapshot(folder)
    assert collect.outdated_files(folder, before, []) == ()
    assert collect.outdated_files(folder, before, [next(iter(before))])


def test_files_of_a_dead_session_are_copied_to_the_next(folder: int, tmp_path: Path) -> None:
    (tmp_path / "data/sub").mkdir()
    (tmp_path / "data/sub/a").write_text("a")
    (tmp_path / "data/link").symlink_to("/etc/passwd")
    (tmp_path / "next/data").mkdir(parents=True)
    target = os.open(tmp_path / "next", os.O_RDONLY)
    collect.copy_files(folder, target, -1, Limits())
    os.close(target)
    copied = [path for path in (tmp_path / "next/data").rglob("*") if not path.is_dir()]
    assert [path.read_text() for path in copied] == ["a"]


def test_copies_are_bounded_by_what_is_written_and_none_is_there_in_part(folder: int, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        os.truncate(os.open(tmp_path / "data" / name, os.O_CREAT | os.O_WRONLY), 40_000)
    (tmp_path / "next/data").mkdir(parents=True)
    target = os.open(tmp_path / "next", os.O_RDONLY)
    collect.copy_files(folder, target, -1, Limits(disk_bytes=100_000))
    os.close(target)
    assert [path.stat().st_size for path in (tmp_path / "next/data").iterdir()] == [40_000, 40_000]


def test_a_folder_goes_however_deep_and_closed_it_is(folder: int, tmp_path: Path) -> None:
    here = os.open(tmp_path / "data", os.O_RDONLY)
    for number in range(3000):
        os.mkdir("d", dir_fd=here)
        os.close(os.open(f"file-{number}", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    (tmp_path / "tmp/closed/inner").mkdir(parents=True)
    (tmp_path / "tmp/closed/link").symlink_to("/etc")
    (tmp_path / "tmp/closed").chmod(0o300)
    collect.remove_folder(str(tmp_path))
    assert not tmp_path.exists()
    assert Path("/etc").exists()
    tmp_path.mkdir()


def test_loop_runs_while_a_thread_works_on_a_folder(folder: int, tmp_path: Path) -> None:
    (tmp_path / "data/a").write_text("x")
    released = threading.Event()

    def work(own: int) -> list[str]:
        assert own != folder
        assert released.wait(10)  # the loop below sets it: held, it would never come to that
        return names(own)

    async def scenario() -> list[str]:
        working = asyncio.ensure_future(collect.in_thread(folder, work))
        await asyncio.sleep(0)
        released.set()
        return await working

    before = len(list(Path("/proc/self/fd").iterdir()))
    assert asyncio.run(scenario()) == ["a"]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
