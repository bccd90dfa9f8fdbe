"""Testing a data source or catalog: one real, harmless call, made by a run like any other, and what came of it.

`prepare` says which run makes the call, the door submits and follows it, and `record` keeps what it found.
"""

from dataclasses import dataclass
from pathlib import Path

from executor.operations.deployment import Deployment
from executor.schemas.connections import ConnectionNamed, Tested
from executor.schemas.run_request import RunRequest
from executor.schemas.runs import RunView
from executor.schemas.target import Target
from secretstore import vault
from secretstore.audit import Actor
from secretstore.connections import Role
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


def prepare(at: Deployment, who: Actor, asked: ConnectionNamed) -> Probe:
    """The probe of a connection.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownConnection: there is none of this name.
    """
    view = vault.get_connection(at.db, asked.project, asked.environment, asked.role, asked.name)
    return Probe(asked.project, view)


def record(at: Deployment, who: Actor, probe: Probe, run: RunView | None) -> Tested:
    """Keep what a probe found: what its run said, which is over, or without one what was known before.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownConnection: it is not there any more.
    """
    found = probe.known if run is None else Found.by(run)
    if found is None:
        raise ValueError("a probe that lacks nothing is made by a run")
    view = probe.connection
    role: Role = "source" if view.role == SOURCE else "catalog"
    kept = vault.record_test(
        at.db,
        probe.project,
        view.environment,
        role,
        view.name,
        outcome="ok" if found.ok else "failed",
        seconds=found.seconds,
        message=found.said,
        run=run.id if run else None,
        actor=who,
        tested=view.updated_at,
    )
    return Tested(
        role=role,
        name=view.name,
        ok=found.ok,
        seconds=found.seconds,
        said=found.said,
        run=run.id if run else None,
        kept=kept,
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
