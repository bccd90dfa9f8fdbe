"""Variables: plain configuration of an environment, shown openly and never masked."""

from sqlmodel import Session, col, select

from secretstore.audit import Actor, append
from secretstore.database import Database
from secretstore.errors import NameRefused, UnknownVariable, ValueRefused
from secretstore.models import Environment, Project, Secret, Variable
from secretstore.naming import check_variable_name
from secretstore.sealing import MAX_VALUE
from secretstore.timestamps import utc_now
from secretstore.vault.places import (
    did_you_mean,
    find_environment,
    find_project,
    hold_environment,
    hold_project,
)
from secretstore.vault.views import VariableView


def set_variable(db: Database, project: str, environment: str, name: str, value: str, *, actor: Actor) -> VariableView:
    """Sets a variable; it may be empty.

    Raises:
        NameRefused: When the name breaks the rule, or is a secret's.
        ValueRefused: When the value has a NUL, or is too long for a process's environment.
        UnknownProject, UnknownEnvironment: When there is no such place.
    """
    check_variable_name(name)
    _check_value(name, value)
    with db.writing() as session:
        place = hold_project(session, project)
        held = hold_environment(session, place, environment)
        _refuse_secret(session, held, name)
        variable = _found(session, held, name)
        if variable is None:
            variable = Variable(
                environment_id=held.id, name=name, value=value, created_by=actor.name, updated_by=actor.name
            )
        variable.value = value
        variable.updated_at, variable.updated_by = utc_now(), actor.name
        session.add(variable)
        _record(session, place, held, name, actor, "variable.set")
        return _view(variable, held.name)


def list_variables(db: Database, project: str, environment: str | None = None) -> list[VariableView]:
    """Returns the variables of an environment, or of all of a project's, by environment and name.

    Raises:
        UnknownProject, UnknownEnvironment: When there is no such place.
    """
    with db.reading() as session:
        place = find_project(session, project)
        query = select(Variable, Environment.name).where(
            Variable.environment_id == Environment.id, Environment.project_id == place.id
        )
        if environment is not None:
            query = query.where(Environment.id == find_environment(session, place, environment).id)
        rows = session.exec(query.order_by(col(Environment.name), col(Variable.name)))
        return [_view(variable, where) for variable, where in rows]


def plain_variables(session: Session, environment_id: str) -> dict[str, str]:
    """Returns an environment's variables as a run is given them, read in the caller's transaction."""
    query = select(Variable.name, Variable.value).where(Variable.environment_id == environment_id)
    return dict(session.exec(query).all())


def delete_variable(db: Database, project: str, environment: str, name: str, *, actor: Actor) -> None:
    """Deletes a variable.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownVariable: When there is none of this name.
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
        _record(session, place, held, name, actor, "variable.delete")


def _check_value(name: str, value: str) -> None:
    why = None
    if "\0" in value:
        why = "it contains a NUL, which no environment variable can hold"
    elif len(name) + 1 + len(value.encode("utf-8", "surrogateescape")) > MAX_VALUE:
        why = f"NAME=value may have {MAX_VALUE:,} bytes at most, and this has more"
    elif not _is_text(value):
        why = "it is not text in UTF-8"
    if why:
        raise ValueRefused(name=name, why=why)


def _is_text(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _refuse_secret(session: Session, environment: Environment, name: str) -> None:
    query = select(Secret.id).where(Secret.environment_id == environment.id, Secret.name == name)
    if session.exec(query).first():
        why = f"a secret of {environment.name} has it, and a run could not have both"
        raise NameRefused(name=name, why=why)


def _found(session: Session, environment: Environment, name: str) -> Variable | None:
    query = select(Variable).where(Variable.environment_id == environment.id, Variable.name == name)
    return session.exec(query).first()


def _record(session: Session, project: Project, environment: Environment, name: str, actor: Actor, action: str) -> None:
    subject = f"{environment.name}/{name}"
    append(session, project.id, project.name, actor=actor, action=action, subject=subject)


def _view(variable: Variable, environment: str) -> VariableView:
    return VariableView(
        id=variable.id,
        name=variable.name,
        environment=environment,
        value=variable.value,
        created_at=variable.created_at,
        created_by=variable.created_by,
        updated_at=variable.updated_at,
        updated_by=variable.updated_by,
    )
