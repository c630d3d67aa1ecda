"""All services, as the edge gets them."""

from __future__ import annotations

from dataclasses import dataclass

from locum.services.assistants import Assistants
from locum.services.files import Files
from locum.services.messages import Messages
from locum.services.models import Models
from locum.services.runs import Runs
from locum.services.steps import Steps
from locum.services.threads import Threads
from locum.services.uploads import Uploads


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
    models: Models
