"""A scripted embeddings server: real HTTP on 127.0.0.1, vectors by rule, and trouble as told."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.models.upstream import Cut, Raw, Reply, Request, ScriptedUpstream, Status

DIMENSIONS = 8


def vector_of(text: str) -> list[float]:
    """The same for the same words, in whatever order."""
    total = np.zeros(DIMENSIONS)
    for word in text.lower().split():
        total += np.random.default_rng(list(word.encode())).normal(size=DIMENSIONS)
    return [float(x) for x in total]


class EmbeddingServer(ScriptedUpstream):
    """`trouble` is given before all else, one for each request; `refuses` looks at a request, may return an error."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: deque[Reply] = deque()
        self.refuses: Callable[[dict[str, Any]], Status | None] = lambda _: None
        self.in_base64 = True
        self.reverses = False
        self.texts: list[str] = []

    def other(self, request: Request) -> Reply | None:
        if not request.path.partition("?")[0].endswith("/embeddings"):
            return None
        if self.trouble:
            return self.trouble.popleft()
        if (refusal := self.refuses(request.body)) is not None:
            return refusal
        self.texts += request.body["input"]
        rows = [vector_of(text) for text in request.body["input"]]
        as_text = self.in_base64 and request.body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": at,
                "embedding": base64.b64encode(np.array(row, "<f4").tobytes()).decode() if as_text else row,
            }
            for at, row in enumerate(rows)
        ]
        return Status(200, body={"object": "list", "data": data[::-1] if self.reverses else data, "model": "m"})


__all__ = ["Cut", "EmbeddingServer", "Raw", "Status", "vector_of"]
