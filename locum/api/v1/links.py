"""Which files belong to an assistant or a message: lists of ids inside those objects, shown as objects of their own."""

from __future__ import annotations

from locum.domain.pages import Listing, Page
from locum.errors import NotFound


def page_of(file_ids: tuple[str, ...], page: Page, *, noun: str) -> Listing[str]:
    """The part of the list (oldest link first) that is asked for; NotFound for a cursor that is not in it."""
    ids = file_ids if page.order == "asc" else file_ids[::-1]
    start = ids.index(linked(page.after, ids, noun=noun)) + 1 if page.after else 0
    end = ids.index(linked(page.before, ids, noun=noun)) if page.before else len(ids)
    window = ids[start:end]
    backwards = page.before is not None and page.after is None
    return Listing(data=window[-page.limit :] if backwards else window[: page.limit], has_more=len(window) > page.limit)


def linked(file_id: str, file_ids: tuple[str, ...], *, noun: str) -> str:
    """The id, if the list has it."""
    if file_id not in file_ids:
        raise NotFound(f"No {noun} found with id '{file_id}'.")
    return file_id
