"""Data sources and catalogs of an environment: settings that name secrets. Nothing here can open one."""

import json
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlmodel import Session, col, select

from secretstore.audit import Act, Actor, append_many
from secretstore.connections import S3_LIKE, Role, Settings, check, looks_like_a_value, planned, where
from secretstore.database import Database
from secretstore.errors import AlreadyExists, ConnectionRefused, InUse, UnknownConnection
from secretstore.models import Connection, Environment, Project, Secret
from secretstore.naming import has_form_of_name, is_connection_name
from secretstore.planned import CATALOG, SOURCE, Planned
from secretstore.timestamps import utc_now
from secretstore.vault.places import (
    did_you_mean,
    find_environment,
    find_project,
    hold_environment,
    hold_project,
    taken_names,
)
from secretstore.vault.storing import parts

_LONGEST_MESSAGE = 1000  # characters


@dataclass(frozen=True)
class Missing:
    """What a connection names and is not there: a secret, or a catalog's source."""

    field: str
    what: Literal["secret", "source"]
    name: str


@dataclass(frozen=True)
class ConnectionView:
    """A data source or catalog. Its settings hold no value: secrets stand in them by name.

    `where` is what it leads to in a few words, `problem` why runs are not given it, `test_outcome` `ok`, `failed` or
    None where it was not tested with these settings, `test_seconds` how long that took.
    """

    id: str
    role: str
    name: str
    environment: str
    kind: str
    where: str
    settings: dict[str, Any]
    secrets: tuple[str, ...]
    tested_at: datetime | None
    test_outcome: str | None
    test_seconds: float | None
    test_message: str | None
    test_run: str | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    problem: str | None = None
    missing: tuple[Missing, ...] = ()

    @property
    def label(self) -> str:
        """As it is called on screen: `source lake`."""
        return f"{self.role} {self.name}"


@dataclass(frozen=True)
class Dangling:
    """A connection that runs are not given as it stands, why, and what mends it."""

    project: str
    environment: str
    role: str
    name: str
    why: str
    mend: str


def create_connection(
    db: Database,
    project: str,
    environment: str,
    role: Role,
    name: str,
    kind: str,
    settings: Any,
    *,
    actor: Actor,
    replace: bool = False,
) -> ConnectionView:
    """Make a data source or catalog. What it names need not be there yet: the view's `missing` tells what is not.

    Args:
        role: `source` or `catalog`.
        name: 1 to 63 lower-case letters, digits and `-`, a letter first.
        kind: one of the role's kinds.
        settings: the kind's fields, see `secretstore.connections`.
        replace: whether one of this name gets these settings instead of its own.

    Raises:
        NameRefused, ConnectionRefused: the name, the kind or the settings break a rule; no value is quoted.
        AlreadyExists: there is one of this name, without `replace`.
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    read = check(role, name, kind, settings)
    with taken_names(role, name), db.writing() as session:
        place = hold_project(session, project)
        held = hold_environment(session, place, environment)
        row = _row(session, held, role, name)
        if row is not None and not replace:
            raise AlreadyExists(what=role, name=name, hint="to give it other settings, add --replace")
        (missing,) = _missing(session, held.id, [Planned(role, name, kind, read.stored())])
        _refuse_values(role, name, missing)
        _refuse_unfit_source(session, held, role, name, kind, read)
        now = utc_now()
        action = f"{role}.create" if row is None else f"{role}.replace"
        row = row or Connection(
            environment_id=held.id,
            role=role,
            name=name,
            kind=kind,
            settings="",
            created_at=now,
            created_by=actor.name,
            updated_by=actor.name,
        )
        row.kind, row.settings = kind, json.dumps(read.stored())
        row.tested_at = row.test_outcome = row.test_seconds = row.test_message = row.test_run = None
        row.updated_at, row.updated_by = now, actor.name
        session.add(row)
        act = _act(row, held.name, action)
        append_many(session, place.id, place.name, actor=actor, acts=[act])
        return _view(row, held.name, missing)


def list_connections(
    db: Database, project: str, environment: str | None = None, role: Role | None = None
) -> list[ConnectionView]:
    """Return the sources and catalogs of an environment, or of all of a project's: sources first, by name.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        place = find_project(session, project)
        query = select(Connection, Environment.name).where(
            Connection.environment_id == Environment.id, Environment.project_id == place.id
        )
        if environment is not None:
            query = query.where(Environment.id == find_environment(session, place, environment).id)
        if role is not None:
            query = query.where(Connection.role == role)
        rows = session.exec(query.order_by(col(Environment.name), col(Connection.role).desc(), col(Connection.name)))
        places: dict[str, list[tuple[Connection, str]]] = defaultdict(list)
        for row, name in rows:
            places[row.environment_id].append((row, name))
        views = []
        for environment_id, found in places.items():
            missing = _missing(session, environment_id, [_stored(row) for row, _ in found])
            views += [_view(row, name, lacks) for (row, name), lacks in zip(found, missing, strict=True)]
        return views


