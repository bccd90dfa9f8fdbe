"""Variables: plain configuration of an environment, shown openly and never masked."""

from sqlmodel import Session, col, select

from secretstore.audit import Actor, append
from secretstore.database import Database
from secretstore.errors import EnvironmentGone, UnknownVariable
from secretstore.models import Environment, Variable
from secretstore.vault.places import (
    did_you_mean,
    find_environment,
    find_project,
    hold_environment,
    hold_project,
)
from secretstore.vault.shown import variable_view
from secretstore.views import VariableView


def list_variables(db: Database, project: str, environment: str | None = None) -> list[VariableView]:
    """Return the variables of an environment, or of all of a project's, by environment and name.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        place = find_project(session, project)
        query = select(Variable, Environment.name).where(
            Variable.environment_id == Environment.id, Environment.project_id == place.id
        )
        if environment is not None:
            query = query.where(Environment.id == find_environment(session, place, environment).id)
        rows = session.exec(query.order_by(col(Environment.name), col(Variable.name)))
        return [variable_view(variable, where) for variable, where in rows]


def plain_variables(session: Session, environment_id: str) -> dict[str, str]:
    """Return an environment's variables as a run is given them, read in the caller's transaction.

    Raises:
        EnvironmentGone: it does not exist.
    """
    query = (
        select(Variable.name, Variable.value)
        .select_from(Environment)
        .join(Variable, col(Variable.environment_id) == Environment.id, isouter=True)
        .where(Environment.id == environment_id)
        .with_for_update(read=True, key_share=True, of=Environment)  # who deletes it waits for the caller
    )
    rows = session.exec(query).all()
    if not rows:
        raise EnvironmentGone(environment_id=environment_id)
    return {name: value for name, value in rows if name is not None}


def delete_variable(db: Database, project: str, environment: str, name: str, *, actor: Actor) -> None:
    """Delete a variable.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownVariable: it does not exist.
    """
    with db.writing() as session:
        place = hold_project(session, project)
        held = hold_environment(session, place, environment)
        variable = _found(session, held, name)
        if variable is None:
            names = session.exec(select(Variable.name).where(Variable.environment_id == held.id))
            hint = did_you_mean(name, names)
            raise UnknownVariable(name=name, project=project, environment=environment, hint=hint)
        session.delete(variable)
        subject = f"{environment}/{name}"
        append(session, place.id, place.name, actor=actor, action="variable.delete", subject=subject)


def _found(session: Session, environment: Environment, name: str) -> Variable | None:
    query = select(Variable).where(Variable.environment_id == environment.id, Variable.name == name)
    return session.exec(query).first()
