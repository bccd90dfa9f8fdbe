"""Turn a request into a run's specification: look everything up before the run is submitted."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from executor.environment.variables import name_taken
from executor.errors import (
    FileUnreadable,
    PythonUnavailable,
    RequestUnclear,
    RequirementsRefused,
    SourceIsHome,
    SourceRefused,
    TargetUnusable,
    UnknownRun,
)
from executor.models import KEPT_BYTES, Run, RunSpec
from executor.python import requirements
from executor.python.choice import choose_interpreter, own_environment
from executor.runs import LONGEST, retrying
from executor.runs.retention import refuse_pruned
from executor.schemas.run_request import RunRequest
from executor.schemas.runs import OVER
from executor.schemas.target import Target
from executor.settings import QUEUE, Settings
from executor.source import bundles, packing
from executor.source.git_state import git_state
from executor.source.package import package_of
from executor.source.packing import Listing
from executor.source.root import project_file, relative_target, source_root
from executor.submission import meant, narrowing, notebook, signature
from executor.submission.context import current_folder, environment_named, project_named
from executor.submission.programs import programs_of
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
from secretstore.vault import EnvironmentView

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
    upload: Listing | None = None
    """What submitting the run uploads."""


@dataclass(frozen=True)
class Python:
    """A run's Python: a path, or a version, with an environment to build."""

    path: str | None = None
    version: str | None = None
    requirements: dict[str, Any] | None = None


@dataclass(frozen=True)
class Specified:
    """A run that can be submitted, and what its submitter may want to know of it."""

    spec: RunSpec
    notes: tuple[str, ...] = ()


def specify(db: Database, settings: Settings, request: RunRequest) -> Specified:
    """Look up everything that a run needs, so that mistakes show before it is submitted; then upload its source.

    Raises:
        SealrunError: something is missing or wrong.
    """
    examined = examine(db, settings, request)
    for refusal in examined.refusals:
        raise refusal
    assert examined.spec is not None and examined.root is not None, "without a refusal there is a specification"
    state = git_state(examined.root, _search_path(request))
    commit = {"source_commit": state.commit, "source_dirty": state.dirty}
    spec = examined.spec.model_copy(update=commit)
    if examined.upload is None:
        return Specified(spec)
    bundle = bundles.upload(db, spec.project_id, packing.pack(examined.upload))
    return Specified(spec.model_copy(update={"bundle": bundle}), tuple(_notes(examined.upload)))


