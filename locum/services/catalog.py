"""All services, as the edge gets them."""

from __future__ import annotations

from dataclasses import dataclass

from locum.services.assistants import Assistants
from locum.services.file_batches import FileBatches
from locum.services.files import Files
from locum.services.messages import Messages
from locum.services.models import Models
from locum.services.runs import Runs
from locum.services.steps import Steps
from locum.services.threads import Threads
from locum.services.uploads import Uploads
from locum.services.vector_store_files import VectorStoreFiles
from locum.services.vector_stores import VectorStores


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
