"""`sealrun member`: who has which role where."""

from typing import Annotated

import typer

from executor.cli.here import Here, here
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.errors import Misuse
from executor.operations import members
from executor.schemas.people import Member, Members, MembershipView

app = typer.Typer(
    help="Give people, service accounts and groups a role, take it away, list who has one.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A person, a service account, or with --group a group.")]
Role = Annotated[str, typer.Option("--role", metavar="ROLE", help="See: sealrun role list.")]
Group = Annotated[bool, typer.Option("--group", help="NAME is a group of an OIDC provider.")]
Issuer = Annotated[
    str | None, typer.Option("--issuer", metavar="URL", help="Whose group it is, where several providers are known.")
]


@app.command()
def add(
    name: Name,
    role: Role,
    project: options.Project = None,
    environment: options.AnyEnvironment = None,
    installation: options.Installation = False,
    group: Group = False,
    issuer: Issuer = None,
    yes: options.NeverAsks = False,
    json: options.Json = False,
) -> None:
    """Give somebody a role: in a project, in one environment of it, or with --installation everywhere."""
    place = here()
    asked = _member(place, name, role, project, environment, installation, group, issuer)
    added = place.ask(members.add, asked)
    screen.say(f"{added.name} is {added.role} of {_where(added)}")
    if any(one.name == added.role and "use" in one.verbs for one in place.ask(members.roles)):
        screen.say(
            f"note: running code is reading: {added.name} can now read every secret that runs of {_where(added)} "
            "are given",
            "yellow",
        )
    if json:
        screen.show_json(added)


@app.command()
def remove(
    name: Name,
    role: Role,
    project: options.Project = None,
    environment: options.AnyEnvironment = None,
    installation: options.Installation = False,
    group: Group = False,
    issuer: Issuer = None,
    yes: options.NeverAsks = False,
    json: options.Json = False,
) -> None:
    """Take a role away; what it gave ends at once."""
    place = here()
    asked = _member(place, name, role, project, environment, installation, group, issuer)
    removed = place.ask(members.remove, asked)
    screen.say(f"{removed.name} is {removed.role} of {_where(removed)} no more")
    if json:
        screen.show_json(removed)


@app.command("list")
def list_(
    project: options.Project = None,
    environment: options.AnyEnvironment = None,
    installation: options.Installation = False,
    json: options.Json = False,
) -> None:
    """List who has a role: in a project and its environments, or by the installation; or there alone."""
    place = here()
    where = _project(place, project, environment, installation)
    found = place.ask(members.list_, Members(project=where, environment=environment))
    if json:
        screen.show_json(found)
        return
    rows = [(one.name, one.kind, one.role, _where(one), one.given_by, screen.moment(one.given_at)) for one in found]
    screen.table(("name", "kind", "role", "of", "given by", "at"), rows, ("bold",))


def _member(
    place: Here, name: str, role: str, project: str | None, environment: str | None, installation: bool, group: bool,
    issuer: str | None,
) -> Member:  # fmt: skip
    where = _project(place, project, environment, installation)
    return Member(project=where, environment=environment, role=role, name=name, group=group, issuer=issuer)


def _project(place: Here, project: str | None, environment: str | None, installation: bool) -> str | None:
    if not installation:
        return place.project(project)
    if project is not None or environment is not None:
        raise Misuse("--installation is every project: leave out -p and -e", command="member add")
    return None


def _where(member: MembershipView) -> str:
    if member.project is None:
        return "the installation"
    return member.project + (f"/{member.environment}" if member.environment else "")
