"""Runs as they are shown: their attempts, what they used and what they left."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic.dataclasses import dataclass

from executor.errors import Problem
from executor.schemas.output import OutputFile
from executor.schemas.receipts import PHASE, Receipt

STATES = ("pending", "running", "succeeded", "failed", "cancelled")
OVER = STATES[2:]
_TITLE_JSON = 40  # characters


@dataclass(frozen=True)
class AttemptView:
    """One attempt at a run, with a receipt per phase."""

    number: int
    worker: str
    state: str
    reason: str | None
    message: str | None
    exit_code: int | None
    signal: int | None
    claimed_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    receipts: tuple[Receipt, ...]
    metrics: dict[str, Any] | None = None
    packages: dict[str, Any] | None = None
    """What its Python consists of: `python`, and of an environment `environment`, `lock`, `cached` and `seconds`."""

    @property
    def receipt(self) -> Receipt | None:
        """Of the run's own phase; None before the gate."""
        return next((receipt for receipt in self.receipts if receipt.phase == PHASE), None)


@dataclass(frozen=True)
class SampleView:
    """What the processes of an attempt used up to a moment: CPU seconds in sum, bytes of memory then."""

    at: datetime
    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class MetricView:
    """A number that a run reported itself."""

    at: datetime
    name: str
    value: float
    unit: str | None
    labels: dict[str, str] | None


@dataclass(frozen=True)
class MaskedView:
    """A secret that was found in a stream of an attempt, in a form and so many times, and masked there.

    `stream` is stdout, stderr, setup, result, problem, metric, output file, file name, or message: a sentence of ours.
    `secret` is a name, or words for what was made of a secret for a data source or catalog. `version` is the one that
    the run was given; None where it is not one secret's, as of short-lived credentials.
    """

    secret: str
    stream: str
    form: str
    count: int
    version: int | None = None

    def __str__(self) -> str:
        return f"{self.secret} in {self.stream}, {self.form}, {self.count:,} time{'s' * (self.count != 1)}"


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run with one attempt, the one that counts or the one that was asked for, and all of them.

    It came in through the `door` `api`, or `direct`, from somebody with the database's URL, as its row says. `retried`
    of at most `retries` times it was tried again, not yet before `not_before`.

    `host`, `rung_min`, `network` and `python_version` are what it needs of a worker beside its queue; `waiting_for`
    says what no live worker offers of it, as long as nobody has taken it; `held_up` why its output waits at its worker;
    `lost_to` that its worker has let its lease run out, and that another one is to settle it.

    Its source is the folder `source_root`, or the `bundle` that was uploaded from there; `source_dirty` says that it
    differed from `source_commit`. None: not known.

    It may have at most `memory_bytes`, `cpus`, `pids` (processes and threads) and `disk_bytes` written at once; what is
    None is as its worker has it, and its receipt says so. `collect` says what is kept of what it writes beside its
    source.

    What a run left may be deleted: `pruned_by` says by whom, `pruned_at` since when all of it is.

    `metrics` is what the attempt used: seconds, bytes, and the seconds of each phase. `reported` is what it reported
    itself. `samples` are every so many, so that there are not too many of them. `masked` is what the masker has found.
    """

    id: str
    project: str
    environment: str
    target: dict[str, Any]
    queue: str
    state: str
    reason: str | None
    message: str | None
    exit_code: int | None
    signal: int | None = None
    attempt: int
    worker: str | None = None
    created_at: datetime
    created_by: str
    door: str = "direct"
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    retries: int
    retried: int
    not_before: datetime | None
    retry_of: str | None
    result: Any = None
    note: str | None = None
    problem: Problem | None = None
    receipt: Receipt | None = None
    outputs: tuple[OutputFile, ...] = ()
    attempts: tuple[AttemptView, ...] = ()
    host: str | None = None
    rung_min: str | None = None
    network: str = "full"
    python_version: str | None = None
    waiting_for: str | None = None
    held_up: str | None = None
    lost_to: str | None = None
    kept_bytes: int = 0
    output_limit: str = "end"
    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None
    disk_bytes: int | None = None
    collect: tuple[str, ...] = ()
    source_root: str = ""
    bundle: str | None = None
    source_commit: str | None = None
    source_dirty: bool | None = None
    metrics: dict[str, Any] | None = None
    reported: tuple[MetricView, ...] = ()
    samples: tuple[SampleView, ...] = ()
    pruned_at: datetime | None = None
    pruned_by: str | None = None
    masked: tuple[MaskedView, ...] = ()

    def without_output(self) -> "RunView":
        """The same for who may see that there is such a run and how it ended, and not what it printed and left.

        What it says of itself goes, too: an exception's message is the run's own.
        """
        quiet = [replace(one, metrics=None, message=None if one.started_at else one.message) for one in self.attempts]
        return replace(
            self,
            result=None,
            note=None,
            problem=None,
            message=None if self.started_at else self.message,
            outputs=(),
            metrics=None,
            reported=(),
            samples=(),
            attempts=tuple(quiet),
        )

    @property
    def over(self) -> bool:
        """Whether an outcome is committed."""
        return self.state in OVER

    @property
    def delayed(self) -> str | None:
        """What it waits for between two attempts."""
        if self.state != "pending" or self.not_before is None:
            return None
        left = max((self.not_before - datetime.now(UTC)).total_seconds(), 0)
        return f"retry {self.retried} of {self.retries} in {left:.0f} s"

    @property
    def tried_again(self) -> str:
        """How the latest attempt that is over ended, and what comes after it."""
        ended = max((one for one in self.attempts if one.finished_at), key=lambda one: one.number, default=None)
        how = f"attempt {ended.number} {ended.state}; " if ended is not None else ""
        return how + (self.delayed or f"retry {self.retried} of {self.retries}")

    @property
    def title(self) -> str:
        """The target as one would type it."""
        return title(self.target)


def title(target: dict[str, Any]) -> str:
    """A target as one would type it: a function's arguments by name, which stand before it, are left out."""
    kind = target.get("kind")
    if kind == "function":
        return " ".join([f"{target['path']}:{target['function']}", *map(_argument, target.get("args", ()))])
    if kind == "module":
        return " ".join(["-m", target["module"], *target.get("argv", ())])
    if kind in ("file", "notebook"):
        return " ".join([target["path"], *target.get("argv", ())])
    if kind == "command":
        return " ".join(["--", *target["argv"]])
    return f"({kind})"  # a row that something else has written


def _argument(argument: dict[str, Any]) -> str:
    """One by position: text as it is, JSON as JSON, of which a title has room for the beginning."""
    if "text" in argument:
        return str(argument["text"])
    text = json.dumps(argument.get("json"), ensure_ascii=False)
    return text if len(text) <= _TITLE_JSON else text[: _TITLE_JSON - 1] + "…"
