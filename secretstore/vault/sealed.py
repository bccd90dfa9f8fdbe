"""The sealed secrets of a run: current ciphertexts and the wrapped key, read in the run's own transaction."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, case, func, literal
from sqlmodel import Session, col, select

from secretstore.bundle import SealedBundle, SealedItem
from secretstore.errors import EnvironmentGone, SealBroken
from secretstore.models import Environment, KeyPair, Project, Secret, SecretVersion
from secretstore.sealing import LONGEST_SEALED
from secretstore.vault.lookup import living
from secretstore.vault.secrets import current_version, unknown_secret

# A row may hold up to a gigabyte: a value too long to have been sealed here is not fetched, and does not open.
FETCHED: ColumnElement[bytes] = case(
    (func.length(SecretVersion.sealed) > LONGEST_SEALED, literal(b"")), else_=col(SecretVersion.sealed)
)


def sealed_bundle(
    session: Session, environment_id: str, names: Collection[str] | None, *, beside: Collection[str] = ()
) -> SealedBundle:
    """Return an environment's current secrets, sealed, by name.

    The key pair cannot be replaced before the caller's transaction ends, so ciphertexts and key always match.

    Args:
        names: which secrets; None for all.
        beside: more of them, where they exist.

    Raises:
        UnknownSecret: one of `names` does not exist.
        SealBroken: a current version was never sealed under the current key pair.
        EnvironmentGone: the environment does not exist, or its project is deleted.
    """
    # The lock lets runs in together, and keeps out a flip to the next key pair.
    query = (
        select(Project, Environment, KeyPair)
        .where(
            Environment.id == environment_id,
            Project.id == Environment.project_id,
            KeyPair.environment_id == Environment.id,
            KeyPair.generation == Environment.generation,
            living(),
        )
        .with_for_update(read=True, key_share=True, of=Environment)
    )
    found = session.exec(query).first()
    if found is None:
        raise EnvironmentGone(environment_id=environment_id)
    project, environment, pair = found
    sealed = _sealed(session, environment, None if names is None else {*names, *beside})
    if missing := sorted(set(names or ()) - sealed.keys()):
        raise unknown_secret(session, project.name, environment, missing[0])
    return SealedBundle(
        project=project.name,
        project_id=project.id,
        environment=environment.name,
        environment_id=environment.id,
        generation=pair.generation,
        fingerprint=pair.fingerprint,
        key_service=pair.key_service,
        wrapped=pair.wrapped_private_key or b"",
        items=tuple(_item(project, environment, *row) for row in sealed.values()),
    )


def _sealed(
    session: Session, environment: Environment, names: Collection[str] | None
) -> dict[str, tuple[Secret, bytes | None]]:
    query = (
        select(Secret, FETCHED)
        .join(SecretVersion, current_version(environment), isouter=True)
        .where(Secret.environment_id == environment.id)
        .order_by(col(Secret.name))
    )
    if names is not None:
        query = query.where(col(Secret.name).in_(names))
    return {secret.name: (secret, sealed) for secret, sealed in session.exec(query)}


def _item(project: Project, environment: Environment, secret: Secret, sealed: bytes | None) -> SealedItem:
    if sealed is None:
        raise SealBroken(
            'secret "{name}" of {project}/{environment} has no value sealed under the current key pair',
            project=project.name,
            environment=environment.name,
            name=secret.name,
            hint=f"set it again: sealrun secret set {secret.name} -p {project.name} -e {environment.name}",
        )
    return SealedItem(secret.id, secret.name, secret.current_version, sealed, secret.expires_at, secret.as_file)
