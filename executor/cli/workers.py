"""`sealrun workers`: who executes runs, on all machines."""

from typing import Annotated

import typer

from executor.cli.here import here
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.operations import workers as operations
from executor.schemas.workers import TOLD_TO_STOP, Listed, Those

app = typer.Typer(help="List workers: what each offers, what it runs, when it was last seen.", add_completion=False)


@app.command()
def workers(
    every: Annotated[
        bool, typer.Option("--all", help="Those that are gone for more than an hour, too, a hundred at most.")
    ] = False,
    json: options.Json = False,
) -> None:
    """List workers, the latest seen first: what each offers, what it runs, when it was last seen."""
    at = here()
    found = at.ask(operations.list_, Those(every=every))
    if json:
        screen.show_json([{**screen.plain_data(one.worker), "running": list(one.running)} for one in found])
        return
    headings = ("worker", "state", "host", "queues", "slots", "running", "pythons", "rung", "key service", "last seen")
    rows = [
        (
            one.worker.name,
            _state(one),
            one.worker.host,
            ",".join(one.worker.queues),
            str(one.worker.slots),
            _running(one),
            ",".join(one.worker.pythons),
            one.worker.rung,
            ",".join(one.worker.key_services),
            screen.ago(one.worker.seen_at),
        )
        for one in found
    ]
    screen.table(headings, rows, ("bold",))
    for one in found:
        if one.worker.alive and one.worker.closed:
            screen.say(f"{one.worker.name} takes no run: {one.worker.closed}", "yellow")


def _state(one: Listed) -> str:
    if one.worker.alive:
        if one.worker.closed == TOLD_TO_STOP:
            return "ending"
        return "closed" if one.worker.closed else "lives"
    return "stopped" if one.worker.stopped else "gone"


def _running(one: Listed) -> str:
    """How many, and which."""
    return " ".join([str(len(one.running)), *(run[:8] for run in one.running)])
