"""Data sources and catalogs of an environment: settings that name secrets. Nothing here can open one."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlmodel import Session, col, select

from secretstore.audit import Act, Actor, append
from secretstore.connections import S3_LIKE, Role, Settings, check, for_run, looks_like_a_value, where
from secretstore.database import Database
from secretstore.errors import AlreadyExists, ConnectionRefused, UnknownConnection
from secretstore.models import Connection, Environment, Project
from secretstore.naming import is_connection_name
from secretstore.plain_values import without_login
from secretstore.run_connection import CATALOG, SOURCE, RunConnection
from secretstore.timestamps import utc_now
from secretstore.vault.lookup import (
    did_you_mean,
    find_place,
    hold_environment,
    hold_place,
    hold_project,
    taken_names,
    within,
)
from secretstore.vault.references import listed, missing_names, named_by, refuse_named, stored
from secretstore.views import ConnectionView, Missing, view_of

_LONGEST_MESSAGE = 1000  # characters
_TOLD = 500  # characters of a setting


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
    """Create a data source or catalog in one environment; it raises what `create_connections` does."""
    (view,) = create_connections(db, project, [environment], role, name, kind, settings, actor=actor, replace=replace)
    return view


def create_connections(
    db: Database,
    project: str,
    environments: Sequence[str],
    role: Role,
    name: str,
    kind: str,
    settings: Any,
    *,
    actor: Actor,
    replace: bool = False,
) -> list[ConnectionView]:
    """Create a data source or catalog in each of the environments, or in none of them.

    What it names may be created later: a view's `missing` lists it.

    Args:
        role: `source` or `catalog`.
        name: 1 to 63 lower-case letters, digits and `-`, a letter first.
        kind: one of the role's kinds.
        settings: the kind's fields, see `secretstore.connections`.
        replace: give these settings to an existing one of this name.

    Raises:
        NameRefused, ConnectionRefused: the name, the kind or the settings break a rule; no value is quoted.
        AlreadyExists: the name is taken, and `replace` is not given.
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    read = check(role, name, kind, settings)
    with taken_names(role, name), db.writing() as session:
        place = hold_project(session, project)
        # Held in the order of their names, so that two writers never wait for each other.
        held = {one: hold_environment(session, place, one) for one in sorted(set(environments))}
        views, acts = {}, []
        for environment in held.values():
            row = _row(session, environment, role, name)
            if row is not None and not replace:
                which = f"it is in {environment.name}; " if len(held) > 1 else ""
                raise AlreadyExists(what=role, name=name, hint=f"{which}to give it other settings, add --replace")
            # A name that does not exist yet is fine, unless it looks like a value typed instead of one.
            (missing,) = missing_names(session, environment.id, [RunConnection(role, name, kind, read.stored())])
            _refuse_values(role, name, missing)
            _refuse_unfit_source(session, environment, role, name, kind, read)
            action = f"{role}.create" if row is None else f"{role}.replace"
            old = None if row is None else stored(row).settings
            row = _set(session, environment, row, role, name, kind, read, actor)
            acts.append(_act(row, environment.name, action, old))
            views[environment.name] = _view(row, environment.name, missing)
        append(session, place, actor, *acts)
        return [views[environment] for environment in dict.fromkeys(environments)]


def _set(
    session: Session,
    environment: Environment,
    row: Connection | None,
    role: Role,
    name: str,
    kind: str,
    read: Settings,
    actor: Actor,
) -> Connection:
    """Give the environment's row, or a new one, these settings."""
    now = utc_now()
    row = row or Connection(
        environment_id=environment.id,
        role=role,
        name=name,
        kind=kind,
        settings="",
        created_at=now,
        created_by=actor.name,
        updated_by=actor.name,
    )
    row.kind, row.settings = kind, json.dumps(read.stored())
    # A test of the former settings says nothing about these.
    row.tested_at = row.test_outcome = row.test_seconds = row.test_message = row.test_run = None
    row.updated_at, row.updated_by = now, actor.name
    session.add(row)
    return row


