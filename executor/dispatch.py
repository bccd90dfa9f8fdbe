"""One run, one straight line, as the worker sees it: claim, prepare, gate, open, supervise, finish.

The worker holds no plaintext at any step. It moves ciphertext one way and masked frames the other.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from sqlmodel import Session

from executor import runs
from executor.bench import Bench
from executor.errors import ReceiptRefused, SecretsUnavailable, SupervisorLost
from executor.given import Given, read_given
from executor.key_access import key_access
from executor.models import Run
from executor.preparation import prepare, ready, source_of
from executor.python_environment import python_of
from executor.runs import GateShut, Lease, Outcome, StaleToken
from executor.supervision import Supervision
from executor.supervisor.wire import Kind, send
from executor.supervisor.workspace import workspace
from executor.watch import REAP, Watch, deadline
from secretstore import vault
from secretstore.bundle import SealedBundle
from secretstore.errors import DatabaseUnavailable, SealrunError, SecretStoreError

logger = logging.getLogger("sealrun")


def dispatch(bench: Bench, run_id: str) -> str | None:
    """Execute a run if it is ours to take; its outcome is committed once, or left to whoever holds a later token.

    Returns the project that has a slot again which another run of it may wait for, None where it has no limit.
    """
    with contextlib.ExitStack() as ending:
        # Asked for before the claim, to be forked meanwhile; it holds nothing, and without a claim it just ends.
        supervision = ending.enter_context(bench.zygote.pair())
        claimed = runs.claim(bench.db, run_id, bench.offer, bench.settings.lease)
        if claimed is None:
            return None
        run, lease = claimed
        _execute(bench, run, lease, supervision)
        return run.project_id if lease.limited else None


def _execute(bench: Bench, run: Run, lease: Lease, supervision: Supervision) -> None:
    bench.active.add(run.id)
    logger.info("run %s: attempt %d", run.id, lease.attempt)
    outcome: Outcome | None
    try:
        outcome = _attempt(bench, run, lease, supervision)
    except GateShut:
        outcome = Outcome("cancelled", "cancelled") if runs.renew(bench.db, lease).cancel_requested else None
    except StaleToken:
        outcome = None
    except SupervisorLost as error:
        # Lost before the gate: nothing was opened and nothing of the run has started, so it is always tried again.
        runs.give_back(bench.db, lease, Outcome("lost", "lost", str(error)))
        outcome = None
    except SealrunError as error:
        hint = f" ({error.hint})" if error.hint else ""
        no_secrets = isinstance(error, SecretStoreError | SecretsUnavailable)
        reason = "secrets_unavailable" if no_secrets else "setup_failed"
        if isinstance(error, ReceiptRefused):
            # The statement had names and ids, so the database's words about it have no value in them.
            logger.warning("run %s: its receipt was refused: %s", run.id, getattr(error.__cause__, "orig", None))
        refused = error.code if no_secrets and run.secret_names != [] else None
        outcome = Outcome("failed", reason, f"{error}{hint}", refused=refused)
    except Exception as error:
        # Nothing in this process has seen a value, so its log may have the whole of it; the run ends with a sentence.
        logger.exception("run %s: unforeseen", run.id)
        said = f"unforeseen in the worker, whose log says more: {type(error).__name__}"
        outcome = Outcome("failed", "internal_error", said)
    finally:
        bench.active.discard(run.id)
        bench.cancelled.discard(run.id)
    after = _finish(bench, lease, outcome) if outcome is not None else None
    # The outcome's message may hold a name of the user's choice, its state and reason are words of ours.
    said = (outcome.reason or outcome.state) if outcome else "given back"
    logger.info("run %s: %s", run.id, f"{said}, to be tried again" if after == "pending" else said)


def _attempt(bench: Bench, run: Run, lease: Lease, supervision: Supervision) -> Outcome:
    name = f"{run.id}-{lease.attempt}"
    claimed = time.monotonic()
    with contextlib.ExitStack() as ending:
        try:
            source = ending.enter_context(source_of(bench, run, _kept(bench, lease)))
        except DatabaseUnavailable:
            raise StaleToken from None  # nothing has begun: the lease runs out, and the run is taken once more
        python = ending.enter_context(python_of(bench, run, lease))
        place = ending.enter_context(workspace(bench.settings.workspaces, name, bench.settings.run_uids))
        # Before the place is cleared, whatever happens, nothing of the run is left to write into it.
        ending.callback(supervision.cut, REAP)
        job = prepare(bench, run, place, source, python.path, python.parts)
        ready(supervision, job)
        waiting = time.monotonic()
        ends_at = deadline(lease)
        variables: dict[str, str] = {}

        def read(session: Session) -> Given:
            variables.update(vault.plain_variables(session, run.environment_id) | run.variables)
            return read_given(session, run)

        rung, controls = job["view"]["rung"], job["controls"]
        given = runs.pass_gate(bench.db, lease, read, rung=rung, controls=controls, packages=python.packages)
        passed = time.monotonic()
        with contextlib.suppress(OSError):  # who is gone is found missing by the watch
            if given.bundle is not None and given.opens:
                send(supervision.opener, Kind.BUNDLE, _to_open(bench, run, given, given.bundle))
            supervision.opener.shutdown(socket.SHUT_WR)
            go = {
                "deadline": ends_at,
                "secrets": given.opens,
                "variables": variables,
                "channels": dict(given.channels),
                "plan": [one.to_json() for one in given.plan],
            }
            send(supervision.supervisor, Kind.GO, go)
        phases = {"setup": round(waiting - claimed, 4), "gate": round(passed - waiting, 4)}
        return Watch(bench, run, lease, supervision, phases, after=python.output).follow()


def _kept(bench: Bench, lease: Lease) -> Callable[[], None]:
    """Called again and again while something takes its time before the gate, it renews the lease when that is due.

    What it returns raises StaleToken or GateShut when the attempt is not to go on.
    """
    renewed = time.monotonic()

    def beat() -> None:
        nonlocal renewed
        if lease.run_id in bench.cancelled:
            raise GateShut
        if time.monotonic() - renewed > lease.seconds / 3:
            if not runs.renew(bench.db, lease).held:
                raise StaleToken
            renewed = time.monotonic()

    return beat


def _to_open(bench: Bench, run: Run, given: Given, bundle: SealedBundle) -> dict[str, Any]:
    """What the opener is asked for."""
    roles = {"plan": [one.to_json() for one in given.roles], "timeout": run.timeout, "run": run.id}
    return {
        "access": key_access(bench.settings).to_json(),
        "bundle": bundle.to_json(),
        "roles": roles if given.roles else None,
        "withheld": given.withheld,
    }


def _finish(bench: Bench, lease: Lease, outcome: Outcome) -> str | None:
    """Commit, insisting for a while when the database is away; else the lease runs out and a janitor settles it.

    Returns the run's state after it, None where nothing was committed.
    """
    give_up = time.monotonic() + 60
    while True:
        try:
            return runs.finish(bench.db, lease, outcome)
        except DatabaseUnavailable:
            if time.monotonic() > give_up:
                return None
            bench.stopping.wait(0.5)