def examine(db: Database, settings: Settings, request: RunRequest) -> Examined:
    """Look up everything that a run needs, and collect what is missing or wrong.

    Raises:
        NoProjectNamed: nothing says which project is meant.
        UnknownProject: the project does not exist.
        UnknownEnvironment: the environment does not exist.
    """
    wanted, variables, secrets = request.target, request.variables, request.secrets
    project = project_named(settings, request.project, request.folder)
    place = vault.get_environment(db, project, environment_named(settings, request.environment, request.folder))
    refusals = list[Refusal](_unknown(db, place, [*(secrets or []), *request.setup_secrets]))
    refusals += _unknown_connections(db, place, request)
    refusals += _out_of_bounds(request)
    given = vault.secrets_among(db, project, place.name, variables) if secrets is None else set(secrets)
    refusals += [name_taken(name) for name in variables if name in given]

    def attempted(look: Callable[[], T]) -> T | None:
        try:
            return look()
        except SealrunError as refusal:
            refusals.append(refusal)
            return None

    here = request.folder or current_folder()
    found = attempted(lambda: _located(here, wanted))
    root, path = found or (None, None)
    uploads = not settings.workers_see_files if request.bundle is None else request.bundle
    document = wanted.document(
        path,
        request.text,
        request.values,
        request.positional,
        request.sources,
        request.catalogs,
        typed=_as_typed(root, path, wanted.path, uploads),
        programs=[] if uploads or root is None else _programs(wanted, root, request),
    )
    python = attempted(lambda: _python(request, root or here, path, uploads)) or Python()
    upload = attempted(lambda: _to_upload(root, path, settings.source_bytes)) if uploads and root is not None else None
    if request.setup_secrets and not requirements.installs(python.requirements):
        refusals.append(
            RequirementsRefused(
                "--setup-secret {name} is for the installer, but this run installs nothing",
                name=request.setup_secrets[0],
                hint="leave it out, or name packages to install: --with PKG, --requirements FILE",
            )
        )
    if root is not None:
        refusals += signature.refusals(root, document, signature.version_of(python.path, python.version))
        refusals += notebook.refusals(root, document)
    attempted(lambda: retrying.check(request.retries, request.retry_on))
    of_place = attempted(lambda: _of_place(db, place, narrowing.asked(request)))
    if root is None or of_place is None or refusals:
        return Examined(place, root, python.path, None, tuple(refusals))
    spec = RunSpec(
        project_id=place.project_id,
        project=project,
        environment_id=place.id,
        environment=place.name,
        target=document,
        source_root=str(root),
        host=None if uploads else settings.host,
        python=python.path,
        python_version=python.version,
        requirements=python.requirements,
        package=package_of(root),
        setup_secret_names=list(request.setup_secrets) or None,
        secret_names=None if secrets is None else list(secrets),
        queue_timeout=request.queue_timeout if request.queue_timeout is not None else settings.queue_timeout,
        **request.model_dump(include=_AS_ASKED),
        **of_place,
    )
    return Examined(place, root, python.path, spec, (), upload)


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
        InUse: it has not ended yet.
        RunPruned: what it left is deleted, and with it what it asked for.
        ProjectDeleted: its project is deleted, and not destroyed yet.
        EnvironmentGone: its environment was deleted, even if a new one has its name.
        RequestUnclear: it asked for more than its project has by now.
    """
    with db.reading() as session:
        run = session.get(Run, run_id)
    if run is None:
        raise UnknownRun(reference=run_id)
    if run.state not in OVER:
        raise InUse(
            "run {run} has not ended yet: it is {state}",
            run=run.id[:8],
            state=run.state,
            hint=f"wait for it, or cancel it first: sealrun runs cancel {run.id[:8]}",
        )
    refuse_pruned(run.id, run.pruned_at, run.pruned_by)
    try:
        place = vault.get_environment(db, run.project, run.environment)
    except ProjectDeleted:  # it can be brought back
        raise
    except (UnknownProject, UnknownEnvironment):
        place = None
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
    return RunSpec.model_construct(**asked | _of_place(db, place, run.narrowed))


def _of_place(db: Database, place: EnvironmentView, narrowed: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the project and the environment set for their runs, with what this one asks for itself."""
    project = vault.get_project(db, place.project)
    return {
        "queue": place.queue or QUEUE,
        "rung_min": None if project.sandbox_min == "process" else project.sandbox_min,
        "kept_bytes": project.output_limit or KEPT_BYTES,
        **narrowing.within(project, narrowed),
    }


def _unknown(db: Database, place: EnvironmentView, names: Sequence[str]) -> Iterator[UnknownSecret]:
    known = vault.secrets_among(db, place.project, place.name, names)
    for name in dict.fromkeys(names):
        try:
            if name not in known:
                vault.require_secrets(db, place.project, place.name, [name])
        except UnknownSecret as unknown:
            yield unknown


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


def _located(here: Path, wanted: Target) -> tuple[Path, str | None]:
    try:
        if wanted.path == "":
            raise TargetUnusable(
                "the file of the function {name} is missing", name=wanted.name, hint="path.py:function"
            )
        root = source_root(here, wanted.path)
    except TargetUnusable as unusable:
        if (line := _meant(here, wanted)) is not None:
            unusable.advise(f"did you mean: {line}")
        raise
    return root, relative_target(root, here, wanted.path) if wanted.path is not None else None


def _meant(here: Path, wanted: Target) -> str | None:
    """The line that works, where the target is something else than a file."""
    assert wanted.path is not None
    try:
        root = source_root(here, None)
    except SourceIsHome:
        root = here
    return meant.instead(here, root, wanted.path, wanted.name, wanted.argv) if "\0" not in wanted.path else None


def _as_typed(root: Path | None, path: str | None, typed: str | None, uploads: bool) -> str | None:
    """Return a target's path as it was typed, where it leads to the same file from the source root; else None.

    Of an upload only what is beneath its root by the same name is on the worker.
    """
    if root is None or path is None or typed is None:
        return None
    named = Path(os.path.normpath(root / typed))
    if uploads and (os.path.isabs(typed) or named != root / path):
        return None
    return typed if named.is_relative_to(root) and (root / typed).resolve() == root / path else None


