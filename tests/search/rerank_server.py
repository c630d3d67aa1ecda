"""A reranker as servers of the field are: it likes texts with a word in them, unless it is told to make trouble."""

from __future__ import annotations

from typing import Any

from tests.models.upstream import Reply, Request, ScriptedUpstream, Status

LIKED, OTHER = 0.9, 0.2


class RerankServer(ScriptedUpstream):
    """`likes`: the word. `trouble`: what it answers instead. `asked`: what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.likes = ""
        self.trouble: Reply | None = None
        self.asked: list[dict[str, Any]] = []

    def other(self, request: Request) -> Reply | None:
        if not request.path.partition("?")[0].endswith("/rerank"):
            return None
        self.asked.append(request.body)
        if self.trouble is not None:
            return self.trouble
        results = [
            {"index": index, "relevance_score": LIKED if self.likes in text else OTHER}
            for index, text in enumerate(request.body["documents"])
        ]
        return Status(200, body={"id": "r", "results": results[::-1]})
