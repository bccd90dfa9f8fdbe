"""An environment's secrets and variables by their names, however many."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlmodel import Session, col, select

from secretstore.errors import NameRefused
from secretstore.models import Environment, Project, Secret, Variable

_AT_ONCE = 500  # names or ids in one statement: far below the limit of either database


def parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield names or ids in lots that fit in one statement."""
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]


def rows_of(session: Session, environment: Environment, names: Sequence[str], kind: type[Any]) -> dict[str, Any]:
    """Return those secrets, or variables, that are there, by name."""
    found = {}
    for part in parts(names):
        query = select(kind).where(kind.environment_id == environment.id, col(kind.name).in_(part))
        found.update({row.name: row for row in session.exec(query)})
    return found


def refuse_other_kind(
    session: Session, environment: Environment, names: Sequence[str], other: type[Secret] | type[Variable]
) -> None:
    """Refuse a secret's name for a variable, and the other way round: a run could not have both.

    Raises:
        NameRefused: one is taken.
    """
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