def _programs(wanted: Target, root: Path, request: RunRequest) -> list[str]:
    if wanted.kind != "command" or wanted.path is not None:
        return []
    return programs_of(wanted.argv, root, _search_path(request))


def _to_upload(root: Path, target: str | None, limit: int) -> Listing:
    found = packing.listing(root, limit)
    if target is not None and not found.has(target):
        raise SourceRefused(
            "{path} is not uploaded: a .gitignore or .sealrunignore leaves it out, or it is in a folder that is "
            "never uploaded",
            path=target,
            hint=f"include it with a line in .sealrunignore (!{target}), or run from the folder itself: --no-bundle",
        )
    return found


def _notes(uploaded: Listing) -> Iterator[str]:
    if uploaded.unasked:
        more = len(uploaded.unasked) - _NAMED
        names = ", ".join(uploaded.unasked[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
        yield (
            f"not uploaded, as it may hold values in the clear: {names}; store them as secrets (sealrun secret import)"
            ", or take it in with a line in .sealrunignore, as in !.env"
        )


def _search_path(request: RunRequest) -> str:
    return request.search_path or os.environ.get("PATH", os.defpath)


def _python(request: RunRequest, root: Path, path: str | None, uploads: bool) -> Python:
    """Decide a run's Python.

    A path is used as it is. Else, if something says what to install, an environment is built, be it of nothing; if only
    a version is asked for, an interpreter of it is used. For uploaded source, the worker chooses: a path of this
    machine means nothing.
    """
    asked = request.python
    version = asked if asked is not None and requirements.is_version(asked) else None
    if asked is not None and version is None:
        if uploads:
            raise PythonUnavailable(
                "{python} is an interpreter on this machine, but a run with uploaded source may start on another",
                python=asked,
                hint="name a version (--python 3.12), or run from the folder itself: --no-bundle",
            )
        if request.packages or request.requirements_file is not None:
            raise RequirementsRefused(
                "--python {python} is an interpreter, which is used as it is: no packages are installed for it",
                python=asked,
                hint="name a version (--python 3.12), and an environment is built for the packages",
            )
        chosen = _interpreter(request.target, root, asked, _search_path(request))
        notebook.check(request.target, chosen)
        return Python(chosen)
    document = _requirements(request, root, path, version, uploads)
    if request.target.kind == "notebook" and (document is not None or version is not None or uploads):
        document = notebook.with_packages(document)
    if document is not None:
        return Python(None, version, document)
    if version is not None or uploads:
        return Python(None, version)
    return _found(request, root)


def _found(request: RunRequest, root: Path) -> Python:
    """The `.venv` of the source root, else the submitter's own Python; for a notebook one that can execute it."""
    chosen = _interpreter(request.target, root, None, _search_path(request))
    if request.target.kind == "notebook" and own_environment(root) is None and notebook.lacking(chosen):
        return Python(None, None, notebook.with_packages(None))
    notebook.check(request.target, chosen)
    return Python(chosen)


def _requirements(
    request: RunRequest, root: Path, path: str | None, version: str | None, uploads: bool
) -> dict[str, Any] | None:
    """Find what to install: `--requirements`, else the target file's block, else the source's; and `--with`."""
    if request.requirements_file is not None:
        file = (request.folder or current_folder()) / request.requirements_file
        if not file.is_file():
            why = "it is a folder" if file.is_dir() else "no such file"
            raise FileUnreadable(path=request.requirements_file, why=why)
        return requirements.with_packages(requirements.from_file(file), request.packages)
    script = root / path if path is not None and request.target.kind != "command" else None
    found = requirements.of_script(script) if script is not None else None
    # A .venv in the source root comes before its requirements, unless something else is asked for or it is left behind.
    if found is None and not (
        own_environment(root) is not None and version is None and not request.packages and not uploads
    ):
        found = requirements.of_source(root, project_file(root).dependencies)
    return requirements.with_packages(found, request.packages) if found is not None or request.packages else None


def _interpreter(wanted: Target, root: Path, python: str | None, search_path: str) -> str | None:
    try:
        return choose_interpreter(root, python, search_path)
    except PythonUnavailable:
        if wanted.kind == "command" and python is None:
            return None
        raise
