"""What every noun's store functions share: docs to objects, the statements all of them need, and keyset pages.

Statements are made once, at import: building one costs SQLAlchemy more than running it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.pages import Listing, Page
from locum.errors import NotFound

T = TypeVar("T", bound=msgspec.Struct)

MAX_PAGE_LENGTH = 8 * 1024 * 1024
"""Of the docs of a page, in characters; the first of them may be longer."""
_FIRST_ROWS = 21
"""Read by the first statement of a list, before the length of its docs is known: enough for a page of default size."""


def encode(value: msgspec.Struct) -> str:
    """The doc of an object."""
    return msgspec.json.encode(value).decode()


_decoders: dict[type, msgspec.json.Decoder[Any]] = {}
_making = threading.Lock()


def decode(doc: str, kind: type[T]) -> T:
    """The object a doc holds."""
    decoder = _decoders.get(kind)
    if decoder is None:
        # msgspec publishes a struct's fields before it has their types: a second thread would crash the process.
        with _making:
            decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    return decoder.decode(doc)  # type: ignore[no-any-return]


def select_doc(table: sa.Table, *columns: sa.Column[Any]) -> sa.Select[str]:
    """The doc of the row whose `columns` (and resource) are the parameters of those names."""
    wanted = (column == sa.bindparam(column.name) for column in (*columns, table.c.resource))
    return sa.select(table.c.doc).where(*wanted)


def update_doc(table: sa.Table, *columns: str) -> sa.Update:
    """Set doc (and `columns`) of the row `at` of the resource `of`."""
    values: dict[str, Any] = {name: sa.bindparam(name) for name in ("doc", *columns)}
    return (
        sa.update(table).where(table.c.id == sa.bindparam("at"), table.c.resource == sa.bindparam("of")).values(values)
    )


def delete_row(table: sa.Table) -> sa.Delete:
    """Delete the row `at` of the resource `of`."""
    return sa.delete(table).where(table.c.id == sa.bindparam("at"), table.c.resource == sa.bindparam("of"))


def page_of(
    conn: Connection, kind: type[T], table: sa.Table, where: sa.ColumnElement[bool], page: Page, *, noun: str
) -> Listing[T]:
    """The rows of `table` that match `where`, cut to `page`.

    `after` and `before` look the cursor up among the same rows: a cursor of another thread or resource is unknown.
    With `before` alone the page is the one that ends just before it. A page of long docs has fewer rows than asked for
    and says that there are more.
    """
    position = table.c.seq
    query = sa.select(position, table.c.doc).where(where)
    forward = page.order == "asc"
    for cursor, later in ((page.after, forward), (page.before, not forward)):
        if cursor is not None:
            seq = conn.execute(sa.select(position).where(where, table.c.id == cursor)).scalar_one_or_none()
            if seq is None:
                raise NotFound(f"No {noun} found with id '{cursor}'.")
            query = query.where(position > seq if later else position < seq)
    backwards = page.before is not None and page.after is None
    docs: list[str] = []
    has_more, room = False, MAX_PAGE_LENGTH
    for doc in _docs(conn, query, position, ascending=forward != backwards, most=page.limit + 1):
        if len(docs) == page.limit or (docs and len(doc) > room):
            has_more = True
            break
        docs.append(doc)
        room -= len(doc)
    if backwards:
        docs.reverse()
    return Listing(data=tuple(decode(doc, kind) for doc in docs), has_more=has_more)


def _docs(
    conn: Connection, query: sa.Select[int, str], position: sa.Column[int], *, ascending: bool, most: int
) -> Iterator[str]:
    """The docs of the first `most` rows, in order. No statement reads many more than fit into a page."""
    query = query.order_by(position.asc() if ascending else position.desc())
    part, batch, count, length = query, _FIRST_ROWS, 0, 0
    while count < most:
        before = count
        with conn.execute(part.limit(min(batch, most - count))) as rows:
            for row in rows:
                yield row.doc
                count, length = count + 1, length + len(row.doc)
        if count - before < batch:
            return
        part = query.where(position > row.seq if ascending else position < row.seq)
        batch = MAX_PAGE_LENGTH * count // length + 1
