"""Whether values that are about to be stored have the form that sources and catalogs take."""

from collections.abc import Iterable, Mapping

from executor.explain import connections
from secretstore import vault
from secretstore.database import Database


def misfits(db: Database, project: str, environments: Iterable[str], values: Mapping[str, bytes]) -> tuple[str, ...]:
    """Say which sources and catalogs name these secrets and cannot use such values, each once; no value is quoted.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    found: dict[str, None] = {}
    for name in environments:
        place = vault.get_environment(db, project, name)
        with db.reading() as session:
            plan = vault.connection_plan(session, place.id)
        found |= dict.fromkeys(connections.misfits(plan, values))
    return tuple(found)
