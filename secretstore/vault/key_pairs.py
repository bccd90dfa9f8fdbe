"""An environment's key pair as the database has it, in the form in which whoever seals checks it."""

from sqlmodel import Session, col, select

from secretstore.database import Database
from secretstore.errors import KeyChanged
from secretstore.models import Environment, KeyPair, Project
from secretstore.pins import Pins
from secretstore.succession import KeyLink, Succession, claimed_fingerprint
from secretstore.vault.lookup import find_place


def key_succession(db: Database, project: str, environment: str) -> Succession:
    """Return all generations of an environment's key pair up to the current one.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        return succession_of(session, find_place(session, project, environment)[1])


def succession_of(session: Session, environment: Environment) -> Succession:
    """Return the same in the caller's transaction: without those that a rotation prepares."""
    # The columns alone: the rows have wrapped keys, which nobody who seals has use for.
    query = (
        select(KeyPair.generation, KeyPair.public_key, KeyPair.voucher)
        .where(KeyPair.environment_id == environment.id, KeyPair.generation <= environment.generation)
        .order_by(col(KeyPair.generation))
    )
    pairs = tuple(KeyLink(*row) for row in session.exec(query))
    current = [pair.public_key for pair in pairs if pair.generation == environment.generation]
    return Succession(
        project_id=environment.project_id,
        environment_id=environment.id,
        generation=environment.generation,
        fingerprint=claimed_fingerprint(current[0]) if current else "",
        pairs=pairs,
    )


def known_pair(session: Session, project: Project, environment: Environment, pins: Pins) -> KeyPair:
    """Return the row of an environment's key pair, which must be one that a user knows.

    Raises:
        KeyChanged: it is not.
    """
    public = pins.sealing_key(project.name, environment.name, succession_of(session, environment))
    pair = session.get(KeyPair, (environment.id, environment.generation))
    if pair is None or pair.public_key != public.to_bytes():
        why = f"its generation {environment.generation} was changed while it was read"
        raise KeyChanged(project=project.name, environment=environment.name, why=why)
    return pair
