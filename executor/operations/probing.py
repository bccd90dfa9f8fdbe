"""`source test` and `catalog test`: one real, harmless call, made by a run like any other, and what came of it."""

from dataclasses import dataclass
from pathlib import Path

from secretstore.run_connection import SOURCE

from executor.records.history import RunView
from executor.submission.specification import Request
from executor.submission.target import Target

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
class Probed:
    """What a probe found: whether the connection works, the seconds of the call itself, and a sentence, masked."""

    ok: bool
    seconds: float | None
    said: str


def probe_request(project: str, environment: str, role: str, name: str, kind: str) -> Request:
    """The run that tests a connection: given that alone, and no secrets as variables."""
    mapped = {_PARAMETER: name}
    return Request(
        target=Target("function", path=str(PROBES / _FILES[kind]), name="probe"),
        project=project,
        environment=environment,
        secrets=(),
        connections=False,
        sources=mapped if role == SOURCE else {},
        catalogs=mapped if role != SOURCE else {},
        timeout=TIMEOUT,
        bundle=True,
        folder=PROBES,
    )


def probed(view: RunView) -> Probed:
    """What came of a probe, from its run, which is over."""
    found = view.result
    if view.state == "succeeded" and isinstance(found, dict) and {"ok", "said"} <= found.keys():
        seconds = found.get("seconds")
        known = round(float(seconds), 3) if isinstance(seconds, int | float) else None
        return Probed(found["ok"] is True, known, _short(str(found["said"])))
    # It did not come to the call: a connection that could not be given, or no environment for the probe's libraries.
    first = next(iter((view.message or f"its run {view.state}").splitlines()))
    first = first.removeprefix(_OF_PARAMETER)  # nobody typed that parameter
    return Probed(False, None, _short(f"no call was made: {first}"))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
