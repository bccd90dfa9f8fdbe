"""Data sources and catalogs, as they are shown."""

from executor.cli.shown import screen
from secretstore.connections import shape
from secretstore.views import ConnectionView, Missing


def lacking(view: ConnectionView, lack: Missing, project: str) -> str:
    """What is named and not there, and the command that makes it."""
    where = f"-p {project} -e {view.environment}"
    if lack.what == "source":
        mend = f"sealrun source create {lack.name} {where} --kind s3"
        return f"{lack.field} names the source {lack.name}, which is not there yet: {mend}"
    form = shape(view.kind, lack.field)
    stored = f"store it as {form}" if form else "store it"
    return f"{lack.field} names the secret {lack.name}, which is not there yet; {stored}: " + (
        f"sealrun secret set {lack.name} {where}"
    )


def row(view: ConnectionView) -> tuple[str, ...]:
    notes = [f"no {lack.what} {lack.name}" for lack in view.missing]
    if view.problem:
        notes.append(view.problem)
    if view.test_outcome == "failed" and view.test_message:
        notes.append(view.test_message)
    return (
        view.name,
        view.environment,
        view.kind,
        view.where,
        ", ".join(view.secrets),
        view.test_outcome or "never",
        screen.moment(view.tested_at),
        "; ".join(notes),
    )
