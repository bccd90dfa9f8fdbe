"""Secrets: listed by name, with their versions, rolled back, deleted. Nothing here can open one."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy
from sqlalchemy import ColumnElement, Integer, and_, bindparam, func, true
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from secretstore.audit import Act, Actor, append
from secretstore.database import Database
from secretstore.errors import RollbackRefused, UnknownSecret
from secretstore.models import Environment, Project, Secret, SecretVersion
from secretstore.timestamps import utc_now
from secretstore.transaction import Reader
from secretstore.vault.acts import act_on
from secretstore.vault.lookup import COMPARED, did_you_mean, find_place, hold_place, living, within
from secretstore.vault.references import refuse_named, secrets_there
from secretstore.views import DueView, SecretView, VersionView, view_of


@dataclass(frozen=True)
class SecretSummary:
    """What a user who may list a secret can see of it.

    `version` is the one that runs get, `last_version` the newest; they differ after a rollback.
    """

    name: str
    version: int
    last_version: int
    maskable: bool
    expires_at: datetime | None
    has_value: bool
    """Whether the version that runs get is sealed under the current key pair."""
    as_file: bool = False
    """Whether runs get a private file with the value, and its path as the variable."""


def summarize_secrets(db: Database, project: str, environment: str) -> list[SecretSummary]:
    """Return a summary of each secret of an environment, by name. No ciphertext leaves the database.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        _, found = find_place(session, project, environment)
        query = (
            select(Secret, col(SecretVersion.version))
            .join(SecretVersion, current_version(found), isouter=True)
            .where(Secret.environment_id == found.id)
            .order_by(col(Secret.name))
        )
        return [
            view_of(SecretSummary, secret, version=secret.current_version, has_value=sealed is not None)
            for secret, sealed in session.exec(query)
        ]


def current_version(environment: Environment) -> ColumnElement[bool]:
    """Return the condition that joins a secret to its current version under the current key pair."""
    return and_(
        col(SecretVersion.secret_id) == Secret.id,
        col(SecretVersion.version) == Secret.current_version,
        col(SecretVersion.generation) == environment.generation,
    )


def list_secrets(
    db: Database,
    project: str,
    environment: str | None = None,
    *,
    only: Collection[str] | None = None,
    after: Sequence[str] | None = None,
    most: int | None = None,
) -> list[SecretView]:
    """Return the secrets of an environment, or of all of a project's, by environment and name.

    Args:
        project: its name.
        environment: its name; None for all.
        only: ids of environments; None for all.
        after: names of an environment and a secret, behind which to begin.
        most: how many; None for all.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        # Columns and not objects: there may be ten thousand. SQLModel makes __table__.
        # By bytes on every server, whatever its language: a page begins where another one ended.
        by: list[Any] = [col(Environment.name), col(Secret.name)]
        if db.dialect != "sqlite":
            by = [column.collate("C") for column in by]
        query = (
            sqlalchemy.select(*Secret.__table__.columns, col(Environment.name).label("environment"))  # type: ignore[attr-defined]
            .where(col(Secret.environment_id) == Environment.id, within(session, project, environment))
            .order_by(*by)
            .limit(most)
        )
        if only is not None:
            query = query.where(col(Environment.id).in_(only))
        if after is not None:
            query = query.where(sqlalchemy.tuple_(*by) > sqlalchemy.tuple_(*map(sqlalchemy.literal, after)))
        return [view_of(SecretView, row, version=row.current_version) for row in session.execute(query)]


def history(db: Database, project: str, environment: str, name: str) -> list[VersionView]:
    """Return a secret's versions, the newest first.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownSecret: it does not exist.
    """
    with db.reading() as session:
        secret = find_secret(session, *find_place(session, project, environment), name)
        query = select(SecretVersion).where(SecretVersion.secret_id == secret.id)
        # A version re-sealed under a newer key pair has several rows; the oldest tells when it was set.
        rows = session.exec(query.order_by(col(SecretVersion.version).desc(), col(SecretVersion.generation)))
        first: dict[int, SecretVersion] = {}
        for row in rows:
            first.setdefault(row.version, row)
        return [view_of(VersionView, row, current=row.version == secret.current_version) for row in first.values()]


def rollback(
    db: Database, project: str, environment: str, name: str, *, to: int | None = None, actor: Actor
) -> SecretView:
    """Make a kept version the current one: a pointer moves, the ciphertexts stay.

    The next value that is stored gets a number above all there ever were.

    Args:
        to: the version; None for the newest of those before the current one.

    Raises:
        RollbackRefused: the version is not kept, or is the current one.
        UnknownProject, UnknownEnvironment, UnknownSecret: it does not exist.
    """
    with db.writing() as session:
        place, held = hold_place(session, project, environment)
        secret = find_secret(session, place, held, name)
        query = (
            select(SecretVersion.version, SecretVersion.maskable, SecretVersion.expires_at)
            # A version that is not sealed under the current key pair could not be opened.
            .where(SecretVersion.secret_id == secret.id, SecretVersion.generation == held.generation)
            .order_by(col(SecretVersion.version))
        )
        kept = {version: (maskable, expires_at) for version, maskable, expires_at in session.exec(query)}
        left = secret.current_version
        if to is None:
            to = max((version for version in kept if version < left), default=None)
        if to is None or to == left or to not in kept:
            why = _why_not(to, left, kept)
            raise RollbackRefused(name=name, project=project, environment=environment, why=why)
        secret.current_version = to
        secret.maskable, secret.expires_at = kept[to]
        secret.updated_at, secret.updated_by = utc_now(), actor.name
        detail = {"secret_id": secret.id, "from": left, "to": to}
        append(session, place, actor, Act("secret.rollback", f"{environment}/{name}", detail))
        return view_of(SecretView, secret, environment=environment, version=to)


def secret_id(db: Database, project: str, environment: str, name: str) -> str:
    """Return a secret's id, under which receipts know it.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownSecret: it does not exist.
    """
    with db.reading() as session:
        return find_secret(session, *find_place(session, project, environment), name).id


def delete_secret(
    db: Database, project: str, environment: str, name: str, *, actor: Actor, force: bool = False
) -> None:
    """Delete a secret with all its versions. One created later under the same name has another id.

    Raises:
        InUse: a data source or catalog names it, and `force` is not given.
        UnknownProject, UnknownEnvironment, UnknownSecret: it does not exist.
    """
    with db.writing() as session:
        place, held = hold_place(session, project, environment)
        secret = find_secret(session, place, held, name)
        if not force:
            refuse_named(session, place, held, "secret", name)
        session.delete(secret)
        append(session, place, actor, act_on(secret, held.name, "secret.delete"))


def require_secrets(db: Database, project: str, environment: str, names: Iterable[str]) -> None:
    """Check that these secrets exist, without reading all the others.

    Raises:
        UnknownSecret: one does not; the hint suggests a close name.
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    wanted = list(dict.fromkeys(names))
    with db.reading() as session:
        _, found = find_place(session, project, environment)
        there = secrets_there(session, found.id, wanted)
        for name in wanted:
            if name not in there:
                raise unknown_secret(session, project, found.id, found.name, name)


