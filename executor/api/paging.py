"""Pages of a listing, with a cursor: where the next one begins, whatever came and went meanwhile."""

import base64
import json
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from executor.errors import RequestUnclear
from executor.schemas.paging import Part

T = TypeVar("T")

IN_PARTS = frozenset({"secrets.list_"})
"""Operations that make a part of their listing; of the others there is never much."""

LIMIT, MOST = 100, 1_000
"""Items of a page where the request says nothing, and at most."""


class Page(BaseModel, Generic[T]):
    """Some of the items, and the cursor of those behind them; None behind the last."""

    items: list[T]
    next: str | None = None


def cursor(key: Sequence[Any]) -> str:
    """The cursor of what is behind an item with this key."""
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).rstrip(b"=").decode()


def key_of(text: str, size: int) -> list[Any]:
    """The key that a cursor holds.

    Raises:
        RequestUnclear: it is no cursor of ours.
    """
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        found = None
    if not isinstance(found, list) or len(found) != size or not all(isinstance(part, str) for part in found):
        raise RequestUnclear("cursor is none that a page has given")
    return found


def part(by: Sequence[str], limit: int, after: str | None) -> Part:
    """What an operation is asked for that makes a part of its listing: an item more than the page has."""
    return Part(limit + 1, None if after is None else key_of(after, len(by)))


def page(found: Sequence[T], by: Sequence[str], limit: int, after: str | None) -> Page[T]:
    """The items behind a cursor, of a listing that is complete or begins there; sorted by these fields."""
    if not by:
        return Page(items=list(found))

    def key(item: T) -> list[str]:
        return [str(getattr(item, field)) for field in by]

    begin = key_of(after, len(by)) if after is not None else None
    rest = sorted((item for item in found if begin is None or key(item) > begin), key=key)
    here = rest[:limit]
    return Page(items=here, next=cursor(key(here[-1])) if len(rest) > limit else None)
