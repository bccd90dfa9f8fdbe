"""The gate: from here on a run may have begun. No commit, no secrets."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, update
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col

from executor.errors import ReceiptRefused, RunMisplaced
from executor.models import Attempt, Run
from executor.runs import masked
from executor.runs.conditions import held, writable
from executor.runs.grant import Given
from executor.runs.receipts import close_receipt, open_receipt
from executor.runs.rows import WHOSE, moment, write
from executor.runs.spec import GateShut, Lease, Outcome, StaleToken
from executor.schemas.receipts import PHASE, SETUP
from secretstore.bundle import SealedBundle
from secretstore.database import Database


def pass_gate(
    db: Database,
    lease: Lease,
    read: Callable[[Session], Given],
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

    def begun(now: datetime) -> tuple[dict[str, Any], dict[str, Any]]:
        isolation = {"rung": rung, "controls": dict(controls)}
        built = {"packages": dict(packages)} if packages is not None else {}
        running = {"state": "running", "started_at": now}
        return running, running | isolation | built

    return _gate(db, lease, PHASE, begun, read)


def open_setup(
    db: Database,
    lease: Lease,
    read: Callable[[Session], Given],
    *,
    rung: str,
    controls: Mapping[str, Any],
) -> Given:
    """The gate of a setup step that is given secrets: its receipt is written as `opening`; the run stays `pending`.

    Raises:
        GateShut, ReceiptRefused, SecretStoreError: as of `pass_gate`.
    """

    def begun(_: datetime) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"rung": rung, "controls": dict(controls)}

    return _gate(db, lease, SETUP, begun, read)


def close_setup(db: Database, lease: Lease, outcome: Outcome) -> None:
    """Close the receipt of a setup step whose installer is gone, store what was masked in it, and renew the lease.

    Raises:
        StaleToken: the attempt is no longer the run's; the receipt stays as it is.
    """
    with db.writing() as session:
        now = moment(session, db)
        run = session.exec(
            update(Run)
            .where(writable(lease))
            .values(lease_until=db.after(lease.seconds))
            .returning(*WHOSE, col(Run.lease_owner))
            .execution_options(synchronize_session=False)
        ).first()
        if run is None:
            raise StaleToken
        close_receipt(session, lease, SETUP, outcome, run, run[-1], now)
        masked.store(session, lease, SETUP, outcome, now)


def _gate(
    db: Database,
    lease: Lease,
    phase: str,
    begun: Callable[[datetime], tuple[dict[str, Any], dict[str, Any]]],
    read: Callable[[Session], Given],
) -> Given:
    """One transaction: the lease renewed with what `begun` says of run and attempt, the values read, the receipt."""
    recording = False
    try:
        with db.writing() as session:
            now = moment(session, db)
            of_run, of_attempt = begun(now)
            # One statement decides: a claim, a cancellation or a janitor that comes first leaves it no row.
            run = session.exec(
                update(Run)
                .where(
                    held(lease),
                    col(Run.state) == "pending",
                    col(Run.lease_until) >= db.now(),
                    col(Run.cancel_requested_at).is_(None),
                )
                .values(lease_until=db.after(lease.seconds), **of_run)
                .returning(*WHOSE, col(Run.lease_owner))
                .execution_options(synchronize_session=False)
            ).first()
            if run is None:
                raise GateShut
            given = read(session)
            _insist_on_place(run, given.bundle)
            this = (col(Attempt.run_id) == lease.run_id, col(Attempt.number) == lease.attempt)
            write(session, update(Attempt).where(*this).values(**of_attempt))
            if given.bundle is not None and given.opens:
                recording = True  # from here on what the database refuses is the receipt
                open_receipt(session, lease, phase, given.bundle, given, run, now)
            return given
    except DBAPIError as problem:
        if recording:
            raise ReceiptRefused from problem
        raise


def _insist_on_place(run: Row[Any], bundle: SealedBundle | None) -> None:
    """The audit event goes by the names in the run's row, which have to be those of what is opened."""
    if bundle is None:
        return
    found = bundle.project_id, bundle.project, bundle.environment
    if found != (run.project_id, run.project, run.environment):
        raise RunMisplaced(claimed=f"{run.project}/{run.environment}", found=f"{bundle.project}/{bundle.environment}")
