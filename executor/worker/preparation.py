"""Before the gate, while no secret exists: where a run's code is, what it runs under, and what it may reach."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.boundary.supervision import Supervision
from executor.boundary.wire import Kind, WireBroken, send
from executor.environment.variables import base_environment
from executor.errors import SourceIsHome, SourceUnavailable, SupervisorLost, TargetUnusable
from executor.models import Run
from executor.python.layout import interpreter_paths, search_path_of
from executor.sandbox import confinement, kernel
from executor.sandbox.folders import given_to, home_in
from executor.sandbox.host import GRANTED, Host
from executor.sandbox.limits import Mechanisms, held
from executor.sandbox.user import user_name
from executor.sandbox.working import READ_ONLY
from executor.sandbox.workspace import Workspace
from executor.settings import Settings
from executor.worker import descriptors
from executor.worker.equipment import Equipment
from executor.worker.lease import LeaseKeeper
from executor.worker.package import NONE, OwnPackage
from executor.worker.programs import Program, check_interpreter, program_of
from executor.worker.source_cache import Upload, cached_source
from executor.worker.working import WorkingFolder

PRIVATE_MEMORY = f"{confinement.OWN_MEMORY}/sealrun"
"""Where a run's secrets and credentials stand as files, if it has a file system in memory that nobody else sees."""


@dataclass(frozen=True)
class RunsCode:
    """The folder of a run's code; `cached` where the worker keeps it, and nothing but the run's upload is in it."""

    folder: Path
    cached: bool = False


@contextlib.contextmanager
def source_of(worker: Equipment, run: Run, keeper: LeaseKeeper) -> Iterator[RunsCode]:
    """Where a run's code is, while the context lasts: where it was submitted, or what was uploaded.

    Args:
        worker: what the worker brings.
        run: whose code it is.
        keeper: is asked again and again while an upload is fetched; what it raises ends that.

    Raises:
        SealrunError: it is not to be had.
    """
    if run.bundle is None:
        yield RunsCode(_local(Path(run.source_root)))
        return
    settings = worker.settings
    upload = Upload(worker.db, run.project_id, run.bundle)
    with cached_source(upload, settings.cache, settings.source_bytes, keeper) as folder:
        yield RunsCode(folder, cached=True)


def _local(source: Path) -> Path:
    if not source.is_dir():
        raise TargetUnusable(path=source, root=source)
    if source.resolve() != source:
        raise SourceUnavailable(
            "the source root {root} leads to {place}, which is not where the run was submitted",
            root=source,
            place=source.resolve(),
            hint="submit the run again",
        )
    if home_in(source) is not None or confinement.users_home().is_relative_to(source):
        raise SourceIsHome(root=source)
    return source


def prepare(
    worker: Equipment,
    run: Run,
    place: Workspace,
    source: RunsCode,
    python: str | None,
    parts: Sequence[Path] | None = None,
    own: OwnPackage = NONE,
    working: WorkingFolder | None = None,
) -> dict[str, Any]:
    """The job as the supervisor gets it: everything but secrets.

    Args:
        worker: what the worker brings.
        run: the run.
        place: its private place.
        source: its code, as `source_of` gives it.
        python: its interpreter; None for a command that has none.
        parts: what that consists of, where it is an environment that this worker has built.
        own: the package that its source root is.
        working: where it finds its code; by default that is where it lies, and read-only.

    Raises:
        SealrunError: its interpreter or its sandbox is not to be had, or it may not reach its interpreter.
    """
    readable, writable = (
        list(given_to(run.project, folders, worker.settings.closed))
        for folders in (worker.settings.readable, worker.settings.writable)
    )
    working = working or WorkingFolder(source.folder, source.folder, READ_ONLY)
    program, interpreter = _interpreter(worker, source, python, parts, readable)
    lent = (*place.folders, *working.lent)
    called = Program() if own.has(run.target) else _called(worker, run, python, readable)
    view = confinement.view(
        worker.host,
        source=source.folder,
        interpreter=[*interpreter, *called.parts],
        writable=lent,
        uid=place.uid,
        forbidden=worker.settings.closed,
        machine=readable,
        shared=writable,
        network=run.network,
        temporary=place.temporary,
        written=working.written,
        owners=working.owners,
        cached=[*_of_the_cache(worker, source, parts or ()), *own.readable],
    )
    search_path = search_path_of(None if python is None else program, called.folders)
    asked = limits(worker.settings, run.timeout, run.kept_bytes, drop=run.output_limit == "drop")
    asked |= amounts(worker.settings, run)
    asked |= grouped(worker, run, place, view, asked)
    return {
        "run": run.id,
        "target": own.given(working.target(run.target)),
        "mapped": run.mapped,
        "python": str(program),
        "program": called.path,
        "folder": str(working.folder),
        "working": working.to_json(),
        "view": view.to_json(),
        "base": base_of(worker.host, run, place, search_path) | own.variables(search_path),
        "output": str(place.output),
        "folders": [str(folder) for folder in (*lent, *([working.written] if working.written else []))],
        # In memory that is the run's own, where it has such; else in its private place, removed with it.
        "private": PRIVATE_MEMORY if worker.host.own_memory else str(place.private),
        "collect": list(run.collect),
        "controls": {
            **controls_of(worker.host, view),
            "working_folder": working.told,
            "limits": held_of(asked),
        },
        "limits": asked,
    }


def _interpreter(
    worker: Equipment, source: RunsCode, python: str | None, parts: Sequence[Path] | None, readable: Sequence[Path]
) -> tuple[Path, Sequence[Path]]:
    """The run's interpreter and what it lives from, all of which it may be given."""
    if python is None or parts is not None:  # none, or of an environment that this worker has built
        return Path(python or ""), parts or []
    program, found = interpreter_paths(python)
    # Where nobody but this worker's user submits, a run reads no more than its submitter does anyway.
    if not worker.only_its_user:
        own = (Path(os.path.realpath(source.folder)), *worker.offered)
        check_interpreter(python, found, own, worker.reach(readable))
    return program, found