def get_connection(db: Database, project: str, environment: str, role: Role, name: str) -> ConnectionView:
    """Return a data source or catalog.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownConnection: it does not exist.
    """
    with db.reading() as session:
        place = find_project(session, project)
        found = find_environment(session, place, environment)
        row = _find(session, place, found, role, name)
        (missing,) = _missing(session, found.id, [_stored(row)])
        return _view(row, environment, missing)


def delete_connection(
    db: Database, project: str, environment: str, role: Role, name: str, *, actor: Actor, force: bool = False
) -> None:
    """Delete a data source or catalog; the secrets it names stay.

    Raises:
        InUse: a catalog names this source, without `force`.
        UnknownProject, UnknownEnvironment, UnknownConnection: it does not exist.
    """
    with db.writing() as session:
        place = hold_project(session, project)
        held = hold_environment(session, place, environment)
        row = _find(session, place, held, role, name)
        if role == SOURCE and not force:
            _refuse_named(place, held, f"source {name}", _catalogs_of(session, held.id, name))
        session.delete(row)
        append_many(session, place.id, place.name, actor=actor, acts=[_act(row, held.name, f"{role}.delete")])


def record_test(
    db: Database,
    project: str,
    environment: str,
    role: Role,
    name: str,
    *,
    outcome: Literal["ok", "failed"],
    seconds: float | None,
    message: str | None,
    run: str | None,
    actor: Actor,
    tested: datetime | None = None,
) -> bool:
    """Keep how a test of a data source or catalog went; returns whether it was kept.

    Args:
        role: `source` or `catalog`.
        outcome: `ok` or `failed`.
        seconds: how long it took, where that is known.
        message: what was found, or why it failed, masked; 1,000 characters of it are kept.
        run: the id of the run that tested it.
        tested: the view's `updated_at` when the test began. A test of settings that were replaced since is not kept.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownConnection: it does not exist.
    """
    with db.writing() as session:
        place = hold_project(session, project)
        held = hold_environment(session, place, environment)
        row = _find(session, place, held, role, name)
        if tested is not None and row.updated_at != tested:
            return False
        row.tested_at, row.test_outcome, row.test_seconds, row.test_run = utc_now(), outcome, seconds, run
        row.test_message = message[:_LONGEST_MESSAGE] if message else None
        detail = {"connection_id": row.id, "kind": row.kind, "run": run}
        how = "done" if outcome == "ok" else "failed"
        act = Act(f"{role}.test", f"{held.name}/{name}", detail, how)
        append_many(session, place.id, place.name, actor=actor, acts=[act])
        return True


def connection_plan(session: Session, environment_id: str) -> list[Planned]:
    """Return an environment's sources and catalogs as runs are given them, read in the caller's transaction.

    What cannot be given is among them, and says why: a row that is not in order keeps nobody else's run from starting.
    """
    query = (
        select(Connection.role, Connection.name, Connection.kind, Connection.settings)
        .where(Connection.environment_id == environment_id, col(Connection.role).in_((SOURCE, CATALOG)))
        .order_by(col(Connection.role).desc(), col(Connection.name))
    )
    return _with_their_sources([planned(*row) for row in session.exec(query)])


def naming(session: Session, environment_id: str, secret: str) -> list[str]:
    """Return the sources and catalogs of an environment that name a secret, as `source lake`."""
    query = select(Connection).where(Connection.environment_id == environment_id)
    rows = session.exec(query.order_by(col(Connection.role).desc(), col(Connection.name)))
    return [entry.label for entry in map(_stored, rows) if secret in entry.secrets()]


