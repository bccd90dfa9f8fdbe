"""What of many runs somebody may see, as a condition of a query: what is counted, found and listed is theirs."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, false, or_, true
from sqlalchemy.orm import Mapped
from sqlmodel import col

from executor.people.principal import KnownActor
from executor.people.roles import Verb
from executor.people.tables import EVERY
from secretstore.audit import Actor
from secretstore.models import Secret


@dataclass(frozen=True)
class Sight:
    """The places in which somebody has a verb; None for all of them."""

    places: frozenset[tuple[str, str]] | None

    @classmethod
    def of(cls, who: Actor, verb: Verb) -> "Sight":
        """The places of who asks. A door that is not told who asks is an operator's, and has all."""
        if not isinstance(who, KnownActor):
            return ALL
        grants = [grant for grant in who.principal.grants if verb in grant.verbs]
        if any(grant.project_id == EVERY and grant.environment_id == EVERY for grant in grants):
            return ALL
        return cls(frozenset((grant.project_id, grant.environment_id) for grant in grants))

    def within(self, project_id: Mapped[str], environment_id: Mapped[str]) -> ColumnElement[bool]:
        """The condition that a row is of one of the places."""
        if self.places is None:
            return true()
        each = [
            and_(
                true() if project == EVERY else project_id == project,
                true() if environment == EVERY else environment_id == environment,
            )
            for project, environment in sorted(self.places)
        ]
        return or_(*each) if each else false()

    def has(self, project_id: str, environment_id: str) -> bool:
        """Whether an environment is one of the places."""
        if self.places is None:
            return True
        wanted = {(project, environment) for project in (EVERY, project_id) for environment in (EVERY, environment_id)}
        return not wanted.isdisjoint(self.places)

    def reaches(self, project_id: str) -> bool:
        """Whether a project is among the places, or one of its environments."""
        return self.places is None or any(project in (EVERY, project_id) for project, _ in self.places)

    @property
    def of_secrets(self) -> ColumnElement[bool]:
        """The condition that a secret is of one of the places."""
        return self.within(col(Secret.project_id), col(Secret.environment_id))


ALL = Sight(None)
