"""`sealrun job`: what workers do for those who cannot open a private key."""

from typing import Annotated

import typer

from executor.cli.here import here
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.operations import jobs
from executor.schemas.jobs import JobNamed, JobReceiptView, Jobs, JobView

app = typer.Typer(
    help="List and show jobs: rotating, rewrapping and renaming that a worker does.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command("list")
def list_(
    project: options.Project = None,
    environment: options.AnyEnvironment = None,
    limit: Annotated[int, typer.Option("-L", "--limit", metavar="N", min=1, help="At most so many.")] = 20,
    json: options.Json = False,
) -> None:
    """List a project's jobs, the latest first."""
    place = here()
    found = place.ask(jobs.list_, Jobs(project=place.project(project), environment=environment, limit=limit))
    if json:
        screen.show_json(found)
        return
    rows = [
        (
            job.id[:8],
            job.kind,
            job.environment,
            _state(job),
            screen.moment(job.created_at),
            job.created_by,
            job.message or "",
        )
        for job in found
    ]
    screen.table(("job", "what", "environment", "state", "submitted", "by", ""), rows, ("bold",))


@app.command()
def show(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its id, or a unique beginning of it.", show_default=False)],
    project: options.Project = None,
    json: options.Json = False,
) -> None:
    """Show a job: what came of it, which private keys were unwrapped for it, and which versions were opened."""
    place = here()
    found = place.ask(jobs.show, JobNamed(project=place.project(project), job=job))
    if json:
        screen.show_json(found)
        return
    where = f"{found.project}/{found.environment}"
    screen.show(f"{found.id}: {found.kind} {where}, asked by {found.created_by} {screen.moment(found.created_at)}")
    screen.show(_state(found) + (f": {screen.printable(found.message)}" if found.message else ""))
    if found.waiting_for:
        screen.show(f"waits: {found.waiting_for}")
    for receipt in found.receipts:
        screen.show(_receipt(receipt))


def _state(job: JobView) -> str:
    return f"{job.state} ({job.reason})" if job.reason else job.state


def _receipt(receipt: JobReceiptView) -> str:
    opened = f"opened {screen.moment(receipt.opened_at)}" if receipt.opened_at else "not opened, as far as is known"
    dropped = f", dropped {screen.moment(receipt.dropped_at)}" if receipt.dropped_at else ""
    versions = ", ".join(f"{one.name} {' '.join(map(str, one.versions))}" for one in receipt.secrets)
    return (
        f"attempt {receipt.attempt} by {receipt.worker}: generation {receipt.generation} "
        f"({receipt.fingerprint[:16]}) {opened}{dropped}" + (f": {versions}" if versions else "")
    )
