"""One run, one straight line, as the worker sees it: claim, prepare, gate, open, supervise, finish.

The worker holds no plaintext at any step. It moves ciphertext one way and masked frames the other.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from executor import runs
from executor.boundary.supervision import Supervision
from executor.errors import PlanRefused, ReceiptRefused, SecretsUnavailable, SupervisorLost, ZygoteFailed
from executor.keys.access import key_access
from executor.models import Run
from executor.runs import GateShut, Lease, Outcome, StaleToken, refusals, workers
from executor.runs.grant import Given, read_given
from executor.sandbox.limits import clear_run
from executor.sandbox.workspace import workspace
from executor.schemas.receipts import PHASE
from executor.schemas.workers import Refusal
from executor.worker.collecting import Collector
from executor.worker.descriptors import lacking
from executor.worker.equipment import Equipment
from executor.worker.judging import bare, judge, named
from executor.worker.lease import LeaseKeeper, clock
from executor.worker.package import own_package
from executor.worker.preparation import prepare, ready, source_of
from executor.worker.python_environment import python_of
from executor.worker.storage import full
from executor.worker.watch import REAP, follow
from executor.worker.working import working_folder
from secretstore.errors import DatabaseUnavailable, DatabaseUnwritable, SealrunError, SecretStoreError
from secretstore.transaction import Transaction

logger = logging.getLogger("sealrun")

_PATIENCE = 60.0  # seconds for a database that is away at the end of an attempt
_AGAIN = 0.5  # seconds between two tries at it
_STARVED = "the worker has no file descriptors left"

T = TypeVar("T")


def dispatch(worker: Equipment, run_id: str) -> str | None:
    """Execute the run that has rung, or the one whose turn it is, if it is ours to take.

    Its outcome is committed once, or left to whoever holds a later token.

    Returns the project that has a slot again which another run of it may wait for, None where it has no limit.
    """
    if worker.turns.behind:
        with contextlib.suppress(DatabaseUnavailable):  # the claim finds out
            run_id = worker.turns.first(worker.db, worker.offer, run_id)
    with contextlib.ExitStack() as ending:
        # Asked for before the claim, to be forked meanwhile; it holds nothing, and without a claim it just ends.
        ending.enter_context(worker.starts.one(run_id))
        try:
            supervision = ending.enter_context(worker.zygote.pair(worker.host.box))
        except (OSError, ZygoteFailed) as problem:
            why = _STARVED if lacking(problem) else str(problem)
            logger.warning("run %s is not taken now, and waits: %s", run_id, why)
            return None
        since = clock()
        try:
            claimed = _claimed(worker, run_id, ending)
        except DatabaseUnavailable as problem:
            worker.storage.failed(problem)
            return None  # it waits; what has been committed all the same is given up with its lease
        if claimed is None:
            return None
        run, lease = claimed
        worker.turns.took(run, lease)
        keeper = LeaseKeeper(worker.db, lease, worker.cancelled, since, worker.leaving)
        _execute(worker, run, keeper, supervision)
        return run.project_id if lease.limited else None


def _claimed(worker: Equipment, run_id: str, ending: contextlib.ExitStack) -> tuple[Run, Lease] | None:
    """Claim the run; or, where somebody has taken it out of turn, one that was passed over for it."""
    offer, seconds = worker.offer, worker.settings.lease
    claimed = runs.claim(worker.db, run_id, offer, seconds)
    if claimed is None and (other := worker.turns.instead(worker.db, offer)) is not None:
        worker.starts.over(run_id)
        ending.enter_context(worker.starts.one(other))
        claimed = runs.claim(worker.db, other, offer, seconds)
    return claimed


def _execute(worker: Equipment, run: Run, keeper: LeaseKeeper, supervision: Supervision) -> None:
    lease = keeper.lease
    began = time.monotonic()
    worker.active.add(run.id)
    which = named(run)
    logger.info("run %s: attempt %d %s", run.id, lease.attempt, which)
    outcome: Outcome | None
    try:
        outcome = _attempt(worker, run, keeper, supervision)
    except GateShut:
        renewed = _insist(worker, lambda: runs.renew(worker.db, lease))
        outcome = Outcome("cancelled", "cancelled") if renewed and renewed.cancel_requested else None
    except StaleToken:
        outcome = None
    except (SupervisorLost, DatabaseUnavailable) as error:
        # Lost before the gate: nothing was opened and nothing of the run has started, so it is always tried again.
        if isinstance(error, DatabaseUnavailable):
            worker.storage.failed(error)
        lost = Outcome("lost", "lost", str(error))
        _insist(worker, lambda: runs.give_back(worker.db, lease, lost))
        outcome = None
    except SealrunError as error:
        hint = f" ({error.hint})" if error.hint else ""
        no_secrets = isinstance(error, SecretStoreError | SecretsUnavailable)
        reason = "secrets_unavailable" if no_secrets else "setup_failed"
        if isinstance(error, PlanRefused):
            reason = error.code
        if isinstance(error, ReceiptRefused):
            # The statement had names and ids, so the database's words about it have no value in them.
            logger.warning("run %s: its receipt was refused: %s", run.id, getattr(error.__cause__, "orig", None))
        refused = error.code if (no_secrets and run.secret_names != []) or reason == PlanRefused.code else None
        unopened = error.names.get("unopened")  # of an installer's secrets; those of the run are opened behind its gate
        outcome = Outcome("failed", reason, f"{error}{hint}", refused=refused, unopened=unopened)
    except Exception as error:
        if (cause := full(error)) is not None:
            worker.storage.failed(cause)
        else:
            # Nothing in this process has seen a value, so its log may have the whole; the run ends with a sentence.
            logger.exception("run %s: unforeseen", run.id)
            cause = f"unforeseen in the worker, whose log says more: {type(error).__name__}"
        outcome = Outcome("failed", "setup_failed" if full(error) else "internal_error", cause)
    finally:
        worker.active.discard(run.id)
        worker.cancelled.discard(run.id)
    if outcome is not None and outcome.reason == "secrets_unavailable" and outcome.unopened is not None:
        outcome = _left_to_others(worker, run, lease, outcome, outcome.unopened)
    after = None
    if (ended := outcome) is not None:
        after = _finish(worker, lease, ended)
    # The outcome's message may hold a name of the user's choice, its state and reason are words of ours.
    said = (outcome.reason or outcome.state) if outcome else "given back"
    said = f"{said}, to be tried again" if after == "pending" else said
    logger.info("run %s: %s %s seconds=%.3f", run.id, said, which, time.monotonic() - began)
    worker.metrics.ended(outcome)
    worker.metrics.masked(outcome.masked_count if outcome else 0)


def _attempt(worker: Equipment, run: Run, keeper: LeaseKeeper, supervision: Supervision) -> Outcome:
    worker.doors.check(run)
    name = f"{run.id}-{keeper.lease.attempt}"
    claimed = time.monotonic()
    with contextlib.ExitStack() as ending:
        # Prepare: no secret exists yet, and the lease is kept however long it takes.
        with _starved_is_lost():
            try:
                source = ending.enter_context(source_of(worker, run, keeper))
            except DatabaseUnavailable:
                raise StaleToken from None  # nothing has begun: the lease runs out, and the run is taken once more
            python = ending.enter_context(python_of(worker, run, keeper))
            place = ending.enter_context(
                workspace(worker.settings.workspaces, name, worker.settings.run_uids, in_memory=worker.host.own_memory)
            )
            working = working_folder(worker, run, place, source.folder, uploaded=source.cached)
            own = ending.enter_context(own_package(run.package, place, working.folder, python.path))
            ending.callback(clear_run, worker.mechanisms, run.project_id, name)
            # Before the place is cleared, whatever happens, nothing of the run is left to write into it.
            ending.callback(supervision.cut, REAP)
            job = prepare(worker, run, place, source, python.path, python.parts, own, working)
            ready(supervision, job)
        waiting = time.monotonic()
        # The gate. No commit, no secrets: what is read here is sealed, and its receipt is written beside it.
        variables: dict[str, str] = {}

        def read(transaction: Transaction) -> Given:
            configured = worker.doors.ask_variables(transaction, run)
            given = read_given(transaction, run, worker.doors.pins(run))
            variables.update(configured() | run.variables)
            return given

        rung, controls = job["view"]["rung"], job["controls"]
        with keeper.renewing():
            given = runs.pass_gate(
                worker.db, keeper.lease, read, rung=rung, controls=controls, packages=python.packages
            )
        passed = time.monotonic()
        # Open: ciphertext to the opener, word to go to the supervisor, which waits for the values.
        go = {
            "deadline": keeper.deadline,
            "secrets": given.opens,
            "variables": variables,
            "submitted": list(run.variables),
            "channels": dict(given.channels),
            "plan": [one.to_json() for one in given.plan],
            "newer": list(given.newer),
        }
        opening = None
        if given.opens:
            opening = given.opening(key_access(worker.settings), run)
            opening |= worker.doors.opening(run, PHASE, variables, given.plan)
        supervision.hand_over(opening, go)
        # Pump, until the supervisor has said how it ended or is gone; then say what that means.
        phases = {"setup": round(waiting - claimed, 4), "gate": round(passed - waiting, 4)}
        collector = Collector(worker, keeper.lease, after=python.output, followed=run.followed)
        ended = follow(supervision, keeper, collector)
        worker.metrics.opening(given.bundle, ended.answer)
        return judge(run, ended, collector, phases, job["limits"])


@contextlib.contextmanager
def _starved_is_lost() -> Iterator[None]:
    """Before the gate: what fails for want of file descriptors is no fault of the run, and is tried again."""
    try:
        yield
    except OSError as problem:
        if not lacking(problem):
            raise
        raise SupervisorLost(_STARVED) from None


def _left_to_others(worker: Equipment, run: Run, lease: Lease, outcome: Outcome, code: str) -> Outcome | None:
    """Its key service refused before anything was opened: given back, None; the run's end where no other is left."""
    me, can, place = worker.fixed.worker, worker.openings, f"{run.project}/{run.environment}"
    said = outcome.message or code
    found = _insist(worker, lambda: refusals.others(worker.db, lease, me))
    if found is not None and found.left:
        # First of all: the run is not to come back to this worker, nor to be left to it by the next.
        seconds = can.leave(run.environment_id, Refusal(place, said), code)
        _insist(worker, lambda: workers.leave_to_others(worker.db, me, can.refused))
        logger.warning("the secrets of %s are left to other workers for %g seconds: %s", place, seconds, said)
        _insist(worker, lambda: runs.give_back(worker.db, lease, replace(outcome, state="refused")))
        return None
    if found is None or not found.said:
        return outcome
    told = "; ".join(f"{name}: {why}" for name, why in [*found.said.items(), (me, said)])
    return replace(outcome, message=f"no worker's key service opens its secrets: {told}")