def _called(worker: Equipment, run: Run, python: str | None, readable: Sequence[Path]) -> Program:
    """A command's program, where it is outside the source and the system's folders."""
    if run.target["kind"] != "command" or not run.target["argv"]:
        return Program()
    told = run.target.get("programs", ()) if run.bundle is None else ()
    return program_of(run.target["argv"], told, python, worker.reach(readable))


def _of_the_cache(worker: Equipment, source: RunsCode, parts: Sequence[Path]) -> list[Path]:
    """What the worker itself chose for this run; a path that the run's row names is no way into the cache."""
    built = [part for part in parts if part.is_relative_to(worker.settings.cache) and not part.is_symlink()]
    return [source.folder, *built] if source.cached else built


def base_of(host: Host, run: Run, place: Workspace, search_path: str) -> dict[str, str]:
    """What a process of a run finds in its environment, whatever else it is given; `search_path` is its PATH."""
    return base_environment(
        home=str(place.home),
        temporary="/tmp" if host.rung == "namespace" else str(place.temporary),
        metrics=str(place.temporary),
        output=str(place.output),
        run_id=run.id,
        project=run.project,
        environment=run.environment,
        search_path=search_path,
        user=user_name(place.uid),
    )


def amounts(settings: Settings, run: Run) -> dict[str, Any]:
    """What a run may have at most of memory, CPUs, processes and disk; where it says nothing, as the worker has it."""
    own = {
        "memory_bytes": settings.run_memory,
        "cpus": settings.run_cpus,
        "pids": settings.run_pids,
        "disk_bytes": settings.run_disk,
    }
    return {name: usual if (asked := getattr(run, name)) is None else asked for name, usual in own.items()}


def grouped(
    worker: Equipment, run: Run, place: Workspace, view: confinement.View, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """What its supervisor has to know to put them in force: whose group, which mechanisms, and who else is counted."""
    # By its user id, or within a user namespace of its own.
    counted = view.uid is not None or view.rung == "namespace"
    # Then the usual number of processes is held by an rlimit, and what else takes a group is a share of the processors.
    usual = run.pids is None and asked.get("memory_bytes") is None and asked.get("cpus") is None
    shares = usual and view.rung == "namespace"
    found = worker.mechanisms.to_json()
    return {
        "project": run.project_id,
        "name": place.path.name,
        "mechanisms": Mechanisms().to_json() if shares else found,
        # Nothing but that: what the kernel kills for lack of memory counts where the worker is.
        "share": worker.mechanisms.only("cpu").to_json() if shares and worker.mechanisms.has("cpu") else None,
        "counted": counted,
        # Not for the usual number, since a file with holes is no larger than what is in it; nor where it would count
        # in folders of the machine, too.
        "fsize": run.disk_bytes is not None and not view.shared,
    }


def held_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Which mechanism holds each limit, for the receipt."""
    return held(Mechanisms.from_json(asked["mechanisms"]), asked, counted=asked["counted"], fsize=asked["fsize"])


def limits(settings: Settings, timeout: float | None, kept: int, *, drop: bool) -> dict[str, Any]:
    """What one attempt may use, as the supervisor gets it.

    Args:
        settings: the worker's.
        timeout: in seconds.
        kept: bytes that are kept of its output.
        drop: whether it goes on where it prints more.
    """
    return {
        "timeout": timeout,
        "int_grace": settings.int_grace,
        "term_grace": settings.term_grace,
        "logs": {"total": kept, "drop": drop},
        "result_bytes": settings.result_bytes,
        "output_bytes": settings.output_bytes,
        "descriptors": descriptors.usual(),
    }


def ready(supervision: Supervision, job: dict[str, Any]) -> None:
    """Wait for a supervisor and give it its job.

    Raises:
        SupervisorLost: it is not there.
    """
    try:
        frame = supervision.frames.receive(30)
        send(supervision.supervisor, Kind.JOB, job)
    except (TimeoutError, WireBroken, OSError):
        frame = None
    if frame is None or frame.kind is not Kind.READY:
        raise SupervisorLost


def controls_of(host: Host, view: confinement.View) -> dict[str, Any]:
    """What is really in force, for the receipt."""
    own_user = view.uid is not None
    return {
        "landlock_abi": host.landlock_abi,
        "landlock_errata": kernel.landlock_errata(),
        "calls_filtered": view.rung == "namespace" or (view.rung == "landlock" and view.unix_sockets != "open"),
        # In a box those of others are not seen; below, see `filter.entering`.
        "unix_sockets": {"namespace": "hidden", "landlock": view.unix_sockets}.get(view.rung, "open"),
        "own_user": own_user,
        "own_mounts": host.own_memory,
        "no_new_privileges": True,
        "tree": "pid namespace" if view.rung == "namespace" else "subreaper",
        "network": view.network,
        **({"parts": _parts(host)} if host.parts else {}),
        "key_file_readable": not own_user and view.rung == "process",
        # Folders of the machine that its operator opened to this run.
        **({"covered_sockets": list(view.sockets)} if view.sockets else {}),
        **({"readable": list(view.machine)} if view.machine else {}),
        **({"writable": list(view.shared)} if view.shared else {}),
    }


def _parts(host: Host) -> dict[str, str]:
    """Each part of a box; and why there is none, where that is none of theirs."""
    return {name: found for name, found in host.parts.items() if name != "box" or found != GRANTED}
