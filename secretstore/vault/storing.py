"""Storing: values sealed and variables set, one or thousands, all or nothing. Nothing here can open one."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, delete
from sqlmodel import Session, col, select

from secretstore.audit import Act, Actor, append_many
from secretstore.database import Database
from secretstore.errors import NameRefused, ValueRefused
from secretstore.models import Environment, Project, Secret, SecretVersion, Variable, new_id
from secretstore.naming import check_secret_name, check_variable_name
from secretstore.pins import Pins
from secretstore.sealing import MAX_VALUE, Binding, PublicKey, seal
from secretstore.timestamps import utc_now
from secretstore.vault.places import hold_environment, hold_project
from secretstore.vault.shown import secret_view, variable_view
from secretstore.views import SecretView, VariableView

SHORTEST_MASKABLE = 8
"""Bytes: a shorter value would turn ordinary output into stars, so it is not masked at all."""

VERSIONS_KEPT = 10
"""Of each secret: how far `secret rollback` reaches. Every version kept is ciphertext that a stolen key would open."""

_AT_ONCE = 500  # names or ids in one statement: far below what either database takes


@dataclass(frozen=True)
class NewSecret:
    """A value to be sealed as the next version of a secret.

    `value` is any bytes, `name=value` at most 131,071 of them, and NUL among them with `as_file` alone; one
    under 8 bytes, which cannot be masked, is taken with `allow_short` alone. `as_file` says whether runs are
    given it as a private file, and the file's path as the variable; None leaves that as it was.
    """

    environment: str
    name: str
    value: bytes = field(repr=False)
    expires_at: datetime | None = None
    allow_short: bool = False
    as_file: bool | None = None


@dataclass(frozen=True)
class NewVariable:
    """A variable to be set; its value may be empty."""

    environment: str
    name: str
    value: str


def store(
    db: Database,
    project: str,
    entries: Sequence[NewSecret | NewVariable],
    *,
    actor: Actor,
    pins: Pins | None,
    keep: int = VERSIONS_KEPT,
) -> list[SecretView | VariableView]:
    """Store all the entries in one transaction, or none of them.

    Args:
        entries: what to store, in any number of the project's environments.
        pins: the key pairs this sealer remembers; who stores variables alone needs none.
        keep: how many versions of a secret stay, the newest; older ones are destroyed.

    Returns:
        What was stored, in the order of the entries.

    Raises:
        NameRefused: a name breaks the rule, is given twice for an environment, or is there already as
            a variable's for a secret, or as a secret's for a variable.
        ValueRefused: a value or an expiry breaks a rule; values are not quoted.
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    now = utc_now()
    places: dict[str, list[NewSecret | NewVariable]] = defaultdict(list)
    for entry in entries:
        check(entry, now)
        places[entry.environment].append(entry)
    for here in places.values():
        _refuse_twice(here)
    views: dict[tuple[str, str], SecretView | VariableView] = {}
    if not entries:
        return []
    with db.writing() as session:
        place = hold_project(session, project)
        # Always in the order of their names, so that two writers never wait for each other.
        held = [hold_environment(session, place, name) for name in sorted(places)]
        acts: list[Act] = []
        for environment in held:
            here = places[environment.name]
            secrets = [entry for entry in here if isinstance(entry, NewSecret)]
            variables = [entry for entry in here if isinstance(entry, NewVariable)]
            for secret in _seal(session, place, environment, secrets, actor, now, pins, keep) if secrets else ():
                views[environment.name, secret.name] = secret_view(secret, environment.name)
                gone = secret.last_version - keep
                destroyed = {"destroyed_up_to": gone} if gone > 0 else {}
                acts.append(act_on(secret, environment.name, "secret.set", **destroyed))
            for variable in _set(session, environment, variables, actor, now) if variables else ():
                views[environment.name, variable.name] = variable_view(variable, environment.name)
                acts.append(Act("variable.set", f"{environment.name}/{variable.name}"))
        append_many(session, place.id, place.name, actor=actor, acts=acts)
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
    """Seal a value with the environment's public key and stores it as the secret's next version.

    Raises:
        NameRefused, ValueRefused, UnknownProject, UnknownEnvironment: as `store`.
    """
    entry = NewSecret(environment, name, value, expires_at, allow_short, as_file)
    (view,) = store(db, project, [entry], actor=actor, pins=pins, keep=keep)
    assert isinstance(view, SecretView)
    return view


def set_variable(db: Database, project: str, environment: str, name: str, value: str, *, actor: Actor) -> VariableView:
    """Set a variable; it may be empty.

    Raises:
        NameRefused: the name breaks the rule, or is a secret's.
        ValueRefused: the value has a NUL, or is too long for a process's environment.
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    (view,) = store(db, project, [NewVariable(environment, name, value)], actor=actor, pins=None)
    assert isinstance(view, VariableView)
    return view


def act_on(secret: Secret, environment: str, action: str, **more: object) -> Act:
    """Return what is recorded of an act on a secret: names, ids and numbers."""
    detail = {"secret_id": secret.id, "version": secret.current_version, **more}
    if secret.as_file:
        detail["as_file"] = True
    if secret.expires_at is not None:
        detail["expires_at"] = secret.expires_at.isoformat()
    return Act(action, f"{environment}/{secret.name}", detail)


def parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Return names or ids in lots that one statement takes."""
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]


