"""A run once more: as it was, or with changes."""

from typing import Any

from executor.errors import RequestUnclear, UnknownRun
from executor.models import Run, RunSpec
from executor.runs.retention import refuse_pruned
from executor.schemas.asking import asked
from executor.schemas.order import Order
from executor.schemas.run_operations import Again
from executor.schemas.runs import OVER
from executor.settings import Settings
from executor.submission.receiving import check
from executor.submission.specification import look_up, of_place, refuse, specification
from secretstore import vault
from secretstore.database import Database
from secretstore.errors import EnvironmentGone, InUse, ProjectDeleted, UnknownEnvironment, UnknownProject


def repeated(db: Database, settings: Settings, run_id: str, changes: Again | None = None) -> RunSpec:
    """Return a run's specification, to submit it again with the present settings of its project and environment.

    Args:
        changes: what is other than it was; that is looked up and checked as of a new run.

    Raises:
        UnknownRun: there is no run with this id.
        ProjectDeleted: its project is deleted, and not destroyed yet.
        InUse: it has not ended yet.
        RunPruned: what it left is deleted, and with it what it asked for.
        EnvironmentGone: its environment was deleted, even if a new one has its name.
        RequestUnclear: it asked for more than its project has by now, or a change cannot be meant.
        UnknownSecret, NameRefused, ValueRefused: a change names or gives what it cannot.
    """
    with db.reading() as session:
        run = session.get(Run, run_id)
    if run is None:
        raise UnknownRun(reference=run_id)
    try:
        project, place = vault.get_place(db, run.project, run.environment)
    except ProjectDeleted:  # it can be brought back; until then its worker may still be at ending what it did
        raise
    except (UnknownProject, UnknownEnvironment):
        place = None
    if run.state not in OVER:
        raise InUse(
            "run {run} has not ended yet: it is {state}",
            run=run.id[:8],
            state=run.state,
            hint=f"wait for it, or cancel it first: sealrun runs cancel {run.id[:8]}",
        )
    refuse_pruned(run.id, run.pruned_at, run.pruned_by)
    if place is None or place.id != run.environment_id:
        raise EnvironmentGone(
            "run {run} belongs to {project}/{environment}, which has been deleted",
            run=run.id[:8],
            project=run.project,
            environment=run.environment,
            hint="a new environment of that name has other keys and secrets; submit a new run there: sealrun run",
        )
    own = {"retry_of": run.id, "probe": None, "idempotency_key": None, "followed": False}
    if changes is not None:
        own |= {"idempotency_key": changes.idempotency_key, "followed": changes.followed}
    if changes is None or not (changes.options or changes.arguments):
        same = {name: getattr(run, name) for name in RunSpec.model_fields}
        return RunSpec.model_construct(**same | own | of_place(project, place, run.narrowed))
    order = _changed(run, changes)
    check(order)
    found = look_up(db, order, (project, place))
    refuse(found)
    return specification(settings, order, found).model_copy(update=own)


def _changed(run: Run, changes: Again) -> Order:
    """The order that a run was, with changes."""
    target = _with_arguments(run.target, changes.arguments)
    kept = Order.model_fields.keys() & RunSpec.model_fields.keys()
    was = {name: getattr(run, name) for name in kept} | {
        "idempotency_key": changes.idempotency_key,
        "target": target,
        "secrets": run.secret_names,
        "setup_secrets": run.setup_secret_names or (),
        "sources": target.get("sources", {}),
        "catalogs": target.get("catalogs", {}),
        "narrowed": run.narrowed or {},
    }
    return asked(Order, **was | changes.options)


def _with_arguments(target: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A target with other arguments.

    Raises:
        RequestUnclear: it has none of this kind.
    """
    kind, words = target["kind"], {"argv": "argv", "text": "text", "values": "json", "positional": "args"}
    for name in given:
        if words[name] not in target:
            raise RequestUnclear("a {kind} has no {name}", kind=kind, name=name)
    found = {words[name]: value for name, value in given.items()}
    if "args" in found:
        found["args"] = [{"json": value} for value in found["args"]]
    return target | found
