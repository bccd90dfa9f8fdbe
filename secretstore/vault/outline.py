"""The secrets of an environment from the outside: names, versions, expiry, and whether there is a value to give."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_
from sqlmodel import col, select

from secretstore.database import Database
from secretstore.models import Secret, SecretVersion
from secretstore.vault.places import find_environment, find_project


@dataclass(frozen=True)
class Outline:
    """A secret as whoever may list it can describe it.

    `version` is the one that runs are given, `last_version` the newest; they differ after a rollback.
    """

    name: str
    version: int
    last_version: int
    maskable: bool
    expires_at: datetime | None
    has_value: bool
    """Whether the version that runs are given is sealed under the current key pair."""
    as_file: bool = False
    """Whether a run is given it as a private file, and the file's path as the variable."""


def outline(db: Database, project: str, environment: str) -> list[Outline]:
    """Return an outline of each secret of an environment, by name. No ciphertext leaves the database.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        place = find_environment(session, find_project(session, project), environment)
        of_now = and_(
            col(SecretVersion.secret_id) == Secret.id,
            col(SecretVersion.version) == Secret.current_version,
            col(SecretVersion.generation) == place.generation,
        )
        query = (
            select(Secret, col(SecretVersion.version))
            .join(SecretVersion, of_now, isouter=True)
            .where(Secret.environment_id == place.id)
            .order_by(col(Secret.name))
        )
        return [
            Outline(
                secret.name,
                secret.current_version,
                secret.last_version,
                secret.maskable,
                secret.expires_at,
                sealed is not None,
                secret.as_file,
            )
            for secret, sealed in session.exec(query)
        ]
