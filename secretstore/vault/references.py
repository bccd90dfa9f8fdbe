"""What data sources and catalogs name, and whether it exists: their secrets, and the source of a catalog."""

import json
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from sqlalchemy import bindparam, or_
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from secretstore.connections import S3_LIKE, for_run
from secretstore.database import Database, table_of
from secretstore.errors import InUse
from secretstore.models import Connection, Environment, Project, Secret
from secretstore.naming import has_form_of_name
from secretstore.run_connection import CATALOG, SOURCE, RunConnection
from secretstore.transaction import Reader
from secretstore.vault.lookup import find_place, find_project, living
from secretstore.vault.named import parts
from secretstore.views import Dangling, Missing


def connection_plan(session: Reader, environment_id: str) -> list[RunConnection]:
    """Return an environment's sources and catalogs as runs get them, read in the caller's transaction.

    A row that is invalid is among them, with the reason in `refused`: it must not keep other runs from starting.
    """
    return ask_connections(session, environment_id)()


def ask_connections(session: Reader, environment_id: str) -> Callable[[], list[RunConnection]]:
    """Ask for the same; it is waited for when what is returned is called."""
    answer = session.connection().execute(_PLAN, {"of_environment": environment_id})
    return lambda: _with_their_sources([for_run(*row) for row in answer.all()])


_CONNECTION = table_of(Connection).c
_PLAN = (
    select_rows(_CONNECTION.role, _CONNECTION.name, _CONNECTION.kind, _CONNECTION.settings)
    .where(
        _CONNECTION.environment_id == bindparam("of_environment"),
        or_(_CONNECTION.role == SOURCE, _CONNECTION.role == CATALOG),
    )
    .order_by(_CONNECTION.role.desc(), _CONNECTION.name)
)


def named_by(session: Session, environment_id: str, what: Literal["secret", "source"], name: str) -> list[str]:
    """Return the connections of an environment that name a secret, or the catalogs that name a source."""
    query = select(Connection).where(Connection.environment_id == environment_id)
    entries = map(stored, session.exec(query.order_by(col(Connection.role).desc(), col(Connection.name))))
    if what == "secret":
        return [entry.label for entry in entries if name in entry.secrets()]
    return [entry.label for entry in entries if entry.role == CATALOG and entry.settings.get("source") == name]


def require_unnamed(db: Database, project: str, environment: str, what: Literal["secret", "source"], name: str) -> None:
    """Check that nothing names a secret or source, as its deletion does without `force`.

    Raises:
        InUse: something does.
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        refuse_named(session, *find_place(session, project, environment), what, name)


def refuse_named(
    session: Session, project: Project, environment: Environment, what: Literal["secret", "source"], name: str
) -> None:
    """Refuse to delete a secret that sources or catalogs name, or a source that catalogs name.

    Raises:
        InUse: there are any.
    """
    if by := named_by(session, environment.id, what, name):
        raise InUse(
            "{what} of {project}/{environment} is named by {by}",
            what=f"{what} {name}",
            project=project.name,
            environment=environment.name,
            by=listed(by),
            hint="change or delete those first, or pass --force: runs then do not get them",
        )


def listed(labels: Sequence[str]) -> str:
    """Return labels as a person lists them: `a, b and c`."""
    return " and ".join([*([", ".join(labels[:-1])] if len(labels) > 1 else []), labels[-1]])


def dangling(db: Database, project: str | None = None) -> list[Dangling]:
    """Return the connections of a project, or of all, that name something missing or that runs cannot get.

    Raises:
        UnknownProject: it does not exist.
    """
    with db.reading() as session:
        query = (
            select(Connection, Environment.name, Project.name)
            .where(Connection.environment_id == Environment.id, Environment.project_id == Project.id, living())
            .order_by(col(Project.name), col(Environment.name), col(Connection.role).desc(), col(Connection.name))
        )
        if project is not None:
            query = query.where(Project.id == find_project(session, project).id)
        # Names are looked up once for each environment.
        environments: dict[str, list[tuple[Connection, str, str]]] = defaultdict(list)
        for row, environment, of_project in session.exec(query):
            environments[row.environment_id].append((row, environment, of_project))
        found = []
        for environment_id, rows in environments.items():
            missing = missing_names(session, environment_id, [stored(row) for row, _, _ in rows])
            plan = _with_their_sources([for_run(row.role, row.name, row.kind, row.settings) for row, _, _ in rows])
            for (row, environment, of_project), lacks, entry in zip(rows, missing, plan, strict=True):
                place = (of_project, environment, row.role, row.name)
                found += [Dangling(*place, why, mend) for why, mend in _problems(place, lacks, entry)]
        return found


def missing_names(session: Session, environment_id: str, entries: Sequence[RunConnection]) -> list[tuple[Missing, ...]]:
    """Return for each of an environment's entries what it names and does not exist."""
    secrets = secrets_there(session, environment_id, sorted({name for entry in entries for name in entry.secrets()}))
    sources = set(
        session.exec(
            select(Connection.name).where(Connection.environment_id == environment_id, Connection.role == SOURCE)
        )
    )
    return [tuple(_missing(entry, secrets, sources)) for entry in entries]