def require_unnamed(db: Database, project: str, environment: str, what: Literal["secret", "source"], name: str) -> None:
    """Check that nothing names a secret or source, as its deletion does without `force`.

    Raises:
        InUse: something does.
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        place = find_project(session, project)
        found = find_environment(session, place, environment)
        if what == "secret":
            refuse_named(session, place, found, name)
        else:
            _refuse_named(place, found, f"source {name}", _catalogs_of(session, found.id, name))


def refuse_named(session: Session, project: Project, environment: Environment, secret: str) -> None:
    """Refuse to do without a secret that sources or catalogs name.

    Raises:
        InUse: there are any.
    """
    _refuse_named(project, environment, f"secret {secret}", naming(session, environment.id, secret))


def dangling(db: Database, project: str | None = None) -> list[Dangling]:
    """Return the connections of a project, or of all, that name what is not there or cannot be given to a run.

    Raises:
        UnknownProject: it does not exist.
    """
    with db.reading() as session:
        query = (
            select(Connection, Environment.name, Project.name)
            .where(Connection.environment_id == Environment.id, Environment.project_id == Project.id)
            .order_by(col(Project.name), col(Environment.name), col(Connection.role).desc(), col(Connection.name))
        )
        if project is not None:
            query = query.where(Project.id == find_project(session, project).id)
        places: dict[str, list[tuple[Connection, str, str]]] = defaultdict(list)
        for row, environment, of_project in session.exec(query):
            places[row.environment_id].append((row, environment, of_project))
        found = []
        for environment_id, rows in places.items():
            missing = _missing(session, environment_id, [_stored(row) for row, _, _ in rows])
            plan = _with_their_sources([planned(row.role, row.name, row.kind, row.settings) for row, _, _ in rows])
            for (row, environment, of_project), lacks, entry in zip(rows, missing, plan, strict=True):
                place = (of_project, environment, row.role, row.name)
                found += [Dangling(*place, *told) for told in _troubles(place, lacks, entry)]
        return found


def _troubles(place: tuple[str, str, str, str], lacks: Sequence[Missing], entry: Planned) -> Iterator[tuple[str, str]]:
    """Why a connection is not given as it stands, and the mend for each reason."""
    project, environment, role, name = place
    at = f"-p {project} -e {environment}"
    for lack in lacks:
        mend = f"sealrun secret set {lack.name} {at}"
        if lack.what == "source":
            mend = f"sealrun source create {lack.name} {at} --kind KIND"
        yield f"{lack.field} names the {lack.what} {lack.name}, which is not there", mend
    if entry.refused is not None and not any(lack.what == "source" for lack in lacks):
        # A name that nobody here gave may be anything, and this is to be typed.
        yield entry.refused, f"sealrun {role} create {shlex.quote(str(name))} {at} --file FILE --replace"


def _with_their_sources(plan: Sequence[Planned]) -> list[Planned]:
    """The plan; a catalog whose source cannot be given cannot be given either."""
    sources = {entry.name: entry for entry in plan if entry.role == SOURCE}
    return [_with_its_source(entry, sources) for entry in plan]


def _with_its_source(entry: Planned, sources: dict[str, Planned]) -> Planned:
    name = entry.settings.get("source") if entry.role == CATALOG else None
    if name is None:
        return entry
    source = sources.get(name)
    if source is None:
        why = f"its source {name} is not there"
    elif source.refused is not None:
        why = f"its source {name} cannot be given: {source.refused}"
    elif source.kind not in S3_LIKE:
        why = f"its source {name} is of kind {source.kind}, and has no bucket"
    else:
        return entry
    return replace(entry, settings={}, refused=why)


def _refuse_values(role: str, name: str, missing: Iterable[Missing]) -> None:
    for lack in missing:
        if lack.what == "secret" and looks_like_a_value(lack.name):
            hint = "if it is one, replace it: it was typed in the open. Store the new one: sealrun secret set NAME"
            why = f"{lack.field} names no secret that is there, and what stands in its place looks like a value"
            raise ConnectionRefused(label=f"{role} {name}", why=why, hint=hint)


def _refuse_unfit_source(
    session: Session, environment: Environment, role: str, name: str, kind: str, read: Settings
) -> None:
    """A catalog takes endpoint and keys of a source that has them."""
    label = f"{role} {name}"
    if role == SOURCE and kind not in S3_LIKE and (by := _catalogs_of(session, environment.id, name)):
        raise ConnectionRefused(label=label, why=f"{_listed(by)} names it, and the kind {kind} has no bucket")
    if role == CATALOG and (source := read.stored().get("source")):
        there = _row(session, environment, SOURCE, source)
        if there is not None and there.kind not in S3_LIKE:
            why = f"source names {source}, which is of kind {there.kind} and has no bucket"
            raise ConnectionRefused(label=label, why=why, hint=f"it takes a source of kind {' or '.join(S3_LIKE)}")


def _catalogs_of(session: Session, environment_id: str, source: str) -> list[str]:
    query = select(Connection).where(Connection.environment_id == environment_id, Connection.role == CATALOG)
    rows = session.exec(query.order_by(col(Connection.name)))
    return [entry.label for entry in map(_stored, rows) if entry.settings.get("source") == source]


def _refuse_named(project: Project, environment: Environment, what: str, by: Sequence[str]) -> None:
    if by:
        hint = "change or delete what names it first; or add --force, and what names it is left out of runs"
        raise InUse(
            "{what} of {project}/{environment} is named by {by}",
            what=what,
            project=project.name,
            environment=environment.name,
            by=_listed(by),
            hint=hint,
        )


def _listed(labels: Sequence[str]) -> str:
    return " and ".join([*([", ".join(labels[:-1])] if len(labels) > 1 else []), labels[-1]])


def _row(session: Session, environment: Environment, role: str, name: str) -> Connection | None:
    query = select(Connection).where(
        Connection.environment_id == environment.id, Connection.role == role, Connection.name == name
    )
    return session.exec(query).first()


def _find(session: Session, project: Project, environment: Environment, role: str, name: str) -> Connection:
    if row := _row(session, environment, role, name):
        return row
    of_here = select(Connection.name).where(Connection.environment_id == environment.id, Connection.role == role)
    hint = did_you_mean(name, session.exec(of_here.order_by(col(Connection.name))))
    if hint is None and _row(session, environment, other := CATALOG if role == SOURCE else SOURCE, name):
        hint = f"there is a {other} of this name"
    elif hint is None and not is_connection_name(name):  # nothing can be created under it
        hint = f"list them: sealrun {role} list -p {project.name} -e {environment.name}"
    raise UnknownConnection(role=role, name=name, project=project.name, environment=environment.name, hint=hint)


def _missing(session: Session, environment_id: str, entries: Sequence[Planned]) -> list[tuple[Missing, ...]]:
    """What each of an environment's entries names and is not there."""
    named = sorted({name for entry in entries for name in entry.secrets()})
    secrets: set[str] = set()
    for part in parts(named):
        query = select(Secret.name).where(Secret.environment_id == environment_id, col(Secret.name).in_(part))
        secrets.update(session.exec(query))
    of_here = select(Connection.name).where(Connection.environment_id == environment_id, Connection.role == SOURCE)
    sources = set(session.exec(of_here))
    return [tuple(_lacks(entry, secrets, sources)) for entry in entries]


