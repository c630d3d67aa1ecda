"""Store functions take the resource, so that no caller can forget whose rows it reads or writes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import locum.store

WITHOUT_RESOURCE = {
    "files.expired": "the sweep removes the files of every resource; it returns the resource of each",
    "files.known_ids": "a database claims a blob store whose blobs its rows know",
    "identity.ensure": "the database has one identity",
    "identity.get": "the database has one identity",
    "keys.digests": "authentication: the digest determines the resource",
    "keys.every": "`locum keys list` runs as the operator",
    "keys.owner": "authentication: the digest determines the resource",
    "keys.remove": "`locum keys revoke` runs as the operator",
    "rows.page_of": "its `where` holds the resource",
    "runs.any_claimable": "workers claim runs of every resource",
    "runs.claim": "workers claim runs of every resource; the claim holds the resource",
    "runs.count_active": "a metric of the whole server",
    "runs.fenced": "the claim holds the resource",
    "runs.release": "the claim holds the run and its fence",
    "runs.release_all": "a restarted worker gives up all its leases",
    "runs.renew": "a heartbeat extends all leases of a worker",
    "runs.to_end": "the sweep ends overdue runs of every resource; it returns the resource of each",
    "staged_blobs.adopt": "blob keys are random; the row of the file has the resource",
    "staged_blobs.every": "a database claims a blob store whose blobs its notes know",
    "staged_blobs.forget": "the sweep removes the bytes of every resource",
    "staged_blobs.garbage": "the sweep removes the bytes of every resource",
    "staged_blobs.is_any_overdue": "the sweep removes the bytes of every resource",
    "staged_blobs.mark_overdue": "the sweep removes the bytes of every resource",
    "staged_blobs.note": "blob keys are random; the row of the file has the resource",
    "staged_blobs.note_garbage": "blob keys are random; the row of the file had the resource",
    "staged_blobs.renew": "blob keys are random; the row of the file has the resource",
    "thread_remains.due": "the sweep removes rows of every resource; it returns the resource of each",
    "uploads.delete_finished": "the sweep removes the uploads of every resource",
    "uploads.known_part_ids": "a database claims a blob store whose blobs its rows know",
    "uploads.overdue": "the sweep expires uploads of every resource; it returns the resource of each",
    "vector_store_files.any_claimable": "workers claim files of every resource",
    "vector_store_files.claim": "workers claim files of every resource; the claim holds the resource",
    "vector_store_files.count_open": "a metric of the whole server",
    "vector_store_files.documents": "derived data is shared by content, across resources",
    "vector_store_files.fail": "the claim holds the resource",
    "vector_store_files.release": "a worker gives back files of every resource",
    "vector_store_files.renew": "a heartbeat extends all leases of a worker",
    "vector_stores.all_ids": "maintenance compares all indexes with all stores; it returns the resource of each",
    "vector_stores.embedders": "maintenance keeps the vectors that any store uses",
    "vector_stores.expired_by": "the sweep removes expired stores of every resource; it returns the resource of each",
    "vector_stores.generations": "maintenance follows every store; it returns the resource of each",
    "vector_stores.is_any": "the ingestion worker starts with the first store of any resource",
}
"""Public store functions without a `resource` argument, and the reason for each."""


def functions_without_resource(source: str) -> Iterator[str]:
    """Yield the public functions that take a connection and no resource."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            arguments = {argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
            if "conn" in arguments and "resource" not in arguments:
                yield node.name


def store_functions_without_resource() -> set[str]:
    folder = Path(locum.store.__file__).parent
    return {
        f"{module.stem}.{name}"
        for module in folder.glob("*.py")
        for name in functions_without_resource(module.read_text(encoding="utf-8"))
    }


def test_store_functions_take_the_resource() -> None:
    forgotten = store_functions_without_resource() - WITHOUT_RESOURCE.keys()
    assert not forgotten, "add the argument `resource`, or the function and the reason to WITHOUT_RESOURCE"


def test_exceptions_exist_and_need_their_exception() -> None:
    outdated = WITHOUT_RESOURCE.keys() - store_functions_without_resource()
    assert not outdated, "remove these from WITHOUT_RESOURCE"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def get(conn, resource, thread_id): ...", []),
        ("def get(conn, thread_id, *, resource): ...", []),
        ("def get(conn, thread_id): ...", ["get"]),
        ("async def get(conn, /): ...", ["get"]),
        ("def _get(conn): ...", []),
        ("def encode(value): ...", []),
        ("class Write:\n    def __call__(self, conn): ...", []),
    ],
)
def test_public_functions_with_a_connection_are_examined(source: str, expected: list[str]) -> None:
    assert list(functions_without_resource(source)) == expected
