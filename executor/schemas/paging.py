"""A part of a listing that is too long to be made as a whole for each of its pages."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """The first items behind a key, which are those of the fields by which the listing is sorted."""

    most: int
    after: Sequence[str] | None = None