def _finish(worker: Equipment, lease: Lease, outcome: Outcome) -> str | None:
    """Commit the outcome; one that the database does not take is kept, and tried again by the worker's watch."""
    began = time.monotonic()
    while True:
        try:
            return runs.finish(worker.db, lease, outcome)
        except DatabaseUnavailable as problem:
            worker.storage.failed(problem)
            waited = time.monotonic() - began
            # Before the lease is over: a few bytes may have room where the end of the output has not.
            if isinstance(problem, DatabaseUnwritable) and waited > lease.seconds / 3:
                outcome = bare(outcome, str(problem))
            if waited > _PATIENCE:
                worker.uncommitted[lease] = outcome
                return None
            worker.stopping.wait(_AGAIN)


def commit_late(worker: Equipment) -> None:
    """Commit what the database did not take when it was due, unless somebody has settled it meanwhile."""
    for lease, outcome in list(worker.uncommitted.items()):
        runs.finish(worker.db, lease, outcome)
        del worker.uncommitted[lease]


def _insist(worker: Equipment, act: Callable[[], T]) -> T | None:
    """Do what the token makes safe to repeat, for as long as a minute while the database is away.

    Returns its answer; None if the database stays away: the lease runs out, and a janitor settles the run.
    """
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            return act()
        except DatabaseUnavailable:
            if time.monotonic() > give_up:
                return None
            worker.stopping.wait(_AGAIN)
