"""Secrets: listed by name, with their versions, rolled back, deleted. Nothing here can open one."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy
from sqlalchemy import func
from sqlmodel import Session, col, select

from secretstore.audit import Actor, append, append_many
from secretstore.database import Database
from secretstore.errors import RollbackRefused, UnknownSecret
from secretstore.models import Environment, Project, Secret, SecretVersion
from secretstore.timestamps import utc_now
from secretstore.vault.connections import refuse_named
from secretstore.vault.places import (
    COMPARED,
    did_you_mean,
    find_environment,
    find_project,
    hold_environment,
    hold_project,
)
from secretstore.vault.shown import secret_view
from secretstore.vault.storing import act_on, parts
from secretstore.views import DueView, SecretView, VersionView

_VIEWED: tuple[Any, ...] = (
    Secret.id,
    Secret.name,
    Environment.name,
    Secret.current_version,
    Secret.maskable,
    Secret.created_at,
    Secret.created_by,
    Secret.updated_at,
    Secret.updated_by,
    Secret.expires_at,
    Secret.as_file,
)
"""The fields of a `SecretView`, in its order."""


def list_secrets(db: Database, project: str, environment: str | None = None) -> list[SecretView]:
    """Return the secrets of an environment, or of all of a project's, by environment and name.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        place = find_project(session, project)
        # Columns and not objects: there may be ten thousand.
        query = sqlalchemy.select(*_VIEWED).where(
            col(Secret.environment_id) == Environment.id, col(Environment.project_id) == place.id
        )
        if environment is not None:
            query = query.where(col(Environment.id) == find_environment(session, place, environment).id)
        rows = session.execute(query.order_by(col(Environment.name), col(Secret.name)))
        return [SecretView(*row) for row in rows]


def history(db: Database, project: str, environment: str, name: str) -> list[VersionView]:
    """Return a secret's versions, the newest first.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownSecret: it does not exist.
    """
    with db.reading() as session:
        place = find_project(session, project)
        secret = _find(session, place, find_environment(session, place, environment), name)
        query = select(SecretVersion).where(SecretVersion.secret_id == secret.id)
        # A version re-sealed under a newer key pair has several rows; the oldest tells when it was set.
        rows = session.exec(query.order_by(col(SecretVersion.version).desc(), col(SecretVersion.generation)))
        first: dict[int, SecretVersion] = {}
        for row in rows:
            first.setdefault(row.version, row)
        return [
            VersionView(
                row.version,
                row.created_at,
                row.created_by,
                row.version == secret.current_version,
                row.maskable,
                row.expires_at,
            )
            for row in first.values()
        ]