def list_connections(
    db: Database, project: str, environment: str | None = None, role: Role | None = None
) -> list[ConnectionView]:
    """Return the sources and catalogs of an environment, or of all of a project's: sources first, by name.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        query = select(Connection, Environment.name).where(
            Connection.environment_id == Environment.id, within(session, project, environment)
        )
        if role is not None:
            query = query.where(Connection.role == role)
        rows = session.exec(query.order_by(col(Environment.name), col(Connection.role).desc(), col(Connection.name)))
        # Names are looked up once for each environment.
        environments: dict[str, list[tuple[Connection, str]]] = defaultdict(list)
        for row, name in rows:
            environments[row.environment_id].append((row, name))
        views = []
        for environment_id, found in environments.items():
            missing = missing_names(session, environment_id, [stored(row) for row, _ in found])
            views += [_view(row, name, lacks) for (row, name), lacks in zip(found, missing, strict=True)]
        return views


def get_connection(db: Database, project: str, environment: str, role: Role, name: str) -> ConnectionView:
    """Return a data source or catalog.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownConnection: it does not exist.
    """
    with db.reading() as session:
        place, found = find_place(session, project, environment)
        row = _find(session, place, found, role, name)
        (missing,) = missing_names(session, found.id, [stored(row)])
        return _view(row, environment, missing)


def delete_connection(
    db: Database, project: str, environment: str, role: Role, name: str, *, actor: Actor, force: bool = False
) -> None:
    """Delete a data source or catalog; the secrets it names stay.

    Raises:
        InUse: a catalog names this source, and `force` is not given.
        UnknownProject, UnknownEnvironment, UnknownConnection: it does not exist.
    """
    with db.writing() as session:
        place, held = hold_place(session, project, environment)
        row = _find(session, place, held, role, name)
        if role == SOURCE and not force:
            refuse_named(session, place, held, "source", name)
        session.delete(row)
        append(session, place, actor, _act(row, held.name, f"{role}.delete"))


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
    """Record how a test of a data source or catalog went; return whether it was recorded.

    Args:
        seconds: how long it took, if known.
        message: what was found, or why it failed, masked; 1,000 characters of it are kept.
        run: the id of the run that tested it.
        tested: the view's `updated_at` when the test began; a test of settings since replaced is not recorded.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownConnection: it does not exist.
    """
    with db.writing() as session:
        place, held = hold_place(session, project, environment)
        row = _find(session, place, held, role, name)
        if tested is not None and row.updated_at != tested:
            return False
        row.tested_at, row.test_outcome, row.test_seconds, row.test_run = utc_now(), outcome, seconds, run
        row.test_message = message[:_LONGEST_MESSAGE] if message else None
        detail = {"connection_id": row.id, "kind": row.kind, "run": run}
        how = "done" if outcome == "ok" else "failed"
        append(session, place, actor, Act(f"{role}.test", f"{held.name}/{name}", detail, how))
        return True


def _refuse_values(role: str, name: str, missing: Iterable[Missing]) -> None:
    for lack in missing:
        if lack.what == "secret" and looks_like_a_value(lack.name):
            hint = "if it is one, replace it, since it was typed in the open: sealrun secret set NAME"
            why = f"{lack.field} takes the name of a secret; no secret has the name given, which looks like a value"
            raise ConnectionRefused(label=f"{role} {name}", why=why, hint=hint)


def _refuse_unfit_source(
    session: Session, environment: Environment, role: str, name: str, kind: str, read: Settings
) -> None:
    """A catalog takes endpoint and keys from its source, which must be of a kind that has them."""
    label = f"{role} {name}"
    if role == SOURCE and kind not in S3_LIKE and (by := named_by(session, environment.id, "source", name)):
        raise ConnectionRefused(label=label, why=f"{listed(by)} names it, and the kind {kind} has no bucket")
    if role == CATALOG and (source := read.stored().get("source")):
        there = _row(session, environment, SOURCE, source)
        if there is not None and there.kind not in S3_LIKE:
            why = f"source names {source}, which is of kind {there.kind} and has no bucket"
            raise ConnectionRefused(label=label, why=why, hint=f"it takes a source of kind {' or '.join(S3_LIKE)}")


def _row(session: Session, environment: Environment, role: str, name: str) -> Connection | None:
    query = select(Connection).where(
        Connection.environment_id == environment.id, Connection.role == role, Connection.name == name
    )
    return session.exec(query).first()


def _find(session: Session, project: Project, environment: Environment, role: str, name: str) -> Connection:
    if row := _row(session, environment, role, name):
        return row
    names = select(Connection.name).where(Connection.environment_id == environment.id, Connection.role == role)
    hint = did_you_mean(name, session.exec(names.order_by(col(Connection.name))))
    if hint is None and _row(session, environment, other := CATALOG if role == SOURCE else SOURCE, name):
        hint = f"there is a {other} of this name"
    elif hint is None and not is_connection_name(name):  # the usual hint, to create it, would not work
        hint = f"list them: sealrun {role} list -p {project.name} -e {environment.name}"
    raise UnknownConnection(role=role, name=name, project=project.name, environment=environment.name, hint=hint)


def _act(row: Connection, environment: str, action: str, old: dict[str, Any] | None = None) -> Act:
    """Return the audit entry of an act: the kind, what the connection names, and where it leads and led.

    Whoever changes an address is sent the credential that runs take there.
    """
    entry = stored(row)
    detail: dict[str, Any] = {"connection_id": row.id, "kind": row.kind, "secrets": sorted(entry.secrets())}
    detail["settings"] = _told(entry.settings)
    if old is not None:
        detail["old"] = _told(old)
    if source := entry.settings.get("source"):
        detail["source"] = source
    return Act(action, f"{environment}/{row.name}", detail)


def _told(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as the record keeps them for good: names of secrets, and texts without a login in their URLs."""
    return {key: without_login(one)[:_TOLD] if isinstance(one, str) else one for key, one in settings.items()}


def _view(row: Connection, environment: str, missing: tuple[Missing, ...]) -> ConnectionView:
    entry = stored(row)
    return view_of(
        ConnectionView,
        row,
        environment=environment,
        where=where(row.role, row.name, row.kind, entry.settings),
        settings=entry.settings,
        secrets=tuple(sorted(entry.secrets())),
        problem=for_run(row.role, row.name, row.kind, row.settings).refused,
        missing=missing,
    )
