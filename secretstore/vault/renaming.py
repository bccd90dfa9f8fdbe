"""Renaming: a secret keeps its id, its versions and its history. Nothing here can open one.

The name is a part of what a value is sealed for, so every kept version is sealed anew. `begin_renaming` gives what a
process that holds the private key seals; `rename` puts it in the old values' place, in one transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, update
from sqlmodel import Session, col, select

from secretstore.audit import Actor, append
from secretstore.bundle import SealedItem
from secretstore.database import Database, table_of
from secretstore.errors import AlreadyExists, RotationOvertaken, SealBroken, UnknownSecret
from secretstore.models import Environment, KeyPair, Project, Secret, SecretVersion, Variable
from secretstore.naming import check_secret_name
from secretstore.timestamps import utc_now
from secretstore.vault.acts import act_on
from secretstore.vault.keys import PlacedKey, delete_versions, placed_key
from secretstore.vault.lookup import find_place, hold_project, take_environment
from secretstore.vault.references import refuse_named
from secretstore.vault.rotation import Reseal
from secretstore.vault.sealed import FETCHED
from secretstore.vault.secrets import find_secret
from secretstore.views import SecretView, view_of

_VERSION = table_of(SecretVersion)
_THIS_VERSION = (
    _VERSION.c.secret_id == bindparam("of_secret"),
    _VERSION.c.version == bindparam("of_version"),
    _VERSION.c.generation == bindparam("of_generation"),
)


@dataclass(frozen=True)
class Renaming:
    """A secret that is about to get another name, and the key pair that it is sealed to."""

    key: PlacedKey
    secret_id: str
    old: str
    new: str
    force: bool
    """Whether sources and catalogs may go on naming the old name."""


def require_renamable(
    db: Database, project: str, environment: str, name: str, new: str, *, force: bool = False
) -> None:
    """Check that a secret can get another name, before anything is opened for it.

    Raises:
        NameRefused: the new name breaks the rule for secrets.
        UnknownProject, UnknownEnvironment, UnknownSecret: it does not exist.
        AlreadyExists: a secret or a variable has the new name.
        InUse: a data source or catalog names it, and `force` is not given.
    """
    check_secret_name(new)
    with db.reading() as session:
        place, found = find_place(session, project, environment)
        find_secret(session, place, found, name)
        _refuse(session, place, found, name, new, force=force)


def begin_renaming(
    db: Database, project: str, environment: str, name: str, new: str, *, force: bool = False
) -> tuple[Renaming, list[SealedItem]]:
    """Return what is to be renamed, and its versions as they are sealed now.

    Raises:
        NameRefused, UnknownProject, UnknownEnvironment, UnknownSecret, AlreadyExists, InUse: as `require_renamable`.
        RotationOvertaken: the environment's key pair is missing.
    """
    check_secret_name(new)
    with db.reading() as session:
        place, found = find_place(session, project, environment)
        secret = find_secret(session, place, found, name)
        _refuse(session, place, found, name, new, force=force)
        pair = session.get(KeyPair, (found.id, found.generation))
        if pair is None:
            raise RotationOvertaken(project=project, environment=environment)
        begun = Renaming(placed_key(place, found, pair), secret.id, name, new, force)
        return begun, _versions(session, begun)


def rename(
    db: Database,
    renaming: Renaming,
    resealed: Mapping[bytes, bytes],
    reseal: Reseal,
    *,
    actor: Actor,
    also: Callable[[Session, SecretView, int], None] = lambda session, view, versions: None,
) -> SecretView:
    """Give a secret its new name, in one transaction in which no run is given anything of its environment.

    Args:
        renaming: what `begin_renaming` returned.
        resealed: by the values as they were, the values sealed for the new name.
        reseal: seals what was set meanwhile.
        actor: who asks.
        also: called in the transaction, with the secret and how many versions were sealed anew.

    Raises:
        RotationOvertaken: the key pair was replaced meanwhile; nothing was changed, and it can begin again.
        UnknownSecret, AlreadyExists, InUse: something changed meanwhile, as of `require_renamable`.
        SealBroken: a version that was set meanwhile does not open.
    """
    place = renaming.key.place
    with db.writing() as session:
        project = hold_project(session, place.project)
        environment = take_environment(session, project, place.environment)
        if (environment.id, environment.generation) != (place.environment_id, renaming.key.pair.generation):
            raise RotationOvertaken(project=place.project, environment=place.environment)
        secret = session.get(Secret, renaming.secret_id)
        if secret is None or (secret.environment_id, secret.name) != (environment.id, renaming.old):
            raise UnknownSecret(name=renaming.old, project=project.name, environment=environment.name)
        _refuse(session, project, environment, renaming.old, renaming.new, force=renaming.force)
        versions = _versions(session, renaming)
        _replace(session, renaming, versions, resealed, reseal)
        # Of a rotation under way: it finds them missing, and seals them for the new name.
        of_it, later = col(SecretVersion.secret_id) == secret.id, col(SecretVersion.generation)
        delete_versions(session, environment, of_it & (later > environment.generation))
        secret.name, secret.updated_at, secret.updated_by = renaming.new, utc_now(), actor.name
        named = {"from": renaming.old, "to": renaming.new, "versions": len(versions)}
        append(session, project, actor, act_on(secret, environment.name, "secret.rename", **named))
        view = view_of(SecretView, secret, environment=environment.name, version=secret.current_version)
        also(session, view, len(versions))
        return view


def _refuse(session: Session, project: Project, environment: Environment, old: str, new: str, *, force: bool) -> None:
    for kind, what in ((Secret, "secret"), (Variable, "variable")):
        if session.exec(select(kind.id).where(kind.environment_id == environment.id, kind.name == new)).first():
            raise AlreadyExists(
                '{what} "{name}" of {project}/{environment} exists already, and a run could not have both',
                what=what,
                name=new,
                project=project.name,
                environment=environment.name,
                hint=f"take another name, or delete that one first: sealrun {what} delete {new} "
                f"-p {project.name} -e {environment.name}",
            )
    if not force:
        refuse_named(session, project, environment, "secret", old)


def _versions(session: Session, renaming: Renaming) -> list[SealedItem]:
    query = (
        select(SecretVersion.version, FETCHED)
        .where(
            SecretVersion.secret_id == renaming.secret_id,
            SecretVersion.generation == renaming.key.pair.generation,
        )
        .order_by(col(SecretVersion.version))
    )
    return [SealedItem(renaming.secret_id, renaming.old, version, sealed) for version, sealed in session.exec(query)]


def _replace(
    session: Session,
    renaming: Renaming,
    versions: Sequence[SealedItem],
    resealed: Mapping[bytes, bytes],
    reseal: Reseal,
) -> None:
    """Put the values that are sealed for the new name in the place of those that are there."""
    left = [item for item in versions if item.sealed not in resealed]
    anew = dict(resealed)
    for item, sealed in zip(left, reseal(left), strict=True):
        if sealed is None:
            place = renaming.key.place
            raise SealBroken(project=place.project, environment=place.environment, name=item.name)
        anew[item.sealed] = sealed
    rows = [
        {
            "of_secret": item.secret_id,
            "of_version": item.version,
            "of_generation": renaming.key.pair.generation,
            "sealed": anew[item.sealed],
        }
        for item in versions
    ]
    if rows:
        session.connection().execute(update(_VERSION).where(*_THIS_VERSION), rows)
