"""Testing a data source or catalog: one real, harmless call, made by a run like any other, and what came of it.

`begin` submits the run that makes the call, the door follows it, and `record` keeps what it found. Nothing of that is
taken from who asks: the run says it, and its row says whose test it is.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from executor.errors import RequestUnclear
from executor.models import Run
from executor.operations import runs
from executor.operations.deployment import Deployment
from executor.schemas.connections import Begun, ConnectionNamed, ProbeRun, Tested
from executor.schemas.run_operations import ThatAttempt
from executor.schemas.run_request import RunRequest
from executor.schemas.runs import RunView
from executor.schemas.target import Target
from secretstore import vault
from secretstore.audit import Actor
from secretstore.errors import InUse
from secretstore.run_connection import SOURCE
from secretstore.views import ConnectionView

PROBES = Path(__file__).parents[1] / "inside/probes"
TIMEOUT = 60.0
"""Seconds for the call; a probe's libraries have shorter limits of their own."""

_FILES = {
    "s3": "s3.py",
    "supabase-storage": "s3.py",
    "postgres": "postgres.py",
    "iceberg-rest": "iceberg.py",
    "glue": "glue.py",
    "unity-catalog": "unity.py",
}
_PARAMETER = "connection"  # of each probe
_OF_PARAMETER = f"the parameter {_PARAMETER} cannot be given: "
_LONGEST = 1_000  # characters of a cause that are kept


@dataclass(frozen=True)
class Found:
    """What a probe found: whether the connection works, the seconds of the call itself, and a sentence, masked."""

    ok: bool
    seconds: float | None
    said: str

    @classmethod
    def by(cls, run: RunView) -> "Found":
        """What came of a probe, from its run, which is over."""
        found = run.result
        if run.state == "succeeded" and isinstance(found, dict) and {"ok", "said"} <= found.keys():
            seconds = found.get("seconds")
            known = round(float(seconds), 3) if isinstance(seconds, int | float) else None
            return cls(found["ok"] is True, known, _short(str(found["said"])))
        # It did not come to the call: the connection could not be given, or the probe's libraries not installed.
        first = next(iter((run.message or f"its run {run.state}").splitlines()))
        first = first.removeprefix(_OF_PARAMETER)  # nobody typed that parameter
        return cls(False, None, _short(f"no call was made: {first}"))


@dataclass(frozen=True)
class Probe:
    """A connection that is to be tested, as it is now."""

    project: str
    connection: ConnectionView

    @property
    def known(self) -> Found | None:
        """What is known before anything is called: that something the connection names is not there."""
        missing = self.connection.missing
        lacks = "; ".join(f"{lack.field} names the {lack.what} {lack.name}, which is not there" for lack in missing)
        return Found(False, None, f"no call was made: {lacks}") if missing else None

    @property
    def request(self) -> RunRequest:
        """The run that makes the call: given the connection alone, and no secrets as variables."""
        mapped = {_PARAMETER: self.connection.name}
        return RunRequest(
            target=Target("function", path=str(PROBES / _FILES[self.connection.kind]), name="probe"),
            project=self.project,
            environment=self.connection.environment,
            secrets=(),
            connections=False,
            sources=mapped if self.connection.role == SOURCE else {},
            catalogs=mapped if self.connection.role != SOURCE else {},
            timeout=TIMEOUT,
            bundle=True,
            folder=PROBES,
        )


def begin(at: Deployment, who: Actor, asked: ConnectionNamed) -> Begun:
    """Submit the run that tests a connection; where something that it names is missing, that is kept and no run made.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownConnection: there is none of this name.
        SealrunError: its run was not accepted.
    """
    view = vault.get_connection(at.db, asked.project, asked.environment, asked.role, asked.name)
    probe = Probe(asked.project, view)
    if (known := probe.known) is not None:
        return Begun(connection=view, tested=_kept(at, who, asked, known, None, view.updated_at))
    prepared = runs.prepare(at, who, probe.request).followed()
    prepared.spec.probe = {"connection": view.id, "changed": view.updated_at.isoformat()}
    return Begun(connection=view, run=runs.accept(at, who, prepared))


def record(at: Deployment, who: Actor, asked: ProbeRun) -> Tested:
    """Keep what the test of a connection found, once its run is over.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownConnection: it is not there any more.
        UnknownRun: there is no such run of this project.
        RequestUnclear: the run is no test of this connection.
        InUse: the run is not over.
        RunPruned: what it found is deleted.
    """
    view = vault.get_connection(at.db, asked.project, asked.environment, asked.role, asked.name)
    run = runs.kept(at, who, ThatAttempt(run=asked.run, project=asked.project))
    with at.db.reading() as session:
        row = session.get(Run, run.id)
    probe = row.probe if row is not None else None
    if not probe or probe["connection"] != view.id:
        raise RequestUnclear("run {run} is no test of {label}", run=run.id[:8], label=view.label)
    if not run.over:
        raise InUse("run {run} has not ended yet: it is {state}", run=run.id[:8], state=run.state)
    return _kept(at, who, asked, Found.by(run), run.id, datetime.fromisoformat(probe["changed"]))


def _kept(
    at: Deployment, who: Actor, asked: ConnectionNamed, found: Found, run_id: str | None, changed: datetime
) -> Tested:
    """What was found, stored if the connection is as it was."""
    kept = vault.record_test(
        at.db,
        asked.project,
        asked.environment,
        asked.role,
        asked.name,
        outcome="ok" if found.ok else "failed",
        seconds=found.seconds,
        message=found.said,
        run=run_id,
        actor=who,
        tested=changed,
    )
    return Tested(
        role=asked.role, name=asked.name, ok=found.ok, seconds=found.seconds, said=found.said, run=run_id, kept=kept
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
