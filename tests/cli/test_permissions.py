"""The data directory is its owner's alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_doctor import examined
from tests.serving import serving


def test_files_of_a_server_are_readable_by_its_user_only(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    with serving(data, LOCUM_SANDBOX="off") as server:
        with server.openai() as api:
            api.files.create(file=("a.txt", b"a"), purpose="assistants")
        wider = [path for path in data.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077]
        assert wider == []
        assert len([path for path in data.rglob("*") if path.is_file()]) > 4


@pytest.mark.parametrize(("mode", "mark"), [(0o700, None), (0o750, "note"), (0o755, "fix")])
def test_data_directory_that_others_may_read_is_reported(tmp_path: Path, mode: int, mark: str | None) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    findings = examined("--data-dir", "data", cwd=tmp_path, fails=mark == "fix")
    assert findings["Data directory"][0] == "ok"
    shown, words = findings.get("Permissions", (None, ""))
    assert shown == mark
    assert (f"{mode:04o}" in words and "chmod" in words) == (mark is not None)
