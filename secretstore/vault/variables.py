"""Variables: plain configuration of an environment, shown openly and never masked."""

from collections.abc import Callable

from sqlalchemy import bindparam
from sqlalchemy import select as select_rows
from sqlmodel import col, select

from secretstore.audit import Actor, append
from secretstore.database import Database, table_of
from secretstore.errors import EnvironmentGone, UnknownVariable
from secretstore.models import Environment, Variable
from secretstore.transaction import Reader
from secretstore.vault.acts import act_on_variable
from secretstore.vault.lookup import did_you_mean, hold_place, within
from secretstore.views import VariableView, view_of


def list_variables(db: Database, project: str, environment: str | None = None) -> list[VariableView]:
    """Return the variables of an environment, or of all of a project's, by environment and name.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        query = (
            select(Variable, Environment.name)
            .where(Variable.environment_id == Environment.id, within(session, project, environment))
            .order_by(col(Environment.name), col(Variable.name))
        )
        return [view_of(VariableView, variable, environment=where) for variable, where in session.exec(query)]


def plain_variables(session: Reader, environment_id: str) -> dict[str, str]:
    """Return an environment's variables as runs get them, read in the caller's transaction.

    Raises:
        EnvironmentGone: the environment does not exist.
    """
    return ask_variables(session, environment_id)()


def ask_variables(session: Reader, environment_id: str) -> Callable[[], dict[str, str]]:
    """Ask for the same; it is waited for when what is returned is called."""
    answer = session.connection().execute(_PLAIN, {"of_environment": environment_id})

    def told() -> dict[str, str]:
        rows = answer.all()
        if not rows:
            raise EnvironmentGone(environment_id=environment_id)
        return {name: value for name, value in rows if name is not None}

    return told


_ENVIRONMENT, _VARIABLE = table_of(Environment), table_of(Variable)
_PLAIN = (
    select_rows(_VARIABLE.c.name, _VARIABLE.c.value)
    .select_from(_ENVIRONMENT.outerjoin(_VARIABLE, _VARIABLE.c.environment_id == _ENVIRONMENT.c.id))
    .where(_ENVIRONMENT.c.id == bindparam("of_environment"))
    .with_for_update(read=True, key_share=True, of=_ENVIRONMENT)  # its deletion waits for the caller
)


def delete_variable(db: Database, project: str, environment: str, name: str, *, actor: Actor) -> None:
    """Delete a variable.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownVariable: it does not exist.
    """
    with db.writing() as session:
        place, held = hold_place(session, project, environment)
        query = select(Variable).where(Variable.environment_id == held.id, Variable.name == name)
        variable = session.exec(query).first()
        if variable is None:
            hint = did_you_mean(name, session.exec(select(Variable.name).where(Variable.environment_id == held.id)))
            raise UnknownVariable(name=name, project=project, environment=environment, hint=hint)
        session.delete(variable)
        append(session, place, actor, act_on_variable("variable.delete", environment, name, variable.value, None))
