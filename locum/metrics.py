"""What `/metrics` says: figures of the whole server in Prometheus' format, gathered when somebody asks for them.

Nothing is counted here. Runs are counted in the database, files by the ingestion worker, rejected keys by
`access/rejections.py`, sessions and cells by sandboxd; no figure names a resource, a thread or a key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import accumulate
from typing import get_args

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from locum import __version__
from locum.access.rejections import Rejections
from locum.domain.runs import ACTIVE
from locum.domain.vector_stores import ErrorCode
from locum.sandbox.session import Status
from locum.sandbox.stats import Distribution, Stats
from locum.store import runs as run_store
from locum.store import vector_store_files
from locum.store.database import Database
from locum.streams.hub import Streams


class Metrics:
    """Call it for the text."""

    def __init__(
        self,
        db: Database,
        streams: Streams,
        sandbox_status: Callable[[], Status],
        sandbox_stats: Callable[[], Awaitable[Stats | None]],
        ingested: Mapping[str, int],
        rejections: Rejections,
    ) -> None:
        """ingested: how many files became what: `completed`, or the code of their error."""
        self._db = db
        self._streams = streams
        self._sandbox_status = sandbox_status
        self._sandbox_stats = sandbox_stats
        self._ingested = ingested
        self._rejections = rejections
        self._process = ProcessCollector(registry=None)

    async def __call__(self) -> bytes:
        runs = await self._db.read(run_store.count_active)
        waiting = await self._db.read(vector_store_files.count_open)
        stats = await self._sandbox_stats()
        families = [
            *self._of_server(runs),
            *self._of_ingestion(waiting),
            *_of_sandbox(self._sandbox_status()),
            *self._process.collect(),
        ]
        if stats is not None:
            families += _of_sessions(stats)
        return generate_latest(_Gathered(families))

    def _of_server(self, runs: dict[str, int]) -> Iterator[Metric]:
        yield InfoMetricFamily("locum", "The server.", value={"version": __version__})
        active = GaugeMetricFamily(
            "locum_runs", "Runs that are not over, of all servers on this database.", labels=["status"]
        )
        for status in ACTIVE:
            active.add_metric([status], runs.get(status, 0))
        yield active
        yield GaugeMetricFamily("locum_streams", "Clients that follow a run here.", value=self._streams.count_readers())
        yield CounterMetricFamily(
            "locum_rejected_keys", "Requests with an unknown API key.", value=self._rejections.total
        )

    def _of_ingestion(self, waiting: int) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "locum_files_to_ingest",
            "Files of vector stores that wait or are being ingested, of all servers on this database.",
            value=waiting,
        )
        ended = CounterMetricFamily(
            "locum_files_ingested", "Files of vector stores that this server is done with.", labels=["outcome"]
        )
        for outcome in ("completed", *get_args(ErrorCode)):  # from the start: a rate needs a first value
            ended.add_metric([outcome], self._ingested.get(outcome, 0))
        yield ended


class _Gathered(Collector):
    """Families that are there already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _of_sandbox(status: Status) -> Iterator[Metric]:
    info = {"tier": status.tier, "reason": status.why}
    yield InfoMetricFamily("locum_sandbox", "How the code interpreter's code is held.", value=info)


def _of_sessions(stats: Stats) -> Iterator[Metric]:
    yield GaugeMetricFamily("locum_sandbox_sessions", "Sessions there are.", value=stats.sessions)
    yield GaugeMetricFamily("locum_sandbox_busy_sessions", "Sessions that are in use now.", value=stats.busy_sessions)
    yield GaugeMetricFamily(
        "locum_sandbox_memory_bytes", "Memory of all sessions as it was last seen.", value=stats.memory_bytes
    )
    yield CounterMetricFamily("locum_sandbox_sessions_opened", "Sessions opened.", value=stats.opened)
    ended = CounterMetricFamily(
        "locum_sandbox_sessions_ended",
        "Sessions ended; one that died goes on with a new process and its files.",
        labels=["reason"],
    )
    for reason, count in stats.ended.items():
        ended.add_metric([reason], count)
    yield ended
    cells = CounterMetricFamily("locum_sandbox_cells", "Cells run.", labels=["outcome"])
    for outcome, count in stats.cells.items():
        cells.add_metric([outcome], count)
    yield cells
    yield CounterMetricFamily("locum_sandbox_cpu_seconds", "CPU time of all sessions.", value=stats.cpu_seconds)
    yield _histogram("locum_sandbox_cell_seconds", "How long cells ran.", stats.cell_seconds)
    yield _histogram(
        "locum_sandbox_session_start_seconds", "How long it took to have a session's process.", stats.start_seconds
    )


def _histogram(name: str, about: str, values: Distribution) -> Metric:
    bounds = [*map(str, values.bounds), "+Inf"]
    buckets = list(zip(bounds, map(float, accumulate(values.counts)), strict=True))
    return HistogramMetricFamily(name, about, buckets=buckets, sum_value=values.sum)
