"""What every noun's store functions share: docs to objects, the statements all of them need, and keyset pages.

Statements are made once, at import: building one costs SQLAlchemy more than running it.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from locum.domain.pages import Listing, Page
from locum.errors import NotFound

T = TypeVar("T", bound=msgspec.Struct)


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
    With `before` alone the page is the one that ends just before it.
    """
    position = table.c.seq
    query = sa.select(table.c.doc).where(where)
    forward = page.order == "asc"
    for cursor, later in ((page.after, forward), (page.before, not forward)):
        if cursor is not None:
            seq = conn.execute(sa.select(position).where(where, table.c.id == cursor)).scalar_one_or_none()
            if seq is None:
                raise NotFound(f"No {noun} found with id '{cursor}'.")
            query = query.where(position > seq if later else position < seq)
    backwards = page.before is not None and page.after is None
    ascending = forward != backwards
    query = query.order_by(position.asc() if ascending else position.desc()).limit(page.limit + 1)
    docs = list(conn.execute(query).scalars())
    has_more = len(docs) > page.limit
    docs = docs[: page.limit]
    if backwards:
        docs.reverse()
    return Listing(data=tuple(decode(doc, kind) for doc in docs), has_more=has_more)