def secrets_among(db: Database, project: str, environment: str, names: Iterable[str]) -> set[str]:
    """Return those of the names that secrets of the environment have.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        _, found = find_place(session, project, environment)
        return secrets_there(session, found.id, list(names))


def secrets_like(db: Database, project: str, environment: str, name: str) -> set[str]:
    """Return the names of the environment's secrets that differ from this one in `.`, `-`, case and a first `_`.

    Only those decide whether it gets its alias, see `secretstore.naming.aliases`.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        _, found = find_place(session, project, environment)
        folded = func.upper(func.replace(func.replace(col(Secret.name), ".", "_"), "-", "_"))
        bare = name.replace(".", "_").replace("-", "_").upper()
        query = select(Secret.name).where(
            Secret.environment_id == found.id,
            func.length(Secret.name).between(len(name) - 1, len(name) + 1),  # spares most names the next line
            folded.in_((bare, f"_{bare}", bare.removeprefix("_"))),
        )
        return set(session.exec(query))


def due_secrets(
    db: Database, before: datetime, limit: int, within: ColumnElement[bool] | None = None
) -> tuple[list[DueView], int]:
    """Return the secrets of all projects that expire before a moment, the first ones first, and their number.

    Expired ones are among them; at most `limit` are listed, all are counted. `within` is a condition on their places.
    """
    due = and_(col(Secret.expires_at) < before, true() if within is None else within)
    with db.reading() as session:
        count = session.exec(select(func.count()).where(due, Secret.project_id == Project.id, living())).one()
        query = (
            select(Project.name, Environment.name, Secret.name, Secret.expires_at)
            .where(due, Secret.environment_id == Environment.id, Secret.project_id == Project.id, living())
            .order_by(col(Secret.expires_at), col(Secret.name))
            .limit(limit)
        )
        return [DueView(*row) for row in session.exec(query)], count


def unknown_secret(
    session: Reader, project: str, environment_id: str, environment: str, name: str, hint: str | None = None
) -> UnknownSecret:
    """Return the error for a name that does not exist, with a close one as its hint, else this one, else the usual."""
    nearest = func.abs(func.length(Secret.name) - bindparam("length", type_=Integer()))
    names = select_rows(col(Secret.name)).where(col(Secret.environment_id) == bindparam("of_environment"))
    names = names.order_by(nearest, col(Secret.name)).limit(COMPARED)
    found = session.connection().execute(names, {"length": len(name), "of_environment": environment_id}).all()
    hint = did_you_mean(name, [one for (one,) in found]) or hint
    return UnknownSecret(name=name, project=project, environment=environment, hint=hint)


def find_secret(session: Session, project: Project, environment: Environment, name: str) -> Secret:
    """Return a secret of an environment.

    Raises:
        UnknownSecret: it does not exist.
    """
    query = select(Secret).where(Secret.environment_id == environment.id, Secret.name == name)
    if secret := session.exec(query).first():
        return secret
    there = f"list them: sealrun secret list -p {project.name} -e {environment.name}"
    raise unknown_secret(session, project.name, environment.id, environment.name, name, there)


def _why_not(to: int | None, current: int, kept: Collection[int]) -> str:
    if to is None:
        why = f"no version before {current}, the current one, is kept"
    elif to == current:
        why = f"version {to} is the current one"
    else:
        why = f"version {to} is not kept"
    return f"{why}; there is {_listed(kept)}"


def _listed(versions: Iterable[int]) -> str:
    """Write numbers as a person does: 1, 4 to 9."""
    ranges: list[list[int]] = []
    for version in sorted(versions):
        if ranges and version == ranges[-1][-1] + 1:
            ranges[-1].append(version)
        else:
            ranges.append([version])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in ranges)
