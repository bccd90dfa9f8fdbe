"""Reserving: what values may be sealed for, told to whoever has them; the first of the two steps of storing.

A reservation is a row that expires. It locks nothing and counts nothing up: what somebody else stores meanwhile is
stored, and the second step refuses what no longer holds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CursorResult, delete
from sqlmodel import Session, col, select

from secretstore.audit import Actor
from secretstore.database import Database, table_of
from secretstore.errors import SealingOvertaken
from secretstore.models import Environment, Project, Secret, SecretReservation, Variable, new_id
from secretstore.naming import check_secret_name
from secretstore.reservation import Reservation, ReservedPlace, ReservedSecret
from secretstore.vault.key_pairs import succession_of
from secretstore.vault.lookup import find_environment, find_project
from secretstore.vault.named import refuse_other_kind, rows_of

LASTS = 600.0
"""Seconds in which what was reserved may be stored: a value is sealed in milliseconds, and sent over any line."""


@dataclass(frozen=True)
class Taken:
    """What a reservation said of one environment: its id, the generation, and id and version by a secret's name."""

    environment_id: str
    generation: int
    secrets: dict[str, tuple[str, int]]


def reserve(
    db: Database, project: str, environments: Sequence[str], names: Sequence[str], *, actor: Actor
) -> Reservation:
    """Reserve the next version of these secrets in each of these environments; a secret need not be there yet.

    Raises:
        NameRefused: no secret can have one of the names, whatever its value, or a variable has it.
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        check_secret_name(name)
    with db.writing() as session:
        place = find_project(session, project)
        found = [find_environment(session, place, name) for name in dict.fromkeys(environments)]
        for environment in found:
            refuse_other_kind(session, environment, wanted, Variable)
        places = [next_versions(session, environment, wanted)[0] for environment in found]
        columns = table_of(SecretReservation).c
        expires_at = session.execute(
            table_of(SecretReservation)
            .insert()
            .values(
                id=(key := new_id()),
                project_id=place.id,
                reserved=_written(places),
                expires_at=db.after(LASTS),
                created_at=db.now(),
                created_by=actor.name,
            )
            .returning(columns.expires_at)
        ).scalar_one()
        return Reservation(key, expires_at, tuple(places))


def take_reservation(db: Database, session: Session, project: Project, key: str, actor: Actor) -> dict[str, Taken]:
    """Return what was reserved, by environment's name, and use it up, unless the caller's transaction is rolled back.

    The caller holds the project, so that whoever deletes it does not wait for the reservation, and we for them.

    Raises:
        SealingOvertaken: there is none for this project and person any more.
    """
    query = select(SecretReservation).where(
        SecretReservation.id == key,
        SecretReservation.project_id == project.id,
        SecretReservation.created_by == actor.name,
        col(SecretReservation.expires_at) > db.now(),
    )
    row = session.exec(query.with_for_update()).first()
    if row is None:
        why = "it has expired, was used, or is of another project or another person"
        raise SealingOvertaken(project=project.name, why=why)
    session.delete(row)
    return _read(row.reserved)


def prune_reservations(db: Database) -> int:
    """Delete those that have expired; return how many."""
    with db.writing(last=True) as session:
        expired = delete(SecretReservation).where(col(SecretReservation.expires_at) <= db.now())
        done: CursorResult[Any] = session.execute(expired)  # type: ignore[assignment]
        return done.rowcount


def next_versions(
    session: Session, environment: Environment, names: Sequence[str]
) -> tuple[ReservedPlace, dict[str, Secret]]:
    """Return what secrets of these names are sealed for next, and those of them that are there.

    It holds for as long as the caller's transaction keeps other writers out of the environment.
    """
    there = rows_of(session, environment, names, Secret)
    secrets = [
        ReservedSecret(name, known.id, known.last_version + 1)
        if (known := there.get(name))
        else ReservedSecret(name, new_id(), 1)
        for name in names
    ]
    return ReservedPlace(environment.name, succession_of(session, environment), tuple(secrets)), there


def _written(places: Sequence[ReservedPlace]) -> str:
    return json.dumps(
        {
            place.environment: {
                "id": place.key.environment_id,
                "generation": place.key.generation,
                "secrets": {secret.name: [secret.secret_id, secret.version] for secret in place.secrets},
            }
            for place in places
        }
    )


def _read(text: str) -> dict[str, Taken]:
    return {
        name: Taken(one["id"], one["generation"], {key: (found[0], found[1]) for key, found in one["secrets"].items()})
        for name, one in json.loads(text).items()
    }
