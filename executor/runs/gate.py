"""The gate: from here on a run may have begun. No commit, no secrets."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import Update, update
from sqlalchemy.exc import DBAPIError

from executor.errors import ReceiptRefused, RunMisplaced
from executor.runs import masked
from executor.runs.conditions import HELD, NOT_CANCELLED, PENDING_BY_ID, RUN, WRITABLE, of
from executor.runs.grant import Given
from executor.runs.receipts import close_receipt, open_receipt
from executor.runs.rows import ATTEMPT, THIS_ATTEMPT, WHOSE
from executor.runs.spec import GateShut, Lease, Outcome, StaleToken
from executor.schemas.receipts import PHASE, SETUP
from secretstore.bundle import SealedBundle
from secretstore.database import Database, clock
from secretstore.transaction import Transaction


def pass_gate(
    db: Database,
    lease: Lease,
    read: Callable[[Transaction], Given],
    *,
    rung: str,
    controls: Mapping[str, Any],
    packages: Mapping[str, Any] | None = None,
) -> Given:
    """The gate: state `running`, the sealed values read, and the receipt written as `opening`, in one transaction.

    The number of statements does not depend on the number of secrets. `packages` says what the run's Python consists
    of.

    Raises:
        GateShut: the token is stale or the run was cancelled; nothing was written, and nothing may be opened.
        ReceiptRefused: the receipt or its audit event could not be written; nothing was, and nothing may be opened.
        RunMisplaced: the secrets are not of the place that the run's row names; nothing was written.
        SealrunError: from `read`; nothing was written.
    """

    built = {"packages": dict(packages)} if packages is not None else {}
    return _gate(db, lease, PHASE, {"rung": rung, "controls": dict(controls), **built}, read)


def open_setup(
    db: Database,
    lease: Lease,
    read: Callable[[Transaction], Given],
    *,
    rung: str,
    controls: Mapping[str, Any],
) -> Given:
    """The gate of a setup step that is given secrets: its receipt is written as `opening`; the run stays `pending`.

    Raises:
        GateShut, ReceiptRefused, SecretStoreError: as of `pass_gate`.
    """

    return _gate(db, lease, SETUP, {"rung": rung, "controls": dict(controls)}, read)


def close_setup(db: Database, lease: Lease, outcome: Outcome) -> None:
    """Close the receipt of a setup step whose installer is gone, store what was masked in it, and renew the lease.

    Raises:
        StaleToken: the attempt is no longer the run's; the receipt stays as it is.
    """
    with db.acting() as transaction:
        times = {"now": db.from_now(), "until": db.from_now(lease.seconds)}
        run = transaction.execute(_renewing(db.dialect), {**of(lease), **times}).first()
        if run is None:
            raise StaleToken
        close_receipt(transaction, lease, SETUP, outcome, run, lambda: run.lease_owner, run.now)
        masked.store(transaction, lease, SETUP, outcome, run.now)


@cache
def _renewing(dialect: str) -> Update:
    """The lease once more, with whose the run is and the moment of it."""
    return (
        update(RUN)
        .where(WRITABLE)
        .values(lease_until=clock(dialect, "until"))
        .returning(*WHOSE, RUN.c.lease_owner, clock(dialect, "now").label("now"))
    )


def _gate(
    db: Database, lease: Lease, phase: str, of_attempt: Mapping[str, Any], read: Callable[[Transaction], Given]
) -> Given:
    """One transaction: the lease renewed, with the run's new state; the values read; what is known of the attempt."""
    recording = False
    try:
        with db.acting() as transaction:
            times = {"now": db.from_now(), "until": db.from_now(lease.seconds)}
            run = transaction.execute(_passing(db.dialect, phase), {**of(lease), **times}).first()
            if run is None:
                raise GateShut
            given = read(transaction)
            _insist_on_place(run, given.bundle)
            # From here on what the database refuses is the receipt: the attempt's row says what it was opened under.
            recording = given.opens
            begun = {"state": "running", "started_at": run.now} if phase == PHASE else {}
            this = {"of_run": lease.run_id, "of_attempt": lease.attempt}
            transaction.execute(_OF_ATTEMPT, {**this, **begun, **of_attempt})
            if given.bundle is not None and given.opens:
                open_receipt(transaction, lease, phase, given.bundle, given, run, run.now)
            return given
    except DBAPIError as problem:
        if recording:
            raise ReceiptRefused from problem
        raise


@cache
def _passing(dialect: str, phase: str) -> Update:
    """One statement decides: a claim, a cancellation or a janitor that comes first leaves it no row."""
    now = clock(dialect, "now")
    begun = {"state": "running", "started_at": now} if phase == PHASE else {}
    return (
        update(RUN)
        .where(HELD, PENDING_BY_ID, RUN.c.lease_until >= now, NOT_CANCELLED)
        .values(lease_until=clock(dialect, "until"), **begun)
        .returning(*WHOSE, RUN.c.lease_owner, (RUN.c.started_at if phase == PHASE else now).label("now"))
    )


_OF_ATTEMPT = update(ATTEMPT).where(*THIS_ATTEMPT)


def _insist_on_place(run: Any, bundle: SealedBundle | None) -> None:
    """The audit event goes by the names in the run's row, which have to be those of what is opened."""
    if bundle is None:
        return
    found = bundle.project_id, bundle.project, bundle.environment
    if found != (run.project_id, run.project, run.environment):
        raise RunMisplaced(claimed=f"{run.project}/{run.environment}", found=f"{bundle.project}/{bundle.environment}")
