"""Whether files of vector stores are ingested here. What waits for that is skipped by name until it is there."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

IS_SERVED = find_spec("locum.search.pipeline") is not None
needs_ingestion = pytest.mark.skipif(not IS_SERVED, reason="files are not ingested yet")