def rollback(
    db: Database, project: str, environment: str, name: str, *, to: int | None = None, actor: Actor
) -> SecretView:
    """Make a version that is kept the current one: a pointer moves, and what is sealed stays as it is.

    The next value that is stored is a version above all there ever were.

    Args:
        to: the version; None for the newest of those before the current one.

    Raises:
        RollbackRefused: the version is not kept, or is the current one.
        UnknownProject, UnknownEnvironment, UnknownSecret: it does not exist.
    """
    with db.writing() as session:
        place = hold_project(session, project)
        held = hold_environment(session, place, environment)
        secret = _find(session, place, held, name)
        query = (
            select(SecretVersion.version, SecretVersion.maskable, SecretVersion.expires_at)
            # What is not sealed under the current key pair could not be opened.
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
        subject = f"{environment}/{name}"
        append(session, place.id, place.name, actor=actor, action="secret.rollback", subject=subject, detail=detail)
        return secret_view(secret, environment)


def secret_id(db: Database, project: str, environment: str, name: str) -> str:
    """Return a secret's id, under which receipts know it.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownSecret: it does not exist.
    """
    with db.reading() as session:
        place = find_project(session, project)
        return _find(session, place, find_environment(session, place, environment), name).id


def delete_secret(
    db: Database, project: str, environment: str, name: str, *, actor: Actor, force: bool = False
) -> None:
    """Delete a secret with all its versions. One made later under the same name has another id.

    Raises:
        InUse: a data source or catalog names it, without `force`.
        UnknownProject, UnknownEnvironment, UnknownSecret: it does not exist.
    """
    with db.writing() as session:
        place = hold_project(session, project)
        held = hold_environment(session, place, environment)
        secret = _find(session, place, held, name)
        if not force:
            refuse_named(session, place, held, name)
        session.delete(secret)
        append_many(session, place.id, place.name, actor=actor, acts=[act_on(secret, held.name, "secret.delete")])


def require_secrets(db: Database, project: str, environment: str, names: Iterable[str]) -> None:
    """Check that secrets are there, without a look at all the others.

    Raises:
        UnknownSecret: one is not; the hint suggests a close name.
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    wanted = list(dict.fromkeys(names))
    with db.reading() as session:
        place = find_project(session, project)
        found = find_environment(session, place, environment)
        there = _among(session, found, wanted)
        for name in wanted:
            if name not in there:
                raise unknown_secret(session, project, found, name)


def secrets_among(db: Database, project: str, environment: str, names: Iterable[str]) -> set[str]:
    """Return which of these names an environment's secrets have.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        return _among(session, find_environment(session, find_project(session, project), environment), list(names))


def secrets_like(db: Database, project: str, environment: str, name: str) -> set[str]:
    """Return the names of an environment's secrets that differ from this one in `.`, `-`, case and a first `_`.

    Those, and no others, decide whether it gets its alias, see `secretstore.naming.aliases`.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        found = find_environment(session, find_project(session, project), environment)
        folded = func.upper(func.replace(func.replace(col(Secret.name), ".", "_"), "-", "_"))
        bare = name.replace(".", "_").replace("-", "_").upper()
        query = select(Secret.name).where(
            Secret.environment_id == found.id,
            func.length(Secret.name).between(len(name) - 1, len(name) + 1),  # spares most names the next line
            folded.in_((bare, f"_{bare}", bare.removeprefix("_"))),
        )
        return set(session.exec(query))


def due_secrets(db: Database, before: datetime, limit: int) -> tuple[list[DueView], int]:
    """Return the secrets of all projects that expire before a moment, the first ones first, and how many there are.

    Args:
        before: the moment; who has expired is among them.
    """
    due = col(Secret.expires_at) < before
    with db.reading() as session:
        count = session.exec(select(func.count()).select_from(Secret).where(due)).one()
        query = (
            select(Project.name, Environment.name, Secret.name, Secret.expires_at)
            .where(due, Secret.environment_id == Environment.id, Secret.project_id == Project.id)
            .order_by(col(Secret.expires_at), col(Secret.name))
            .limit(limit)
        )
        return [DueView(*row) for row in session.exec(query)], count


def unknown_secret(session: Session, project: str, environment: Environment, name: str) -> UnknownSecret:
    """Return the error for a name that is not there, with a close one as its hint."""
    names = select(Secret.name).where(Secret.environment_id == environment.id)
    nearest = func.abs(func.length(Secret.name) - len(name))
    hint = did_you_mean(name, session.exec(names.order_by(nearest, col(Secret.name)).limit(COMPARED)))
    return UnknownSecret(name=name, project=project, environment=environment.name, hint=hint)


def _find(session: Session, project: Project, environment: Environment, name: str) -> Secret:
    query = select(Secret).where(Secret.environment_id == environment.id, Secret.name == name)
    if secret := session.exec(query).first():
        return secret
    raise unknown_secret(session, project.name, environment, name)


def _among(session: Session, environment: Environment, names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for part in parts(names):
        query = select(Secret.name).where(Secret.environment_id == environment.id, col(Secret.name).in_(part))
        found.update(session.exec(query))
    return found


def _why_not(to: int | None, current: int, kept: Collection[int]) -> str:
    if to is None:
        why = f"nothing before version {current}, the current one, is kept"
    elif to == current:
        why = f"version {to} is the current one"
    else:
        why = f"version {to} is not kept"
    return f"{why}; there is {_listed(kept)}"


def _listed(versions: Iterable[int]) -> str:
    """Numbers as a person writes them: 1, 4 to 9."""
    ranges: list[list[int]] = []
    for version in sorted(versions):
        if ranges and version == ranges[-1][-1] + 1:
            ranges[-1].append(version)
        else:
            ranges.append([version])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in ranges)
