"""An order that somebody has sent: checked again as if nobody had checked it, and looked up."""

import contextlib
import json
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from executor.errors import RequestUnclear, SourceRefused
from executor.models import RunSpec
from executor.python import requirements
from executor.runs import retrying
from executor.schemas.amounts import AMOUNTS
from executor.schemas.order import Order, Upload
from executor.settings import Settings
from executor.source import bundles, unpacking
from executor.source.packing import ENTRIES_LIMIT, Packed, archive_limit, size_text
from executor.submission import narrowing, texts
from executor.submission.ordering import check_setup, out_of_bounds
from executor.submission.specification import look_up, refuse, specification
from secretstore import vault
from secretstore.database import Database
from secretstore.errors import SealrunError
from secretstore.naming import check_submitted_name
from secretstore.vault import EnvironmentView, ProjectView

LARGEST = 32 << 20
"""Bytes of orders that are submitted at once, as JSON."""

_MANY = 10_000  # names, words or files in one list
_LONGEST_PATH = 4_096  # bytes


class Reception:
    """Orders that somebody sends together: what several of them have in common is looked up once."""

    def __init__(self, db: Database, settings: Settings, by: str) -> None:
        """Nothing is looked up yet; the source of each is one that `by` has sent."""
        self._db, self._settings, self._by = db, settings, by
        self._places: dict[tuple[str, str], tuple[ProjectView, EnvironmentView]] = {}
        self._sent: set[tuple[str, str]] = set()

    def specification(self, order: Order) -> RunSpec:
        """The specification of a run that is asked for.

        Raises:
            SealrunError: something is missing or wrong.
            SourceUnavailable: who asks has not sent its source, or it is deleted since.
        """
        check(order)
        named = order.project, order.environment
        if (place := self._places.get(named)) is None:
            place = self._places[named] = vault.get_place(self._db, *named)
        found = look_up(self._db, order, place)
        refuse(found)
        if order.bundle is not None:
            self._require_sent(found.place.project_id, order.bundle)
        return specification(self._settings, order, found)

    def _require_sent(self, project_id: str, digest: str) -> None:
        if (project_id, digest) not in self._sent:
            bundles.require_uploaded(self._db, project_id, digest, self._by)
            self._sent.add((project_id, digest))


@contextlib.contextmanager
def source(content: BinaryIO, said: Upload, limit: int) -> Iterator[Packed]:
    """A source that was sent, once all of it is in a file, and is what was said.

    Raises:
        SourceRefused: it is not.
    """
    sent = os.fstat(content.fileno()).st_size
    if said.size > archive_limit(limit):
        raise _too_large(limit)
    if sent != said.size:
        raise SourceRefused("the source was not sent whole: {sent:,} of {said:,} bytes", sent=sent, said=said.size)
    with mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as whole:
        yield Packed(said.digest, _entries(whole, said.digest, limit), whole)


def _entries(whole: memoryview, digest: str, limit: int) -> int:
    pieces = (bytes(whole[at : at + bundles.PIECE]) for at in range(0, len(whole), bundles.PIECE))
    try:
        return unpacking.inspect(pieces, digest, limit)
    except unpacking.TooLarge:
        raise _too_large(limit) from None
    except unpacking.Unacceptable as why:
        raise SourceRefused("the source is refused: {why}", why=why) from None


def _too_large(limit: int) -> SourceRefused:
    return SourceRefused(
        "the source is too large: at most {limit}, in {most:,} files and folders",
        limit=size_text(limit),
        most=ENTRIES_LIMIT,
        hint="add what the run does not need to .sealrunignore",
    )


def check(order: Order) -> None:
    """Refuse what no sender of ours sends.

    Raises:
        SealrunError: something cannot be meant.
    """
    texts.check_order(order)
    for refusal in _refusals(order):
        raise refusal
    for name in order.variables:
        check_submitted_name(name)
    retrying.check(order.retries, order.retry_on)
    check_setup(order.setup_secrets, order.requirements)
    narrowing.check_patterns(order.collect, "collect")
    for one in AMOUNTS:
        if (number := order.narrowed.get(one.column)) is not None:
            one.read(number)  # type: ignore[arg-type]  # a TypedDict's members by another name than a literal
    if order.requirements is not None:
        requirements.check(order.requirements)


def size_of(order: Order) -> int:
    """Bytes of an order, as JSON."""
    return len(json.dumps(order.model_dump()))


def _refusals(order: Order) -> Iterator[SealrunError]:
    yield from out_of_bounds(order)
    if size_of(order) > LARGEST:
        yield RequestUnclear("the order is too large: at most {most} MiB", most=LARGEST >> 20)
    if (order.host is None) == (order.bundle is None):
        yield RequestUnclear("its source is either an uploaded bundle or a folder of a host")
    if order.bundle is not None and (order.python is not None or "programs" in order.target):
        yield RequestUnclear("a path of the submitter's machine means nothing with an uploaded source")
    if order.python_version is not None and not requirements.is_version(order.python_version):
        yield RequestUnclear("python_version is a version, as in 3.12")
    for what, path in _paths(order):
        if not path or path.startswith("/") or ".." in PurePosixPath(path).parts or len(path.encode()) > _LONGEST_PATH:
            yield RequestUnclear("{what} is a path below the source root", what=what)
    for what, several in _lists("", order.model_dump(exclude={"target"})):
        if len(several) > _MANY:
            yield RequestUnclear("{what} has more than {most} members", what=what, most=f"{_MANY:,}")


def _paths(order: Order) -> Iterator[tuple[str, str]]:
    target: Mapping[str, Any] = order.target
    if "path" in target:
        yield "target.path", target["path"]
    for name in order.package["folders"] if order.package is not None else ():
        yield "package.folders", name


def _lists(what: str, value: Any) -> Iterator[tuple[str, Sequence[Any] | Mapping[str, Any]]]:
    """Each list and mapping of a document, with where it stands."""
    if isinstance(value, str) or not isinstance(value, Mapping | Sequence):
        return
    yield what or "the order", value
    for name, member in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from _lists(f"{what}.{name}".lstrip("."), member)
