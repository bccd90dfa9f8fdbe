"""From a request to a run's specification: look everything up before the run is submitted.

What files say is worked out by `ordering`, on the submitter's machine; what its place has is looked up here, beside the
database. Both are done here where one process has both.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.environment.variables import name_taken
from executor.errors import RequestUnclear
from executor.models import KEPT_BYTES, RunSpec
from executor.schemas.order import Order, Wanted
from executor.schemas.run_request import RunRequest
from executor.settings import QUEUE, Settings
from executor.source import bundles
from executor.submission import narrowing
from executor.submission.files import Files
from executor.submission.ordering import Refusal, Stage, notes, ordered, place_of, told_in_order, with_source
from executor.submission.remembered import Batch, Remembered
from secretstore import vault
from secretstore.connections import Role
from secretstore.database import Database
from secretstore.errors import SealrunError, UnknownConnection, UnknownSecret
from secretstore.vault import EnvironmentView, ProjectView

_AS_ORDERED = (RunSpec.model_fields.keys() & Order.model_fields.keys()) - {"queue_timeout"}
"""What is kept of an order as it is."""


@dataclass(frozen=True)
class Found:
    """What was found of what a run wants: its place, what that gives it, and what refuses it."""

    project: ProjectView
    place: EnvironmentView
    columns: Mapping[str, Any]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True)
class Examined:
    """Where a run would be, and everything that refuses it; `order` and `found` make its specification."""

    found: Found
    root: Path | None
    python: str | None
    order: Order | None
    refusals: tuple[SealrunError, ...]


@dataclass(frozen=True)
class Specified:
    """A run that can be submitted, and what its submitter may want to know of it."""

    spec: RunSpec
    notes: tuple[str, ...] = ()


def specify(
    db: Database, settings: Settings, request: RunRequest, remembered: Remembered | Batch | None = None
) -> Specified:
    """Look up everything that a run needs, so that mistakes show before it is submitted; then upload its source.

    Args:
        remembered: what a process that submits again and again knows of its files.

    Raises:
        SealrunError: something is missing or wrong.
    """
    files = Files(request, settings) if remembered is None else remembered.files(request, settings)
    examined = examine(db, settings, request, files, remembered)
    for refusal in examined.refusals:
        raise refusal
    assert examined.order is not None, "without a refusal there is an order"
    digest = None
    if files.packed is not None:
        digest = (remembered or bundles).upload(db, examined.found.place.project_id, files.packed)
    if remembered is not None:
        remembered.learn(request, files)
    order = with_source(examined.order, files, digest)
    return Specified(specification(settings, order, examined.found), tuple(notes(files.upload)))


def examine(
    db: Database,
    settings: Settings,
    request: RunRequest,
    known: Files | None = None,
    remembered: "Remembered | Batch | None" = None,
) -> Examined:
    """Look up everything that a run needs, and collect what is missing or wrong.

    Args:
        known: what the request's files say, if some of it is known.
        remembered: as of `specify`.

    Raises:
        NoProjectNamed: nothing says which project is meant.
        UnknownProject: the project does not exist.
        UnknownEnvironment: the environment does not exist.
        ValueRefused, RequestUnclear: it says what no row or program can hold.
    """
    files = known or Files(request, settings)
    named = place_of(settings, request, files)
    place = (remembered or Remembered).place(db, *named)
    made = ordered(settings, request, files, named)
    found = look_up(db, made.wanted, place)
    refusals = tuple(told_in_order(made.refusals, found.refusals))
    return Examined(found, made.root, made.python, None if refusals else made.order, refusals)


def look_up(db: Database, wanted: Wanted, place: tuple[ProjectView, EnvironmentView] | None = None) -> Found:
    """Look up the names that a run wants in its place, and what it is given there.

    Args:
        place: the place, if it is known.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    project, environment = place or vault.get_place(db, wanted.project, wanted.environment)
    secrets, variables = wanted.secrets, wanted.variables
    names = [*(secrets or []), *wanted.setup_secrets]
    refusals: list[Refusal] = [(Stage.SECRETS, one) for one in _unknown(db, environment, names)]
    refusals += ((Stage.CONNECTIONS, one) for one in _unknown_connections(db, environment, wanted))
    given = set(secrets) if secrets is not None else _secrets_among(db, environment, variables)
    refusals += ((Stage.NAMES, name_taken(name)) for name in variables if name in given)
    columns: Mapping[str, Any] = {}
    try:
        columns = of_place(project, environment, wanted.narrowed)
    except RequestUnclear as refusal:
        refusals.append((Stage.PLACE, refusal))
    return Found(project, environment, columns, tuple(refusals))


def refuse(found: Found) -> None:
    """Raise the first of what refuses a run in its place, if anything does."""
    for _, refusal in sorted(found.refusals, key=lambda one: one[0]):
        raise refusal


def specification(settings: Settings, order: Order, found: Found) -> RunSpec:
    """An order that nothing refuses, in its place."""
    asked = order.model_dump(include=_AS_ORDERED)
    own = {
        "project_id": found.place.project_id,
        "environment_id": found.place.id,
        "setup_secret_names": list(order.setup_secrets) or None,
        "secret_names": None if order.secrets is None else list(order.secrets),
        "queue_timeout": order.queue_timeout if order.queue_timeout is not None else settings.queue_timeout,
    }
    return RunSpec(**asked | own | dict(found.columns))


def of_place(project: ProjectView, place: EnvironmentView, narrowed: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the project and the environment set for their runs, with what this one asks for itself."""
    return {
        "queue": place.queue or QUEUE,
        "rung_min": None if project.sandbox_min == "process" else project.sandbox_min,
        "kept_bytes": project.output_limit or KEPT_BYTES,
        **narrowing.within(project, narrowed),
    }


def _unknown(db: Database, place: EnvironmentView, names: Sequence[str]) -> Iterator[UnknownSecret]:
    known = _secrets_among(db, place, names)
    for name in dict.fromkeys(names):
        try:
            if name not in known:
                vault.require_secrets(db, place.project, place.name, [name])
        except UnknownSecret as unknown:
            yield unknown


def _secrets_among(db: Database, place: EnvironmentView, names: Collection[str]) -> set[str]:
    return vault.secrets_among(db, place.project, place.name, names) if names else set()


def _unknown_connections(db: Database, place: EnvironmentView, wanted: Wanted) -> Iterator[UnknownConnection]:
    """Yield a refusal for each data source or catalog that is not there."""
    asked: tuple[tuple[Role, Mapping[str, str]], ...] = (("source", wanted.sources), ("catalog", wanted.catalogs))
    for role, parameters in asked:
        for name in dict.fromkeys(parameters.values()):
            try:
                vault.get_connection(db, place.project, place.name, role, name)
            except UnknownConnection as unknown:
                yield unknown
