"""Runs without a database, a broker or a secret: through the zygote, supervisor and sandbox that every run has."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from executor.boundary.supervision import Supervision, Zygote
from executor.boundary.wire import Kind, WireBroken
from executor.conformance import catalog
from executor.conformance.judging import KEPT, Heard, Verdict, judge, left_of
from executor.conformance.layout import Place, laid_out
from executor.errors import PythonUnavailable
from executor.models import Run
from executor.python.choice import choose_interpreter
from executor.runs import Offer
from executor.sandbox import kernel, limits, probing
from executor.sandbox.host import Host
from executor.sandbox.workspace import prepare_root, workspace
from executor.settings import Settings, read_settings
from executor.worker.equipment import Equipment
from executor.worker.preparation import RunsCode, prepare, ready
from executor.worker.storage import Storage
from executor.worker.watch import REAP
from executor.worker.working import working_folder
from secretstore.database import Database

_SECONDS = 20.0  # for one run; more than all of its attacks take
_PROJECT = "conformance"


@dataclass(frozen=True)
class Conformance:
    """What came of it all on this machine."""

    host: Host
    verdicts: list[Verdict]

    @property
    def parts(self) -> dict[str, str]:
        """The parts of the box, each "yes" or why it is missing."""
        return dict(self.host.parts)


def attack_here() -> Conformance:
    """Attack a run's sandbox as a worker of this user and machine would make it, in folders that are thrown away."""
    kernel.harden()  # as a worker is
    with contextlib.ExitStack() as ending:
        base = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="sealrun-c-")))
        base.chmod(0o755)
        (base / "jobs").mkdir()
        zygote = Zygote()
        zygote.start()
        ending.callback(zygote.stop)
        ours = {"worker": os.getpid(), "zygote": zygote.pid or 0}
        place = ending.enter_context(laid_out(base, ours))
        worker = _worker(base, zygote, ending.enter_context(limits.settled()))
        heard = {name: _run(worker, place, name) for name in catalog.RUNS}
        return Conformance(worker.host, judge(heard, place.seen(), place.token))


def _worker(base: Path, zygote: Zygote, mechanisms: limits.Mechanisms) -> Equipment:
    settings = read_settings(
        {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(base / "user"),
            "SEALRUN_HOME": str(base / "home"),
            "SEALRUN_WORKSPACES": str(base / "runs"),
            "SEALRUN_CACHE": str(base / "cache"),
            "SEALRUN_READABLE": str(base / "readable"),
            "SEALRUN_WRITABLE": f"{_PROJECT}={base / 'writable'}",
        }
    )
    prepare_root(settings.workspaces)
    db = Database(settings.store.database_url)
    host = probing.probe()
    offer = Offer(worker=_PROJECT, host=settings.host, queues=(), rung=host.rung)
    storage = Storage(db, settings.workspaces)
    return Equipment(settings, db, zygote, host, offer, storage, only_its_user=True, mechanisms=mechanisms)


def _run(worker: Equipment, place: Place, name: str) -> Heard:
    """One run, heard to its end."""
    asked: dict[str, Any] = {"network": "none"} if name == catalog.NONE else dict(catalog.BOMBS.get(name, {}))
    if name == catalog.NONE and "none" not in worker.host.networks:
        return Heard(why_not="this machine can give no run the network none")
    target = {"kind": "module", "module": "attacks.run", "argv": place.argv(catalog.names(name))}
    run = _row(worker.settings, place, target, asked)
    heard = Heard()
    with contextlib.ExitStack() as ending:
        supervision = ending.enter_context(worker.zygote.pair(worker.host.box))
        own = ending.enter_context(workspace(worker.settings.workspaces, f"{run.id}-1", worker.settings.run_uids))
        ending.callback(supervision.cut, REAP)
        ending.callback(limits.clear_run, worker.mechanisms, run.project_id, own.path.name)
        working = working_folder(worker, run, own, place.source, uploaded=False)
        job = prepare(worker, run, own, RunsCode(place.source), _python(), working=working)
        ready(supervision, job)
        heard.controls = job["controls"]
        deadline = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(_SECONDS * 1e9)
        supervision.hand_over(None, {"deadline": deadline, "secrets": False, "variables": {}})
        _hear(supervision, heard)
        supervision.reaped(REAP)
        heard.left = left_of(place.plan_name)
    return heard


def _row(settings: Settings, place: Place, target: dict[str, Any], asked: dict[str, Any]) -> Run:
    now = datetime.now(UTC)
    return Run(
        project_id=_PROJECT,
        project=_PROJECT,
        environment_id=_PROJECT,
        environment="default",
        target=target,
        source_root=str(place.source),
        host=settings.host,
        timeout=_SECONDS,
        output_limit="drop",
        kept_bytes=KEPT,
        rung_at=now,
        created_at=now,
        created_by=_PROJECT,
        **asked,
    )


def _python() -> str:
    try:
        return choose_interpreter(None, None, os.environ.get("PATH", os.defpath))
    except PythonUnavailable:
        return os.path.realpath("/proc/self/exe")


def _hear(supervision: Supervision, heard: Heard) -> None:
    until = time.monotonic() + 2 * _SECONDS
    for frame in _frames(supervision, until):
        if frame.kind is Kind.STDOUT:
            heard.stdout += frame.payload
        if frame.kind in (Kind.STDOUT, Kind.STDERR):
            heard.printed += len(frame.payload)
        elif frame.kind is Kind.OUTPUT_DATA:
            heard.files += frame.payload[: 1 << 16]
        elif frame.kind is Kind.OUTCOME:
            said = frame.json()
            heard.exit_code, heard.reason = said.get("exit_code"), said.get("reason")
            heard.message = said.get("message")
            return
    heard.reason = "lost"


def _frames(supervision: Supervision, until: float) -> Iterator[Any]:
    while (left := until - time.monotonic()) > 0:
        try:
            frame = supervision.frames.receive(left)
        except (TimeoutError, WireBroken):
            return
        if frame is None:
            return
        yield frame
