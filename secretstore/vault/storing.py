"""Storing: values sealed and variables set, one or thousands, all or none. Nothing here can open one."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete
from sqlmodel import Session, col, select

from secretstore.audit import Act, Actor, append
from secretstore.database import Database
from secretstore.errors import NameRefused
from secretstore.models import Environment, Project, Secret, SecretVersion, Variable, new_id
from secretstore.pins import Pins
from secretstore.sealing import Binding, PublicKey, seal
from secretstore.timestamps import utc_now
from secretstore.vault.acts import act_on, act_on_variable
from secretstore.vault.entries import NewSecret, NewVariable, check, is_maskable
from secretstore.vault.lookup import hold_environment, hold_project
from secretstore.views import SecretView, VariableView, view_of

VERSIONS_KEPT = 10
"""Of each secret: how far `secret rollback` reaches. Every kept version is ciphertext that a stolen key would open."""

_AT_ONCE = 500  # names or ids in one statement: far below the limit of either database


def store(
    db: Database,
    project: str,
    entries: Sequence[NewSecret | NewVariable],
    *,
    actor: Actor,
    pins: Pins | None,
    keep: int = VERSIONS_KEPT,
) -> list[SecretView | VariableView]:
    """Store the entries in one transaction, or none of them.

    Args:
        entries: what to store, in any number of the project's environments.
        pins: the key pairs this user remembers; not needed for variables.
        keep: how many versions of a secret to keep; older ones are destroyed.

    Returns:
        What was stored, in the order of the entries.

    Raises:
        NameRefused: a name breaks the rule, is given twice for an environment, or is a variable's and a secret's.
        ValueRefused: a value or an expiry breaks a rule; values are not quoted.
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    # Refuse everything that can be refused without the database first: sealing holds locks.
    now = utc_now()
    places: dict[str, dict[str, NewSecret | NewVariable]] = defaultdict(dict)
    for entry in entries:
        check(entry, now)
        if entry.name in places[entry.environment]:
            raise NameRefused(name=entry.name, why=f"it is given twice for {entry.environment}")
        places[entry.environment][entry.name] = entry
    if not entries:
        return []
    views: dict[tuple[str, str], SecretView | VariableView] = {}
    with db.writing() as session:
        place = hold_project(session, project)
        # Held in the order of their names, so that two writers never wait for each other.
        held = [hold_environment(session, place, name) for name in sorted(places)]
        acts: list[Act] = []
        for environment in held:
            here, where = places[environment.name].values(), environment.name
            if secrets := [entry for entry in here if isinstance(entry, NewSecret)]:
                assert pins is not None, "what a secret is sealed to must be remembered"
                for secret in _seal(session, place, environment, secrets, actor, now, pins, keep):
                    views[where, secret.name] = view_of(
                        SecretView, secret, environment=where, version=secret.current_version
                    )
                    gone = secret.last_version - keep
                    destroyed = {"destroyed_up_to": gone} if gone > 0 else {}
                    acts.append(act_on(secret, where, "secret.set", **destroyed))
            if variables := [entry for entry in here if isinstance(entry, NewVariable)]:
                for variable, old in _set(session, environment, variables, actor, now):
                    views[where, variable.name] = view_of(VariableView, variable, environment=where)
                    acts.append(act_on_variable("variable.set", where, variable.name, old, variable.value))
        append(session, place, actor, *acts)
    return [views[entry.environment, entry.name] for entry in entries]


def put(
    db: Database,
    project: str,
    environment: str,
    name: str,
    value: bytes,
    *,
    actor: Actor,
    pins: Pins,
    allow_short: bool = False,
    expires_at: datetime | None = None,
    as_file: bool | None = None,
    keep: int = VERSIONS_KEPT,
) -> SecretView:
    """Seal a value and store it as the secret's next version; it raises what `store` does."""
    entry = NewSecret(environment, name, value, expires_at, allow_short, as_file)
    (view,) = store(db, project, [entry], actor=actor, pins=pins, keep=keep)
    assert isinstance(view, SecretView)
    return view


def set_variable(db: Database, project: str, environment: str, name: str, value: str, *, actor: Actor) -> VariableView:
    """Set a variable, which may be empty; it raises what `store` does."""
    (view,) = store(db, project, [NewVariable(environment, name, value)], actor=actor, pins=None)
    assert isinstance(view, VariableView)
    return view


def parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield names or ids in lots that fit in one statement."""
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]


def _seal(
    session: Session,
    project: Project,
    environment: Environment,
    entries: Sequence[NewSecret],
    actor: Actor,
    now: datetime,
    pins: Pins,
    keep: int,
) -> list[Secret]:
    names = [entry.name for entry in entries]
    _refuse_other_kind(session, environment, names, Variable)
    pair = pins.sealing_key(session, project, environment)
    public = PublicKey.from_bytes(pair.public_key)
    there = _there(session, environment, names, Secret)
    # The rows come first: their ids and versions are part of what each value is sealed for.
    secrets = []
    for entry in entries:
        secret = there.get(entry.name) or _new(environment, entry.name, actor, now)
        secret.current_version = secret.last_version = secret.last_version + 1
        secret.maskable, secret.expires_at = is_maskable(entry.value), entry.expires_at
        if entry.as_file is not None:
            secret.as_file = entry.as_file
        secret.updated_at, secret.updated_by = now, actor.name
        secrets.append(secret)
    session.add_all(secrets)
    session.flush()  # the versions' foreign keys need the rows
    for entry, secret in zip(entries, secrets, strict=True):
        binding = Binding(project.id, environment.id, secret.id, secret.name, secret.current_version)
        session.add(
            SecretVersion(
                secret_id=secret.id,
                version=secret.current_version,
                generation=pair.generation,
                sealed=seal(public, pair.generation, entry.value, binding),
                maskable=secret.maskable,
                expires_at=secret.expires_at,
                created_at=now,
                created_by=actor.name,
            )
        )
    session.flush()
    _destroy_old(session, secrets, keep)
    return secrets


def _new(environment: Environment, name: str, actor: Actor, now: datetime) -> Secret:
    return Secret(
        id=new_id(),
        project_id=environment.project_id,
        environment_id=environment.id,
        name=name,
        current_version=0,
        last_version=0,
        maskable=True,
        as_file=False,
        created_at=now,
        created_by=actor.name,
        updated_by=actor.name,
    )


def _refuse_other_kind(
    session: Session, environment: Environment, names: Sequence[str], other: type[Secret] | type[Variable]
) -> None:
    """Refuse a secret's name for a variable, and the other way round: a run could not have both."""
    for part in parts(names):
        query = select(other.name).where(other.environment_id == environment.id, col(other.name).in_(part))
        if taken := session.exec(query).first():
            kind = "secret" if other is Secret else "variable"
            project = session.exec(select(Project.name).where(Project.id == environment.project_id)).one()
            raise NameRefused(
                name=taken,
                why=f"a {kind} of {environment.name} has it, and a run could not have both",
                hint=f"delete it first: sealrun {kind} delete {taken} -p {project} -e {environment.name}",
            )


def _there(session: Session, environment: Environment, names: Sequence[str], kind: type[Any]) -> dict[str, Any]:
    found = {}
    for part in parts(names):
        query = select(kind).where(kind.environment_id == environment.id, col(kind.name).in_(part))
        found.update({row.name: row for row in session.exec(query)})
    return found


def _destroy_old(session: Session, secrets: Iterable[Secret], keep: int) -> None:
    """Destroy the versions that are not among the last `keep`, under whatever key pairs they are sealed."""
    aged = [secret.id for secret in secrets if secret.last_version > keep]
    last = select(Secret.last_version).where(Secret.id == SecretVersion.secret_id).scalar_subquery()
    for part in parts(aged):
        too_old: ColumnElement[bool] = col(SecretVersion.version) <= last - keep
        of_these = delete(SecretVersion).where(col(SecretVersion.secret_id).in_(part), too_old)
        session.execute(of_these, execution_options={"synchronize_session": False})


def _set(
    session: Session, environment: Environment, entries: Sequence[NewVariable], actor: Actor, now: datetime
) -> list[tuple[Variable, str | None]]:
    """Set variables; return each with the value that it had."""
    names = [entry.name for entry in entries]
    _refuse_other_kind(session, environment, names, Secret)
    there = _there(session, environment, names, Variable)
    found: list[tuple[Variable, str | None]] = []
    for entry in entries:
        old = there[entry.name].value if entry.name in there else None
        variable = there.get(entry.name) or Variable(
            environment_id=environment.id,
            name=entry.name,
            value=entry.value,
            created_at=now,
            created_by=actor.name,
            updated_by=actor.name,
        )
        variable.value, variable.updated_at, variable.updated_by = entry.value, now, actor.name
        found.append((variable, old))
    session.add_all([variable for variable, _ in found])
    return found