def _lacks(entry: Planned, secrets: set[str], sources: set[str]) -> Iterator[Missing]:
    for reference in entry.references():
        if reference.secret not in secrets:
            yield Missing(reference.place, "secret", reference.secret)
    source = entry.settings.get("source") if entry.role == CATALOG else None
    if source is not None and source not in sources:
        yield Missing("source", "source", source)


def _stored(row: Connection) -> Planned:
    """A row's settings as they were given. What nobody here wrote names nothing."""
    try:
        entry = Planned(row.role, row.name, row.kind, dict(json.loads(row.settings)))
        names = [reference.secret for reference in entry.references()]
        names += [entry.settings["source"]] if "source" in entry.settings else []
        in_order = all(map(has_form_of_name, names))
    except (ValueError, TypeError, RecursionError):
        in_order = False
    return entry if in_order else Planned(row.role, row.name, row.kind, {})


def _act(row: Connection, environment: str, action: str) -> Act:
    """What is recorded: the kind, and what it names."""
    entry = _stored(row)
    detail = {"connection_id": row.id, "kind": row.kind, "secrets": sorted(entry.secrets())}
    if source := entry.settings.get("source"):
        detail["source"] = source
    return Act(action, f"{environment}/{row.name}", detail)


def _view(row: Connection, environment: str, missing: tuple[Missing, ...]) -> ConnectionView:
    entry = _stored(row)
    return ConnectionView(
        id=row.id,
        role=row.role,
        name=row.name,
        environment=environment,
        kind=row.kind,
        where=where(row.role, row.name, row.kind, entry.settings),
        settings=entry.settings,
        secrets=tuple(sorted(entry.secrets())),
        tested_at=row.tested_at,
        test_outcome=row.test_outcome,
        test_seconds=row.test_seconds,
        test_message=row.test_message,
        test_run=row.test_run,
        created_at=row.created_at,
        created_by=row.created_by,
        updated_at=row.updated_at,
        updated_by=row.updated_by,
        problem=planned(row.role, row.name, row.kind, row.settings).refused,
        missing=missing,
    )
