"""Turn a request into a run's specification: look everything up before the run is submitted."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from executor.environment.variables import name_taken
from executor.errors import (
    RequestUnclear,
    RequirementsRefused,
    UnknownRun,
)
from executor.models import KEPT_BYTES, Run, RunSpec
from executor.python import requirements
from executor.runs import LONGEST, retrying
from executor.runs.retention import refuse_pruned
from executor.schemas.run_request import RunRequest
from executor.schemas.runs import OVER
from executor.settings import QUEUE, Settings
from executor.source import bundles
from executor.source.packing import Listing
from executor.submission import narrowing, notebook, texts
from executor.submission.context import environment_named, project_named
from executor.submission.files import Files, Python
from executor.submission.remembered import Batch, Remembered
from secretstore import vault
from secretstore.connections import Role
from secretstore.database import Database
from secretstore.errors import (
    EnvironmentGone,
    InUse,
    ProjectDeleted,
    SealrunError,
    UnknownConnection,
    UnknownEnvironment,
    UnknownProject,
    UnknownSecret,
)
from secretstore.vault import EnvironmentView, ProjectView

_LONGEST_KEY = 200  # characters
_NAMED = 3  # files in a note
_WORKED_OUT = {"target", "project", "environment", "python", "bundle", "queue_timeout", "network", "cpus", "pids"}
_AS_ASKED = RunRequest.model_fields.keys() & RunSpec.model_fields.keys() - _WORKED_OUT
"""What is kept of a request as it is: connections, variables, the time-out, retries, …"""

T = TypeVar("T")

Refusal = SealrunError


@dataclass(frozen=True)
class Examined:
    """Where a run would be, and everything that refuses it; `spec` is None if anything does."""

    place: EnvironmentView
    root: Path | None
    python: str | None
    spec: RunSpec | None
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True)
class Specified:
    """A run that can be submitted, and what its submitter may want to know of it."""

    spec: RunSpec
    notes: tuple[str, ...] = ()


def specify(
    db: Database, settings: Settings, request: RunRequest, remembered: Remembered | Batch | None = None
) -> Specified:
    """Look up everything that a run needs, so that mistakes show before it is submitted; then upload its source.

    Args:
        remembered: what a process that submits again and again knows of its files.

    Raises:
        SealrunError: something is missing or wrong.
    """
    files = Files(request, settings) if remembered is None else remembered.files(request, settings)
    examined = examine(db, settings, request, files, remembered)
    for refusal in examined.refusals:
        raise refusal
    assert examined.spec is not None, "without a refusal there is a specification"
    spec = examined.spec
    spec.source_commit, spec.source_dirty = files.commit.commit, files.commit.dirty
    if files.packed is not None:
        spec.bundle = (remembered or bundles).upload(db, spec.project_id, files.packed)
    if remembered is not None:
        remembered.learn(request, files)
    return Specified(spec, () if files.upload is None else tuple(_notes(files.upload)))


def examine(
    db: Database,
    settings: Settings,
    request: RunRequest,
    known: Files | None = None,
    remembered: "Remembered | Batch | None" = None,
) -> Examined:
    """Look up everything that a run needs, and collect what is missing or wrong.

    Args:
        known: what the request's files say, if some of it is known.
        remembered: as of `specify`.

    Raises:
        NoProjectNamed: nothing says which project is meant.
        UnknownProject: the project does not exist.
        UnknownEnvironment: the environment does not exist.
        ValueRefused, RequestUnclear: it says what no row or program can hold.
    """
    texts.check(request)
    wanted, variables, secrets = request.target, request.variables, request.secrets
    files = known or Files(request, settings)
    project = project_named(settings, request.project, request.folder, files)
    environment = environment_named(settings, request.environment, request.folder, files)
    texts.check_text("the project", project)
    texts.check_text("the environment", environment)
    of_project, place = (remembered or Remembered).place(db, project, environment)
    refusals = list[Refusal](_unknown(db, place, [*(secrets or []), *request.setup_secrets]))
    refusals += _unknown_connections(db, place, request)
    refusals += _out_of_bounds(request)
    given = set(secrets) if secrets is not None else _secrets_among(db, place, variables)
    refusals += [name_taken(name) for name in variables if name in given]

    def attempted(look: Callable[[], T]) -> T | None:
        try:
            return look()
        except SealrunError as refusal:
            refusals.append(refusal)
            return None

    found = attempted(lambda: files.located)
    root, path = found or (None, None)
    document = wanted.document(
        path,
        request.text,
        request.values,
        request.positional,
        request.sources,
        request.catalogs,
        typed=files.typed,
        programs=files.programs,
    )
    python = attempted(lambda: files.python) or Python()
    if root is not None:
        attempted(lambda: texts.check_text("the source root", str(root)))
        attempted(lambda: files.upload)
    if request.setup_secrets and not requirements.installs(python.requirements):
        refusals.append(
            RequirementsRefused(
                "--setup-secret {name} is for the installer, but this run installs nothing",
                name=request.setup_secrets[0],
                hint="leave it out, or name packages to install: --with PKG, --requirements FILE",
            )
        )
    if root is not None:
        refusals += files.understood(document, python).refusals(document)
        refusals += notebook.refusals(root, document)
    attempted(lambda: retrying.check(request.retries, request.retry_on))
    of_place = attempted(lambda: _of_place(of_project, place, narrowing.asked(request)))
    if root is None or of_place is None or refusals:
        return Examined(place, root, python.path, None, tuple(refusals))
    spec = RunSpec(
        project_id=place.project_id,
        project=project,
        environment_id=place.id,
        environment=place.name,
        target=document,
        source_root=str(root),
        host=None if files.uploads else settings.host,
        python=python.path,
        python_version=python.version,
        requirements=python.requirements,
        package=files.package,
        setup_secret_names=list(request.setup_secrets) or None,
        secret_names=None if secrets is None else list(secrets),
        queue_timeout=request.queue_timeout if request.queue_timeout is not None else settings.queue_timeout,
        **request.model_dump(include=_AS_ASKED),
        **of_place,
    )
    return Examined(place, root, python.path, spec, ())


def _out_of_bounds(request: RunRequest) -> Iterator[RequestUnclear]:
    """Yield a refusal for each time or key that a run cannot have."""
    for what, seconds in (("the time-out", request.timeout), ("the queue time-out", request.queue_timeout)):
        if seconds is not None and not 0 < seconds < LONGEST:
            yield RequestUnclear(
                "{what} must be a number of seconds above 0 and below {limit:,}", what=what, limit=LONGEST
            )
    key = request.idempotency_key
    if key is not None and not (0 < len(key) <= _LONGEST_KEY and key.isprintable()):
        yield RequestUnclear("an idempotency key must have 1 to {limit} printable characters", limit=_LONGEST_KEY)


def repeated(db: Database, run_id: str) -> RunSpec:
    """Return a run's specification, to submit it again with the present settings of its project and environment.

    Raises:
        UnknownRun: there is no run with this id.
        ProjectDeleted: its project is deleted, and not destroyed yet.
        InUse: it has not ended yet.
        RunPruned: what it left is deleted, and with it what it asked for.
        EnvironmentGone: its environment was deleted, even if a new one has its name.
        RequestUnclear: it asked for more than its project has by now.
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
    asked = {name: getattr(run, name) for name in RunSpec.model_fields}
    asked |= {"retry_of": run.id, "idempotency_key": None, "followed": False}
    return RunSpec.model_construct(**asked | _of_place(project, place, run.narrowed))


