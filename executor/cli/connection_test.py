"""`sealrun source test` and `sealrun catalog test`: a run that makes one harmless call, and what is kept of it.

What it needs is imported when it is called, so that the other commands of the two do not pay for it.
"""

from typing import TYPE_CHECKING

import typer

from executor.cli import desk
from executor.cli.desk import Desk
from executor.cli.shown import screen
from executor.cli.typed.connection import lacking
from secretstore import vault
from secretstore.connections import Role

if TYPE_CHECKING:
    from executor.operations.probing import Probed


def test(role: Role, name: str, project: str | None, environment: str | None, json: bool) -> None:
    """Make the call in a run's own sandbox, and keep and say how it went.

    Raises:
        UnknownConnection: there is none.
        SealrunError: its run was not accepted.
        typer.Exit: with 1 where the connection does not work, and 130 where nobody waited for it.
    """
    at = desk.sit_down()
    project, environment = desk.project_named(at.settings, project), desk.environment_named(at.settings, environment)
    view = vault.get_connection(at.db, project, environment, role, name)
    found, run = _without_a_run(view, project) or _by_a_run(at, view, project)
    kept = vault.record_test(
        at.db,
        project,
        environment,
        role,
        name,
        outcome="ok" if found.ok else "failed",
        seconds=found.seconds,
        message=found.said,
        run=run,
        actor=at.actor,
        tested=view.updated_at,
    )
    if json:
        screen.show_json(
            {role: name, "ok": found.ok, "seconds": found.seconds, "said": found.said, "run": run, "kept": kept}
        )
    else:
        took = f" in {found.seconds:.2f} s" if found.seconds is not None else ""
        verdict = f"ok{took}: {found.said}" if found.ok else f"failed{took}: {found.said}"
        screen.show(f"{view.label}: {screen.printable(verdict)}")
    if not kept:
        screen.say(f"not kept: {view.label} was changed meanwhile", "yellow")
    if not found.ok:
        raise typer.Exit(1)


def _without_a_run(view: vault.ConnectionView, project: str) -> "tuple[Probed, None] | None":
    """What is known before anything is called: that something it names is not there."""
    from executor.operations.probing import Probed

    if not view.missing:
        return None
    for lack in view.missing:
        screen.say(f"note: {lacking(view, lack, project)}", "yellow")
    told = "; ".join(f"{lack.field} names the {lack.what} {lack.name}, which is not there" for lack in view.missing)
    return Probed(False, None, f"no call was made: {told}"), None


def _by_a_run(at: Desk, view: vault.ConnectionView, project: str) -> "tuple[Probed, str]":
    """What its run has found, and that run's id."""
    from executor.cli.here import here
    from executor.cli.run import Submission, never_started
    from executor.cli.shown.follow import Detached
    from executor.operations import runs
    from executor.operations.probing import probe_request, probed
    from secretstore.errors import SealrunError

    try:
        request = probe_request(project, view.environment, view.role, view.name, view.kind)
        now = here()
        submitted = Submission(now, runs.prepare(now.at, now.who, request))
    except SealrunError as error:
        raise never_started(error) from None
    try:
        run = submitted.follow(json=True)  # what its run says goes to stderr
    except Detached:
        screen.say(f"how the test of {view.label} ends is not kept: nobody waited for it")
        raise typer.Exit(130) from None
    return probed(run), run.id
