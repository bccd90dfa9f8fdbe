"""What could stand where a user pressed Tab: names of projects, environments, secrets, variables, connections and runs.

A shell calls it at each Tab: it imports what it needs when it is called, makes no database, and whatever goes wrong
proposes nothing.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from executor.cli.here import Here
    from executor.schemas.places import InProject
    from secretstore.connections import Role

Proposals = Iterable[tuple[str, str]]
"""Each with a few words on it, which some shells show."""


def _completer(find: "Callable[[Here, typer.Context], Proposals]") -> Callable[[typer.Context, str], list[Any]]:
    """What Typer calls: the context of what was typed before, and the beginning of the word."""

    @functools.wraps(find)
    def complete(ctx: typer.Context, incomplete: str) -> list[Any]:
        try:
            from executor.cli.here import here
            from executor.settings import read_here

            store = read_here().store
            if store.database_is_default and not (store.home / "sealrun.db").exists():
                return []  # opening it would make it
            place = here(asks=False)
            try:
                return [one for one in find(place, ctx) if one[0].startswith(incomplete)]
            finally:
                place.at.close()
        except Exception:  # noqa: BLE001  # no settings, no database, no project: there is nothing to propose
            return []

    del complete.__wrapped__  # Typer reads the signature
    complete.__annotations__ = {"ctx": typer.Context, "incomplete": str, "return": list}
    return complete


@_completer
def projects(place: "Here", ctx: typer.Context) -> Proposals:
    """Every project."""
    from executor.operations import projects

    return [(found.name, f"by {found.created_by}") for found in place.ask(projects.list_)]


@_completer
def deleted_projects(place: "Here", ctx: typer.Context) -> Proposals:
    """Every project that can be brought back."""
    from executor.operations import projects

    found = place.ask(projects.list_deleted)
    return [(one.name, f"deleted by {one.deleted_by}") for one in found if one.destroyed_at is None]


@_completer
def environments(place: "Here", ctx: typer.Context) -> Proposals:
    """Those of the project that was typed, else of the one meant here."""
    from executor.operations import projects

    wanted = place.project(_project_typed(ctx))
    found = place.ask(projects.list_)
    return [(name, wanted) for project in found if project.name == wanted for name in project.environments]


@_completer
def secrets(place: "Here", ctx: typer.Context) -> Proposals:
    """By name, each once whatever the number of environments that have it."""
    from executor.operations import secrets

    return _once((found.name, found.environment) for found in place.ask(secrets.list_, _within(place, ctx)))


@_completer
def variables(place: "Here", ctx: typer.Context) -> Proposals:
    """As for secrets."""
    from executor.operations import variables

    found = place.ask(variables.list_, _within(place, ctx))
    return _once((variable.name, variable.environment) for variable in found)


@_completer
def connections(place: "Here", ctx: typer.Context) -> Proposals:
    """Data sources below `sealrun source`, catalogs below `sealrun catalog`."""
    from executor.operations import connections
    from executor.schemas.connections import Connections

    of_sources = ctx.parent is not None and ctx.parent.info_name == "source"
    within = _within(place, ctx)
    role: Role = "source" if of_sources else "catalog"
    asked = Connections(project=within.project, environment=within.environment, role=role)
    return _once((found.name, found.kind) for found in place.ask(connections.list_, asked))


@_completer
def runs(place: "Here", ctx: typer.Context) -> Proposals:
    """The latest, by as much of their ids as listings show."""
    from executor.operations import runs
    from executor.schemas.run_operations import ThoseRuns

    asked = ThoseRuns(project=place.maybe_project(_project_typed(ctx)), limit=50)
    found = place.ask(runs.list_, asked)
    return [("@last", "the latest"), *((run.id[:8], f"{run.state} {run.title}") for run in found)]


def _project_typed(ctx: typer.Context) -> str | None:
    return ctx.params.get("project")


def _within(place: "Here", ctx: typer.Context) -> "InProject":
    from executor.schemas.places import InProject

    return InProject(project=place.project(_project_typed(ctx)), environment=ctx.params.get("environment"))


def _once(found: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    yield from dict(found).items()
