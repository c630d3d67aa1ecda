"""What tests of file search begin with: vector stores with files in them, made through the API."""

from __future__ import annotations

from typing import Any

from tests.conformance.api import Api
from tests.models.upstream import Call

SEARCH: dict[str, Any] = {"type": "file_search"}
HANDBOOK = b"Employees have 25 days of paid leave in a year.\nIt is asked for two weeks before it begins.\n"
ASKED = Call("file_search", {"queries": ["How many days of paid leave do employees have?"]})
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"


def upload(api: Api, name: str, content: bytes) -> str:
    return api.sdk.files.create(file=(name, content), purpose="assistants").id


def store_of(api: Api, files: dict[str, bytes], **options: Any) -> tuple[str, dict[str, str]]:
    """A vector store that has read these files: its id, and name -> file id."""
    made = {name: upload(api, name, content) for name, content in files.items()}
    store = api.sdk.vector_stores.create(file_ids=list(made.values()), **options).id
    for file_id in made.values():
        file = api.sdk.vector_stores.files.poll(file_id, vector_store_id=store, poll_interval_ms=50)
        assert file.status == "completed", file.last_error
    return store, made


def searching(api: Api, files: dict[str, bytes]) -> tuple[str, dict[str, str]]:
    """An assistant that searches these files: its id, and name -> file id."""
    store, made = store_of(api, files)
    return api.assistant(tools=[SEARCH], tool_resources=stores(store)), made


def stores(*store_ids: str) -> dict[str, Any]:
    return {"file_search": {"vector_store_ids": list(store_ids)}}


def results(api: Api, run: Any, **options: Any) -> list[Any]:
    """What the searches of a run have found."""
    steps = api.sdk.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc", **options)
    calls = [call for step in steps for call in getattr(step.step_details, "tool_calls", [])]
    return [result for call in calls for result in call.file_search.results or []]
