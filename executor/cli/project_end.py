"""`sealrun project delete` and `restore`; and what every command that manages projects does on its way."""

import contextlib
import sys
from typing import Annotated

import typer

from executor.cli.here import Here, confirm, here
from executor.cli.shown import screen
from executor.cli.shown.job import wait
from executor.cli.typed import completion, options
from executor.errors import Misuse, NeedsYes
from executor.operations import environments, jobs, projects
from executor.schemas.jobs import JobNamed
from executor.schemas.places import InEnvironment
from executor.schemas.projects import ProjectDeletion, ProjectNamed
from secretstore.errors import DatabaseUnwritable

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The project's name: lower-case letters, digits and -.", autocompletion=completion.projects
    ),
]
_Deleted = Annotated[
    str, typer.Argument(metavar="NAME", help="A deleted project.", autocompletion=completion.deleted_projects)
]


def manager() -> Here:
    """As `here`, for who manages projects: those whose days are over are destroyed on the way, and that is said."""
    place = here()
    with contextlib.suppress(DatabaseUnwritable):  # what follows may only want to look
        for project in place.ask(projects.destroy_due):
            screen.say(f"project {project.name}, deleted by {project.deleted_by}, is destroyed: its time is over")
    return place


def delete(
    name: Name,
    environment: Annotated[
        str | None, typer.Option("-e", "--environment", metavar="ENV", help="Destroy this environment alone, at once.")
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Destroy it at once, be it deleted already or not: nothing brings it back.")
    ] = False,
    confirmed: Annotated[
        str | None, typer.Option("--confirm", metavar="NAME", help="With --now, its name once more; else it is asked.")
    ] = None,
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """Delete a project: nothing of it is listed, opened or submitted, and its runs are cancelled.

    For seven days `sealrun project restore` brings it back, and its name stays taken. Then its keys, secrets,
    variables, sources and catalogs are destroyed, and what its runs left. Receipts and the audit log stay.

    --now destroys it at once; -e does so with one environment.

    What is destroyed can never be opened again. Backups of the database are beyond that, as long as the key service can
    unwrap the keys in them.
    """
    if confirmed is not None and not now:
        raise Misuse("--confirm goes with --now", command="project delete")
    if environment is not None and now:
        raise Misuse("an environment is always destroyed at once: leave out --now", command="project delete")
    place = manager()
    # What refuses is said before the question; what decides is asked again under the locks.
    if environment is not None:
        _delete_environment(place, name, environment, yes, json)
        return
    asked = ProjectDeletion(name=name, now=now)
    place.ask(projects.require_deletable, asked)
    if now:
        _confirm_twice(name, confirmed, yes)
    else:
        confirm(f'delete project "{name}" and cancel its runs; for 7 days it can be brought back', yes)
    deleted = place.ask(projects.delete, asked)
    if deleted.destroy_at is None:
        screen.say(f'destroyed project "{name}": what was sealed there opens nowhere any more')
    elif now:
        screen.say(f'deleted project "{name}"; the next worker that looks destroys its keys, within a minute or so')
    else:
        screen.say(f'deleted project "{name}"; its keys are destroyed on {deleted.destroy_at:%Y-%m-%d %H:%M} UTC')
        screen.say(f"until then: sealrun project restore {name}")
    if json:
        screen.show_json(deleted)


def restore(name: _Deleted, json: options.Json = False, yes: options.NeverAsks = False) -> None:
    """Bring back a deleted project with everything in it. Runs that were cancelled with it stay cancelled."""
    place = manager()
    project = place.ask(projects.restore, ProjectNamed(name=name))
    screen.say(f"project {name} is back")
    if json:
        screen.show_json(project)


def _delete_environment(place: Here, project: str, environment: str, yes: bool, json: bool) -> None:
    part = InEnvironment(project=project, environment=environment)
    what = f'environment "{environment}" of project "{project}"'
    place.ask(environments.require_deletable, part)
    confirm(f"delete {what} and destroy its keys, so that nothing sealed there can ever be opened again", yes)
    deleted = place.ask(environments.delete, part)
    if deleted.job is not None:
        screen.say(f"a worker does it: job {deleted.job[:8]}, which goes on if this is interrupted")
        wait(place, place.ask(jobs.show, JobNamed(project=project, job=deleted.job)))
    screen.say(f"deleted {what}; its keys are destroyed")
    if json:
        screen.show_json(deleted)


def _confirm_twice(name: str, confirmed: str | None, yes: bool) -> None:
    """Ask before something is destroyed for good, and for its name.

    Raises:
        NeedsYes: nobody can be asked.
        Misuse: it is another name.
        typer.Abort: the answer was not yes.
    """
    act = f'destroy project "{name}" now, so that nothing sealed there can ever be opened again'
    if (confirmed is None or not yes) and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise NeedsYes(act=act, hint=f"add --yes --confirm {name}")
    confirm(act, yes)
    if (confirmed if confirmed is not None else typer.prompt("type its name", err=True)) != name:
        raise Misuse("that is not its name; nothing was destroyed", command="project delete")
