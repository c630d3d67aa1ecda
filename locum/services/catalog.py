"""All services, as the edge gets them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from locum.clock import Clock
from locum.domain.image_urls import PUBLIC, ImageURLs
from locum.domain.search import Rewriter, Search, Texts
from locum.services.assistants import Assistants
from locum.services.file_batches import FileBatches
from locum.services.files import Files
from locum.services.messages import Messages
from locum.services.models import Models
from locum.services.queue import ThreadQueue
from locum.services.runs import Runs
from locum.services.steps import Steps
from locum.services.threads import Threads
from locum.services.tracked_blobs import TrackedBlobs
from locum.services.uploads import Uploads
from locum.services.vector_store_files import VectorStoreFiles
from locum.services.vector_stores import VectorStores
from locum.signals.base import Signals
from locum.store.database import Database
from locum.streams.hub import Streams


class _SearchAndTexts(Search, Texts, Protocol):
    """File search as services use it."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """One attribute per noun."""

    assistants: Assistants
    threads: Threads
    messages: Messages
    runs: Runs
    steps: Steps
    files: Files
    uploads: Uploads
    vector_stores: VectorStores
    vector_store_files: VectorStoreFiles
    file_batches: FileBatches
    models: Models

    @classmethod
    def build(
        cls,
        *,
        db: Database,
        clock: Clock,
        signals: Signals,
        streams: Streams,
        blobs: TrackedBlobs,
        search: _SearchAndTexts,
        owner: str,
        run_expiry_seconds: int,
        wake_ingestion: Callable[[], None],
        delete_session: Callable[[str, str], Awaitable[None]],
        model_names: Callable[[], Awaitable[list[str]]],
        rewriter: Rewriter | None = None,
        stores_per_object: int = 1,
        image_urls: ImageURLs = PUBLIC,
    ) -> Services:
        """Wire the services to their adapters.

        owner: this node, which claims the runs that it streams. delete_session: ends the code interpreter's session of
        a thread, given its resource and id. stores_per_object: most vector stores of an assistant or thread.
        image_urls: addresses of images that messages may hold.
        """
        queue, wake = ThreadQueue(signals), wake_ingestion
        return cls(
            assistants=Assistants(db, clock, wake),
            threads=Threads(db, clock, signals, streams, delete_session, wake),
            messages=Messages(db, clock, queue, wake, image_urls=image_urls),
            runs=Runs(
                *(db, clock, signals, streams),
                owner=owner,
                expiry_seconds=run_expiry_seconds,
                queue=queue,
                wake_ingestion=wake,
            ),
            steps=Steps(db),
            files=Files(db, blobs, clock),
            uploads=Uploads(db, blobs, clock),
            vector_stores=VectorStores(
                *(db, clock, signals, search, wake), rewriter=rewriter, per_object=stores_per_object
            ),
            vector_store_files=VectorStoreFiles(db, clock, signals, search, wake),
            file_batches=FileBatches(db, clock, signals, wake),
            models=Models(model_names),
        )
