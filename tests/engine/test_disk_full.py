"""A disk without room: writes are refused in words, reads go on, and room is all it takes to recover."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.disks import small_disk
from tests.engine.test_runs import texts, wait_for
from tests.models.upstream import Held, ScriptedUpstream, Text
from tests.serving import ServerProcess


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    with small_disk(tmp_path / "data", "8m") as folder:
        yield folder


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 64 * 1024, 4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return filler


def test_a_full_disk_refuses_writes_serves_reads_and_recovers_without_a_restart(
    small_disk: Path, upstream: ScriptedUpstream
) -> None:
    held = Held(Text("Done."))
    upstream.script([held, Text("Done.")])
    env = {"LOCUM_MODEL_BASE_URL": upstream.base_url, "LOCUM_SANDBOX": "off"}
    with ServerProcess(small_disk, env=env) as server, server.azure(max_retries=0) as api:
        assistant = api.beta.assistants.create(model="m", name="kept").id
        thread = api.beta.threads.create(messages=[{"role": "user", "content": "x"}]).id
        run = api.beta.threads.runs.create(thread, assistant_id=assistant)
        upstream.wait(lambda: bool(upstream.requests))

        filler = fill(small_disk)
        acknowledged = []
        for _ in range(200):
            try:
                acknowledged.append(api.beta.assistants.create(model="m", instructions="x" * 20_000).id)
            except openai.InternalServerError as error:
                refused = error
                break
        else:
            raise AssertionError("every write went to a full disk")
        assert refused.status_code == 507
        assert int(refused.response.headers["retry-after"]) >= 1
        with pytest.raises(openai.InternalServerError) as upload:
            api.files.create(file=("a.bin", io.BytesIO(bytes(100_000))), purpose="assistants")
        assert upload.value.status_code == 507
        assert api.beta.assistants.retrieve(assistant).name == "kept"
        assert urllib.request.urlopen(server.azure_endpoint + "/healthz").status == 200
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(server.azure_endpoint + "/readyz")

        filler.unlink()
        held.release()
        assert wait_for(api, run, "completed", "failed").status == "completed"
        assert texts(api, thread)[-1] == ("assistant", "Done.")
        assert api.files.create(file=("a.bin", io.BytesIO(bytes(100_000))), purpose="assistants").bytes == 100_000
        for each in acknowledged:
            api.beta.assistants.retrieve(each)
