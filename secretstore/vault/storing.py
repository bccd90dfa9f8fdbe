"""Storing: values that are sealed, or that are sealed here, and variables; one or thousands, all or none.

Whoever has a value and no database takes two steps, `reserve` and `store_sealed`. Who has both takes them in one
transaction (`store`), with the same code: nobody can come in between, and secrets and variables are stored together.
Nothing here can open a value.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, delete
from sqlmodel import Session, col, select

from secretstore.audit import Act, Actor, append
from secretstore.database import Database
from secretstore.entries import NewSecret, NewVariable, check, check_claims, check_expiry
from secretstore.errors import NameRefused, SealedRefused, SealingOvertaken
from secretstore.models import Environment, KeyPair, Project, Secret, SecretVersion, Variable
from secretstore.pins import Pins
from secretstore.reservation import SealedSecret, seal_place
from secretstore.sealing import why_not_sealed_to
from secretstore.succession import claimed_fingerprint
from secretstore.timestamps import utc_now
from secretstore.vault.acts import act_on, act_on_variable
from secretstore.vault.lookup import hold_environment, hold_project
from secretstore.vault.named import parts, refuse_other_kind, rows_of
from secretstore.vault.reserving import Taken, next_versions, take_reservation
from secretstore.views import SecretView, VariableView, view_of

VERSIONS_KEPT = 10
"""Of each secret: how far `secret rollback` reaches. Every kept version is ciphertext that a stolen key would open."""


@dataclass
class _Lot:
    """What is to be stored in one environment."""

    secrets: list[NewSecret] = field(default_factory=list)
    sealed: list[SealedSecret] = field(default_factory=list)
    variables: list[NewVariable] = field(default_factory=list)


def store(
    db: Database,
    project: str,
    entries: Sequence[NewSecret | NewVariable],
    *,
    actor: Actor,
    pins: Pins | None,
    keep: int = VERSIONS_KEPT,
) -> list[SecretView | VariableView]:
    """Seal and store the entries in one transaction, or none of them.

    Args:
        db: the database.
        project: the project's name.
        entries: what to store, in any number of the project's environments.
        actor: who stores.
        pins: the key pairs this user remembers; not needed for variables.
        keep: how many versions of a secret to keep; older ones are destroyed.

    Returns:
        What was stored, in the order of the entries.

    Raises:
        NameRefused: a name breaks the rule, is given twice for an environment, or is a variable's and a secret's.
        ValueRefused: a value or an expiry breaks a rule; values are not quoted.
        UnknownProject, UnknownEnvironment: it does not exist.
        KeyChanged, KeyUnknown: a key pair is not known to be the right one.
    """
    # Refuse everything that can be refused without the database first: sealing holds locks.
    now = utc_now()
    for entry in entries:
        check(entry, now)
    lots = _by_environment(entries)
    if not entries:
        return []
    with db.writing() as session:
        place = hold_project(session, project)

        def seal(environment: Environment, lot: _Lot) -> dict[str, Secret]:
            assert pins is not None, "what a secret is sealed to must be remembered"
            reserved, there = next_versions(session, environment, [entry.name for entry in lot.secrets])
            lot.sealed.extend(seal_place(reserved, project, lot.secrets, pins))
            ids = {secret.name: secret.secret_id for secret in reserved.secrets}
            return {name: there.get(name) or _new(environment, ids[name], name, actor, now) for name in ids}

        views = _store(session, place, lots, seal, actor, now, keep)
    return [views[entry.environment, entry.name] for entry in entries]


def store_sealed(
    db: Database,
    project: str,
    reservation: str,
    entries: Sequence[SealedSecret | NewVariable],
    *,
    actor: Actor,
    keep: int = VERSIONS_KEPT,
) -> list[SecretView | VariableView]:
    """Store what was sealed for a reservation in one transaction, or nothing; the second of the two steps.

    Of a sealed value only the header can be read here. One that was sealed for another place is stored, and opens for
    no run.

    Args:
        db: the database.
        project: the project's name.
        reservation: its id; all that was reserved has to be among the entries, and no other secret.
        entries: what is sealed, and variables to set with it.
        actor: who stores; the same that has reserved.
        keep: how many versions of a secret to keep; older ones are destroyed.

    Returns:
        What was stored, in the order of the entries.

    Raises:
        SealingOvertaken: the reservation is used or has expired, or what it says no longer holds.
        SealedRefused: something cannot be what was to be sealed for this reservation.
        NameRefused, ValueRefused: a name, an expiry or what is said of a value breaks a rule.
        UnknownProject, UnknownEnvironment: it does not exist any more.
    """
    now = utc_now()
    for entry in entries:
        if isinstance(entry, NewVariable):
            check(entry, now)
            continue
        check_claims(entry.name, as_file=entry.as_file, maskable=entry.maskable, allow_short=entry.allow_short)
        check_expiry(entry.name, entry.expires_at, now)
    lots = _by_environment(entries)
    with db.writing() as session:
        place = hold_project(session, project)
        reserved = take_reservation(db, session, place, reservation, actor)
        _require_all(lots, reserved)

        def look(environment: Environment, lot: _Lot) -> dict[str, Secret]:
            taken = reserved[environment.name]
            _require_current(session, place, environment, taken, lot)
            there = rows_of(session, environment, list(taken.secrets), Secret)
            found = {}
            for name, (secret_id, version) in taken.secrets.items():
                secret = there.get(name) or _new(environment, secret_id, name, actor, now)
                if (secret.id, secret.last_version + 1) != (secret_id, version):
                    why = f"version {version} of {name} was taken, or {name} deleted, in {environment.name}"
                    raise SealingOvertaken(project=place.name, why=why)
                found[name] = secret
            return found

        views = _store(session, place, lots, look, actor, now, keep)
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


def _by_environment(entries: Sequence[NewSecret | SealedSecret | NewVariable]) -> dict[str, _Lot]:
    lots: dict[str, _Lot] = defaultdict(_Lot)
    names: set[tuple[str, str]] = set()
    for entry in entries:
        if (place := (entry.environment, entry.name)) in names:
            raise NameRefused(name=entry.name, why=f"it is given twice for {entry.environment}")
        names.add(place)
        if isinstance(entry, NewSecret):
            lots[entry.environment].secrets.append(entry)
        elif isinstance(entry, SealedSecret):
            lots[entry.environment].sealed.append(entry)
        else:
            lots[entry.environment].variables.append(entry)
    return lots


def _require_all(lots: dict[str, _Lot], reserved: dict[str, Taken]) -> None:
    """Refuse a part of what was reserved, and anything else: what is not sealed for it would open nowhere."""
    given = {(name, one.name) for name, lot in lots.items() for one in lot.sealed}
    wanted = {(name, secret) for name, taken in reserved.items() for secret in taken.secrets}
    for environment, name in sorted(given ^ wanted):
        missing = (environment, name) in wanted
        why = "it was reserved and is missing" if missing else "it was not reserved"
        raise SealedRefused(name=name, environment=environment, why=why)


def _require_current(session: Session, project: Project, environment: Environment, taken: Taken, lot: _Lot) -> None:
    """Refuse values that were sealed for another environment of this name, or to another key pair than its current."""
    if (environment.id, environment.generation) != (taken.environment_id, taken.generation):
        why = f"{environment.name} has another key pair now"
        raise SealingOvertaken(project=project.name, why=why)
    public = select(KeyPair.public_key).where(
        KeyPair.environment_id == environment.id, KeyPair.generation == environment.generation
    )
    mark = claimed_fingerprint(session.exec(public).one())
    for one in lot.sealed:
        refusal = why_not_sealed_to(one.sealed, environment.generation, mark)
        if refusal is not None:
            raise SealedRefused(name=one.name, environment=environment.name, why=refusal)


def _store(
    session: Session,
    project: Project,
    lots: dict[str, _Lot],
    rows: Callable[[Environment, _Lot], dict[str, Secret]],
    actor: Actor,
    now: datetime,
    keep: int,
) -> dict[tuple[str, str], SecretView | VariableView]:
    """Write all lots, under locks; `rows` returns the secrets' rows, new or not, once the lot has all that is sealed.

    Returns:
        What was stored, by environment and name.
    """
    views: dict[tuple[str, str], SecretView | VariableView] = {}
    acts: list[Act] = []
    # Held in the order of their names, so that two writers never wait for each other.
    for environment in [hold_environment(session, project, name) for name in sorted(lots)]:
        lot, where = lots[environment.name], environment.name
        if lot.secrets or lot.sealed:
            names = [one.name for one in lot.secrets or lot.sealed]
            refuse_other_kind(session, environment, names, Variable)
            there = rows(environment, lot)
            secrets = [there[one.name] for one in lot.sealed]
            _write(session, environment.generation, lot.sealed, secrets, actor, now)
            _destroy_old(session, secrets, keep)
            for secret in secrets:
                view = view_of(SecretView, secret, environment=where, version=secret.current_version)
                views[where, secret.name] = view
                gone = secret.last_version - keep
                acts.append(act_on(secret, where, "secret.set", **({"destroyed_up_to": gone} if gone > 0 else {})))
        if lot.variables:
            for variable, old in _set(session, environment, lot.variables, actor, now):
                views[where, variable.name] = view_of(VariableView, variable, environment=where)
                acts.append(act_on_variable("variable.set", where, variable.name, old, variable.value))
    append(session, project, actor, *acts)
    return views


def _write(
    session: Session,
    generation: int,
    sealed: Sequence[SealedSecret],
    secrets: Sequence[Secret],
    actor: Actor,
    now: datetime,
) -> None:
    for one, secret in zip(sealed, secrets, strict=True):
        secret.current_version = secret.last_version = secret.last_version + 1
        secret.maskable, secret.expires_at = one.maskable, one.expires_at
        if one.as_file is not None:
            secret.as_file = one.as_file
        secret.updated_at, secret.updated_by = now, actor.name
    session.add_all(secrets)
    session.flush()  # the versions' foreign keys need the rows
    for one, secret in zip(sealed, secrets, strict=True):
        session.add(
            SecretVersion(
                secret_id=secret.id,
                version=secret.current_version,
                generation=generation,
                sealed=one.sealed,
                maskable=secret.maskable,
                expires_at=secret.expires_at,
                created_at=now,
                created_by=actor.name,
            )
        )
    session.flush()


def _new(environment: Environment, key: str, name: str, actor: Actor, now: datetime) -> Secret:
    return Secret(
        id=key,
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
    refuse_other_kind(session, environment, names, Secret)
    there = rows_of(session, environment, names, Variable)
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