def check(entry: NewSecret | NewVariable, now: datetime | None = None) -> None:
    """Refuse what `store` would refuse whatever is in the database.

    Raises:
        NameRefused, ValueRefused: as `store`.
    """
    if isinstance(entry, NewVariable):
        check_variable_name(entry.name)
        _check_text(entry)
        return
    check_secret_name(entry.name)
    _check_bytes(entry)
    if entry.expires_at is not None and entry.expires_at <= (now or utc_now()):
        raise ValueRefused('the expiry of "{name}" is refused: {why}', name=entry.name, why="it is in the past")


def _check_bytes(entry: NewSecret) -> None:
    why = hint = None
    if not entry.value:
        why = "it is empty"
    elif b"\0" in entry.value and not entry.as_file:
        why = "it contains a NUL byte, which no environment variable can hold"
        hint = f"runs can be given it as a file: sealrun secret set {entry.name} --as-file"
    elif len(entry.name) + 1 + len(entry.value) > MAX_VALUE:
        why = f"NAME=value may have {MAX_VALUE:,} bytes at most, and this has more"
    elif not _is_maskable(entry.value) and not entry.allow_short:
        why = f"it has fewer than {SHORTEST_MASKABLE} bytes beside outer white space, and could not be masked"
        hint = "take a longer one, or say --allow-short"
    if why:
        raise ValueRefused(name=entry.name, why=why, hint=hint)


def _check_text(entry: NewVariable) -> None:
    why = None
    if "\0" in entry.value:
        why = "it contains a NUL, which no environment variable can hold"
    elif len(entry.name) + 1 + len(entry.value.encode("utf-8", "surrogateescape")) > MAX_VALUE:
        why = f"NAME=value may have {MAX_VALUE:,} bytes at most, and this has more"
    elif any("\ud800" <= character <= "\udfff" for character in entry.value):
        why = "it is not text in UTF-8"
    if why:
        raise ValueRefused(name=entry.name, why=why)


def _is_maskable(value: bytes) -> bool:
    """Outer white space does not count: the masker looks for the value without it."""
    return len(value.strip()) >= SHORTEST_MASKABLE


def _refuse_twice(entries: Iterable[NewSecret | NewVariable]) -> None:
    names = set()
    for entry in entries:
        if entry.name in names:
            raise NameRefused(name=entry.name, why=f"it is given twice for {entry.environment}")
        names.add(entry.name)


def _seal(
    session: Session,
    project: Project,
    environment: Environment,
    entries: Sequence[NewSecret],
    actor: Actor,
    now: datetime,
    pins: Pins | None,
    keep: int,
) -> list[Secret]:
    names = [entry.name for entry in entries]
    of_here = col(Variable.environment_id) == environment.id
    for part in parts(names):
        taken = session.exec(select(Variable.name).where(of_here, col(Variable.name).in_(part))).first()
        if taken is not None:
            raise NameRefused(name=taken, why=f"a variable of {environment.name} has it, and a run could not have both")
    assert pins is not None, "what a secret is sealed to must be remembered"
    pair = pins.sealing_key(session, project, environment)
    public = PublicKey.from_bytes(pair.public_key)
    there = _there(session, environment, names)
    secrets = []
    for entry in entries:
        secret = there.get(entry.name) or _new(environment, entry.name, actor, now)
        secret.current_version = secret.last_version = secret.last_version + 1
        secret.maskable, secret.expires_at = _is_maskable(entry.value), entry.expires_at
        if entry.as_file is not None:
            secret.as_file = entry.as_file
        secret.updated_at, secret.updated_by = now, actor.name
        secrets.append(secret)
    session.add_all(secrets)
    session.flush()
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


def _there(session: Session, environment: Environment, names: Sequence[str]) -> dict[str, Secret]:
    found = {}
    for part in parts(names):
        query = select(Secret).where(Secret.environment_id == environment.id, col(Secret.name).in_(part))
        found.update({secret.name: secret for secret in session.exec(query)})
    return found


def _destroy_old(session: Session, secrets: Iterable[Secret], keep: int) -> None:
    """Destroy the versions that are not among the last `keep`, whatever key pairs they are sealed to."""
    aged = [secret.id for secret in secrets if secret.last_version > keep]
    last = select(Secret.last_version).where(Secret.id == SecretVersion.secret_id).scalar_subquery()
    for part in parts(aged):
        too_old: ColumnElement[bool] = col(SecretVersion.version) <= last - keep
        of_these = delete(SecretVersion).where(col(SecretVersion.secret_id).in_(part), too_old)
        session.execute(of_these, execution_options={"synchronize_session": False})


def _set(
    session: Session, environment: Environment, entries: Sequence[NewVariable], actor: Actor, now: datetime
) -> list[Variable]:
    there: dict[str, Variable] = {}
    for part in parts([entry.name for entry in entries]):
        secret = select(Secret.name).where(Secret.environment_id == environment.id, col(Secret.name).in_(part))
        taken = session.exec(secret).first()
        if taken is not None:
            raise NameRefused(name=taken, why=f"a secret of {environment.name} has it, and a run could not have both")
        query = select(Variable).where(Variable.environment_id == environment.id, col(Variable.name).in_(part))
        there.update({variable.name: variable for variable in session.exec(query)})
    variables = []
    for entry in entries:
        variable = there.get(entry.name) or Variable(
            environment_id=environment.id,
            name=entry.name,
            value=entry.value,
            created_at=now,
            created_by=actor.name,
            updated_by=actor.name,
        )
        variable.value = entry.value
        variable.updated_at, variable.updated_by = now, actor.name
        variables.append(variable)
    session.add_all(variables)
    return variables
