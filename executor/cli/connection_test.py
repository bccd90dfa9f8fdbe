"""`sealrun source test` and `sealrun catalog test`: a run that makes one harmless call, and what is kept of it.

What it needs is imported when it is called, so that the other commands of the two do not pay for it.
"""

from typing import TYPE_CHECKING

import typer

from executor.cli.here import Here, here
from executor.cli.shown import screen
from executor.cli.shown.connection import lacking
from executor.schemas.connections import ConnectionNamed
from secretstore.connections import Role

if TYPE_CHECKING:
    from executor.schemas.connections import Tested
    from executor.schemas.run_operations import Submitted


def test(role: Role, name: str, project: str | None, environment: str | None, json: bool) -> None:
    """Make the call in a run's own sandbox, and keep and say how it went.

    Raises:
        UnknownConnection: there is none.
        SealrunError: its run was not accepted.
        typer.Exit: with 1 where the connection does not work, and 130 where nobody waited for it.
    """
    from executor.cli.run import never_started
    from executor.operations import probing
    from secretstore.errors import SealrunError

    place = here()
    asked = ConnectionNamed(
        project=place.project(project), environment=place.environment(environment), role=role, name=name
    )
    try:
        begun = place.ask(probing.begin, asked)
    except SealrunError as error:
        raise never_started(error) from None
    view = begun.connection
    if begun.tested is not None:
        tested = begun.tested
        for lack in view.missing:
            screen.say(f"note: {lacking(view, lack, asked.project)}", "yellow")
    else:
        assert begun.run is not None, "a probe that lacks nothing is made by a run"
        tested = _by_a_run(place, asked, begun.run, view.label)
    if json:
        screen.show_json({role: name} | {field: value for field, value in tested if field not in ("role", "name")})
    else:
        took = f" in {tested.seconds:.2f} s" if tested.seconds is not None else ""
        screen.show(f"{view.label}: {'ok' if tested.ok else 'failed'}{took}: {screen.printable(tested.said)}")
    if not tested.kept:
        screen.say(f"not kept: {view.label} was changed meanwhile", "yellow")
    if not tested.ok:
        raise typer.Exit(1)


def _by_a_run(place: Here, asked: ConnectionNamed, run: "Submitted", label: str) -> "Tested":
    """What its run has found."""
    from executor.cli.run import Submission
    from executor.cli.shown.follow import Detached
    from executor.operations import probing
    from executor.schemas.connections import ProbeRun

    submitted = Submission(place, lambda: run)
    try:
        over = submitted.follow(json=True)  # what its run says goes to stderr
    except Detached:
        screen.say(f"how the test of {label} ends is not kept: nobody waited for it")
        raise typer.Exit(130) from None
    return place.ask(probing.record, ProbeRun(**dict(asked), run=over.id))