def secrets_there(session: Session, environment_id: str, names: Sequence[str]) -> set[str]:
    """Return those of the names that secrets of the environment have."""
    found: set[str] = set()
    for part in parts(names):
        query = select(Secret.name).where(Secret.environment_id == environment_id, col(Secret.name).in_(part))
        found.update(session.exec(query))
    return found


def stored(row: Connection) -> RunConnection:
    """Return a row's settings as they were given. A row that sealrun cannot have written names nothing."""
    try:
        entry = RunConnection(row.role, row.name, row.kind, dict(json.loads(row.settings)))
        names = [reference.secret for reference in entry.references()]
        names += [entry.settings["source"]] if "source" in entry.settings else []
        valid = all(map(has_form_of_name, names))
    except (ValueError, TypeError, RecursionError):
        valid = False
    return entry if valid else RunConnection(row.role, row.name, row.kind, {})


def _missing(entry: RunConnection, secrets: set[str], sources: set[str]) -> Iterator[Missing]:
    for reference in entry.references():
        if reference.secret not in secrets:
            yield Missing(reference.place, "secret", reference.secret)
    source = entry.settings.get("source") if entry.role == CATALOG else None
    if source is not None and source not in sources:
        yield Missing("source", "source", source)


def _problems(
    place: tuple[str, str, str, str], lacks: Sequence[Missing], entry: RunConnection
) -> Iterator[tuple[str, str]]:
    """Yield why a connection cannot be given as it is, each reason with the command that repairs it."""
    project, environment, role, name = place
    at = f"-p {project} -e {environment}"
    for lack in lacks:
        mend = f"sealrun secret set {lack.name} {at}"
        if lack.what == "source":
            mend = f"sealrun source create {lack.name} {at} --kind KIND"
        yield f"{lack.field} names the {lack.what} {lack.name}, which is not there", mend
    if entry.refused is not None and not any(lack.what == "source" for lack in lacks):
        # Quoted for a shell: somebody else may have written the name into the database.
        yield entry.refused, f"sealrun {role} create {shlex.quote(str(name))} {at} --file FILE --replace"


def _with_their_sources(plan: Sequence[RunConnection]) -> list[RunConnection]:
    """Refuse catalogs whose source is refused, too."""
    sources = {entry.name: entry for entry in plan if entry.role == SOURCE}
    return [_with_its_source(entry, sources) for entry in plan]


def _with_its_source(entry: RunConnection, sources: dict[str, RunConnection]) -> RunConnection:
    name = entry.settings.get("source") if entry.role == CATALOG else None
    if name is None:
        return entry
    source = sources.get(name)
    if source is None:
        why = f"its source {name} is not there"
    elif source.refused is not None:
        why = f"its source {name} cannot be given: {source.refused}"
    elif source.kind not in S3_LIKE:
        why = f"its source {name} is of kind {source.kind}, which has no bucket"
    else:
        return entry
    return replace(entry, settings={}, refused=why)
