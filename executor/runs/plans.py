"""What of a run is signed when a server accepts it, and what a worker holds its row against before anything else.

The signature stands in the run's row; the bytes that it is over are made from the row anew, by whoever is about to act
on it. So there is no second copy that could differ: what is verified is what is executed. Beside what was asked for the
plan has what a run is given without asking: the plain variables of its environment, which decide what its code does
and where its packages come from; where its data sources and catalogs lead, each by a digest; and of a run that takes
all secrets their names, as one that is added later could stand under a name that something acts on.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from executor.boundary import plans
from executor.boundary.plans import Signer, SigningKey, canonical
from executor.errors import PlanRefused
from executor.models import Run, RunSpec
from executor.runs.grant import Asked, Pinned, chosen
from executor.runs.spec import mapped_by
from secretstore import vault
from secretstore.run_connection import RunConnection
from secretstore.transaction import Reader

NOT_SIGNED: Mapping[str, str] = MappingProxyType(
    {
        "followed": "set by whoever reads along while the run goes on; it decides when output is stored, and no more",
        "idempotency_key": "asked at acceptance alone; which run a later submission stands for is no worker's concern",
    }
)
"""Columns of what is asked for that are in no plan, and why."""

SIGNED = (
    "project_id", "project", "environment_id", "environment", "target", "source_root", "host", "bundle",
    "source_commit", "source_dirty", "python", "python_version", "requirements", "package", "setup_secret_names",
    "variables", "secret_names", "connections", "timeout", "queue", "queue_timeout", "rung_min", "network", "retries",
    "retry_on", "retry_of", "probe", "kept_bytes", "output_limit", "memory_bytes", "cpus", "pids", "disk_bytes",
    "narrowed", "collect",
)  # fmt: skip
"""Columns of what is asked for that are in every plan: what decides which code runs, with what, or what it is given."""

_FLOATS = tuple(name for name, field in RunSpec.model_fields.items() if "float" in str(field.annotation))

LIFE = 30 * 86400
"""Seconds that a plan is good for, beside what its run may wait and take: who can write to the database can make a run
that is over `pending` again, and so have a plan that was signed once carried out anew."""


@dataclass(frozen=True)
class Door:
    """The way by which a run comes in; with a `key`, what is accepted is signed."""

    name: str = "direct"
    key: SigningKey | None = field(default=None, repr=False)


DIRECT = Door()
"""Whoever has the database's URL."""


class Signing:
    """Signs the runs of one submission; what they have in common is read once."""

    def __init__(self, session: Reader, key: SigningKey) -> None:
        """Nothing is read yet; it is, in the caller's transaction."""
        self._session, self._key = session, key
        self._places: dict[str, tuple[dict[str, str], list[RunConnection]]] = {}
        self._names: dict[str, list[str]] = {}

    def plan(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the row of a new run bears: what is signed beside its columns, and the signature."""
        variables, connections = self._given(row["environment_id"])
        asked = Asked(row["mapped"], row["secret_names"], row["setup_secret_names"] or (), row["connections"])
        now = int(time.time())
        beside = {
            "at": now,
            "until": now + _life(row),
            "variables": variables,
            "connections": {one.key: plans.pin(one) for one in chosen(asked, connections) if one.refused is None},
            "secrets": self._secrets(row["environment_id"]) if row["secret_names"] is None else None,
        }
        return beside | self._key.sign(plans.RUN, _content(row, beside))

    def _given(self, environment_id: str) -> tuple[dict[str, str], list[RunConnection]]:
        if environment_id not in self._places:
            variables = vault.plain_variables(self._session, environment_id)
            self._places[environment_id] = variables, vault.connection_plan(self._session, environment_id)
        return self._places[environment_id]

    def _secrets(self, environment_id: str) -> list[str]:
        if environment_id not in self._names:
            self._names[environment_id] = vault.secret_names(self._session, environment_id)
        return self._names[environment_id]


def content_of(run: Run) -> str:
    """Return a run's plan as its row says it, in the form that is signed.

    Raises:
        PlanRefused: the row bears no plan, or nothing that could be one.
    """
    try:
        return _content({name: getattr(run, name) for name in _OF_ROW}, run.plan or {})
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
        raise PlanRefused(why="it bears no signature" if run.plan is None else "its row cannot be read") from None


def check(run: Run, signers: Collection[Signer]) -> None:
    """Insist that a server has accepted a run just as its row has it. It is done before anything else is.

    Raises:
        PlanRefused: none of these signers has, or it was too long ago.
    """
    if run.plan is None:
        raise PlanRefused(why="it bears no signature")
    plan = plans.verify(signers, plans.RUN, content_of(run), run.plan)
    if run.mapped != mapped_by(run.target):
        raise PlanRefused(why="its parameters are other data sources or catalogs than those that were signed")
    if plan["until"] < time.time():
        raise PlanRefused(why="it was accepted too long ago")


@dataclass(frozen=True)
class Doors:
    """Through which doors a worker takes runs: with `signers`, what one of these servers has accepted, and no more."""

    signers: tuple[Signer, ...] = ()

    def check(self, run: Run) -> None:
        """Insist on a plan, where this worker does; before anything else is done with a run.

        Raises:
            PlanRefused: see `check`.
        """
        if self.signers:
            check(run, self.signers)

    def ask_variables(self, session: Reader, run: Run) -> Callable[[], dict[str, str]]:
        """Ask for the plain variables of a run's environment; the answer is those of its plan, or as they are now.

        Raises:
            EnvironmentGone: from the answer, where the environment does not exist any more.
        """
        now = vault.ask_variables(session, run.environment_id)
        if not self.signers:
            return now

        def of_plan() -> dict[str, str]:
            now()
            return dict(_plan_of(run)["variables"])

        return of_plan

    def pins(self, run: Run) -> Pinned | None:
        """Return what it is given is held against; None where that may be anything."""
        if not self.signers:
            return None
        plan = _plan_of(run)
        return Pinned(plan["connections"], plan["secrets"])

    def opening(
        self, run: Run, phase: str, variables: Mapping[str, str], connections: Collection[RunConnection] = ()
    ) -> dict[str, Any]:
        """Return what an opener is told of the plan; `variables` and `connections` are what is given in this phase."""
        if not self.signers:
            return {}
        given = {"variables": dict(variables), "connections": [one.to_json() for one in connections]}
        content = content_of(run)
        return {"plan": {"content": content, "signed": run.plan, "run": run.id, "phase": phase, **given}}


def _plan_of(run: Run) -> dict[str, Any]:
    """The plan of a run that was checked."""
    assert run.plan is not None
    return run.plan


_OF_ROW = ("id", "created_by", *SIGNED)


def _content(row: Mapping[str, Any], beside: Mapping[str, Any]) -> str:
    asked = {name: row[name] for name in SIGNED}
    asked |= {name: float(asked[name]) for name in _FLOATS if asked[name] is not None}
    of_plan = {name: beside[name] for name in ("at", "until", "variables", "connections", "secrets")}
    return canonical({"run": row["id"], "by": row["created_by"], "asked": asked, **of_plan})


def _life(row: Mapping[str, Any]) -> int:
    """As long as a run may take that is retried as often as it may be, and a good while more."""
    again = row["retries"] * (row["timeout"] or LIFE)
    return LIFE + int((row["queue_timeout"] or 0) * (row["retries"] + 1) + again)