def _of_place(project: ProjectView, place: EnvironmentView, narrowed: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the project and the environment set for their runs, with what this one asks for itself."""
    return {
        "queue": place.queue or QUEUE,
        "rung_min": None if project.sandbox_min == "process" else project.sandbox_min,
        "kept_bytes": project.output_limit or KEPT_BYTES,
        **narrowing.within(project, narrowed),
    }


def _unknown(db: Database, place: EnvironmentView, names: Sequence[str]) -> Iterator[UnknownSecret]:
    known = _secrets_among(db, place, names)
    for name in dict.fromkeys(names):
        try:
            if name not in known:
                vault.require_secrets(db, place.project, place.name, [name])
        except UnknownSecret as unknown:
            yield unknown


def _secrets_among(db: Database, place: EnvironmentView, names: Collection[str]) -> set[str]:
    return vault.secrets_among(db, place.project, place.name, names) if names else set()


def _unknown_connections(db: Database, place: EnvironmentView, request: RunRequest) -> Iterator[Refusal]:
    """Yield a refusal for each parameter that cannot be a data source or catalog."""
    if not (request.sources or request.catalogs):
        return
    if request.target.kind != "function":
        yield RequestUnclear(
            "only a function can have data sources and catalogs as parameters; other targets find them by name in"
            " their environment"
        )
        return
    if both := request.sources.keys() & request.catalogs.keys():
        yield RequestUnclear("the parameter {name} is both a data source and a catalog", name=min(both))
    if both := {*request.sources, *request.catalogs} & {*request.text, *request.values}:
        yield RequestUnclear("the argument {name} is given twice", name=min(both))
    asked: tuple[tuple[Role, Mapping[str, str]], ...] = (("source", request.sources), ("catalog", request.catalogs))
    for role, parameters in asked:
        for name in dict.fromkeys(parameters.values()):
            try:
                vault.get_connection(db, place.project, place.name, role, name)
            except UnknownConnection as unknown:
                yield unknown


def _notes(uploaded: Listing) -> Iterator[str]:
    if uploaded.unasked:
        more = len(uploaded.unasked) - _NAMED
        names = ", ".join(uploaded.unasked[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
        yield (
            f"not uploaded, as it may hold values in the clear: {names}; store them as secrets (sealrun secret import)"
            ", or take it in with a line in .sealrunignore, as in !.env"
        )
