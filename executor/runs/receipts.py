"""Receipts: what a phase of an attempt is given, written before it is opened, and closed with what became of it."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, update

from executor.models import Receipt, ReceiptConnection, ReceiptSecret
from executor.runs.grant import Given
from executor.runs.spec import Lease, Outcome
from executor.schemas.receipts import PHASE
from secretstore import audit
from secretstore.audit import Actor
from secretstore.bundle import SealedBundle
from secretstore.database import table_of
from secretstore.run_connection import CATALOG
from secretstore.transaction import Transaction

_RECEIPT, _SECRET, _CONNECTION = table_of(Receipt), table_of(ReceiptSecret), table_of(ReceiptConnection)
_THIS_PHASE: dict[str, Any] = {name: bindparam(f"of_{name}") for name in ("run_id", "attempt", "phase")}

_OPEN, _GIVEN, _FILLED = insert(_RECEIPT), insert(_SECRET), insert(_CONNECTION)
_CLOSE = (
    update(_RECEIPT)
    .where(*(_RECEIPT.c[name] == bound for name, bound in _THIS_PHASE.items()), _RECEIPT.c.status == "opening")
    .returning(_RECEIPT.c.generation, _RECEIPT.c.secrets)
)
_REFUSE = (
    update(_RECEIPT)
    .where(*(_RECEIPT.c[name] == _THIS_PHASE[name] for name in ("run_id", "attempt")))
    .where(_RECEIPT.c.status == "closed", _RECEIPT.c.opened_at.is_(None))
    .values(status="refused")
)
_THIS_CONNECTION = tuple(
    _CONNECTION.c[name] == bindparam(f"of_{name}") for name in ("run_id", "attempt", "role", "connection")
)
_CHANGED = update(_CONNECTION).where(*_THIS_CONNECTION)
_ABSENT = delete(_CONNECTION).where(*_THIS_CONNECTION, _CONNECTION.c.place == bindparam("of_place"))
_ALIAS = update(_SECRET).where(
    *(_SECRET.c[name] == bound for name, bound in _THIS_PHASE.items()), _SECRET.c.name == bindparam("of_name")
)


def open_receipt(
    transaction: Transaction, lease: Lease, phase: str, bundle: SealedBundle, given: Given, run: Any, now: datetime
) -> None:
    """The receipt, a row per secret and per setting filled in, and the audit event."""
    this = {"run_id": lease.run_id, "attempt": lease.attempt, "phase": phase}
    transaction.execute(
        _OPEN,
        {
            **this,
            "status": "opening",
            "environment_id": bundle.environment_id,
            "generation": bundle.generation,
            "fingerprint": bundle.fingerprint,
            "key_service": bundle.key_service,
            "secrets": len(bundle.items),
            "opening_at": now,
        },
    )
    rows = [
        this
        | {
            "secret_id": item.secret_id,
            "name": item.name,
            "version": item.version,
            "channel": given.channels[item.name],
            "given_at": now,
            "expires_at": item.expires_at if item.expires_at is not None and item.expires_at <= now else None,
        }
        for item in bundle.items
    ]
    transaction.execute(_GIVEN, rows)  # one statement for all of them
    if used := list(_connections_of(lease, bundle, given)):
        transaction.execute(_FILLED, used)
    detail = {"generation": bundle.generation, "secrets": len(bundle.items)}
    _note(transaction, lease, phase, run, run.lease_owner, "secrets.open", "begun", detail, now)


def _connections_of(lease: Lease, bundle: SealedBundle, given: Given) -> Iterator[dict[str, Any]]:
    """Which version of which secret each data source and catalog is filled in with, and where.

    A catalog that takes the keys of a source has them as `source.access_key_id` and so on.
    """
    items = {item.name: item for item in bundle.items}
    plan = {one.key: one for one in given.plan if one.refused is None}
    for one in plan.values():
        of_source = plan.get(f"source/{one.settings.get('source')}") if one.role == CATALOG else None
        filled = [(reference.place, reference) for reference in one.references()]
        if of_source is not None:
            filled += [(f"source.{reference.place}", reference) for reference in of_source.references()]
        for place, reference in filled:
            if (item := items.get(reference.secret)) is not None:
                yield {
                    "run_id": lease.run_id,
                    "attempt": lease.attempt,
                    "role": one.role,
                    "connection": one.name,
                    "place": place,
                    "secret_id": item.secret_id,
                    "secret": item.name,
                    "version": item.version,
                    "field": reference.field,
                }


def close_receipt(
    transaction: Transaction,
    lease: Lease,
    phase: str,
    outcome: Outcome,
    run: Any,
    worker: Callable[[], str],
    now: datetime,
) -> None:
    """Write what is known of an open receipt, and close it where that is all there is to know."""
    known: dict[str, Any] = {"opened_at": outcome.opened_at, "dropped_at": outcome.dropped_at}
    ended = "done" if outcome.opened_at and outcome.dropped_at else "unknown"
    if outcome.not_opened is not None:
        known, ended = {"reason": outcome.not_opened}, "failed"
    this = {"of_run_id": lease.run_id, "of_attempt": lease.attempt, "of_phase": phase}
    values = {"status": "opening" if ended == "unknown" else "closed", **known}
    closing = transaction.execute(_CLOSE, {**this, **values})
    if phase == PHASE:
        _say_of_connections(transaction, lease, outcome)
    if outcome.aliases:
        rows = [{**this, "of_name": name, "alias": alias} for name, alias in outcome.aliases.items()]
        transaction.execute(_ALIAS, rows)
    closed = closing.first()
    if closed is not None:
        detail = {"generation": closed.generation, "secrets": closed.secrets}
        _note(transaction, lease, phase, run, worker(), "secrets.close", ended, detail, now)
    elif outcome.refused is not None:
        _note(transaction, lease, phase, run, worker(), "secrets.open", "refused", {"reason": outcome.refused}, now)


def mark_refused(transaction: Transaction, lease: Lease) -> None:
    """The attempt is given back to other workers, as a key service opened nothing for it, in whichever phase."""
    transaction.execute(_REFUSE, {"of_run_id": lease.run_id, "of_attempt": lease.attempt})


def _say_of_connections(transaction: Transaction, lease: Lease, outcome: Outcome) -> None:
    for key, said in outcome.connections.items():
        role, _, name = key.partition("/")
        until = said.get("expires_at")
        this = {"of_run_id": lease.run_id, "of_attempt": lease.attempt, "of_role": role, "of_connection": name}
        if until or said.get("left_out"):
            ends = datetime.fromisoformat(until) if until else None
            transaction.execute(_CHANGED, {**this, "left_out": said.get("left_out"), "expires_at": ends})
        if absent := said.get("absent"):  # only the opened secret tells which of its fields are there
            transaction.execute(_ABSENT, [{**this, "of_place": place} for place in absent])


def _note(
    transaction: Transaction,
    lease: Lease,
    phase: str,
    run: Any,
    worker: str,
    action: str,
    ended: str,
    detail: Mapping[str, object],
    now: datetime,
) -> None:
    """An audit event about a run's secrets; it waits to be linked, so runs do not wait for each other."""
    audit.append_later(
        transaction,
        run.project_id,
        run.project,
        actor=Actor(run.created_by, f"worker {worker}"),
        action=action,
        subject=run.environment,
        detail={"run": lease.run_id, "attempt": lease.attempt, "phase": phase, **detail},
        outcome=ended,
        at=now,
    )
