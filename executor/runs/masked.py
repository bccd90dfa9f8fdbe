"""What the masker found in an attempt, as rows: written with the outcome of the run, or of its set-up."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import bindparam, insert, select

from executor.models import Masked, ReceiptConnection, ReceiptSecret
from executor.runs.spec import Hit, Lease, Outcome
from executor.schemas.receipts import PHASE
from secretstore.database import table_of
from secretstore.transaction import Transaction

_Whose = tuple[str, int]


def summed(hits: Iterable[Hit]) -> tuple[Hit, ...]:
    """Hits with one entry for each secret, stream and form."""
    counts: dict[tuple[str, str, str], int] = {}
    for hit in hits:
        key = (hit.secret, hit.stream, hit.form)
        counts[key] = counts.get(key, 0) + hit.count
    return tuple(Hit(*key, count) for key, count in counts.items())


def store(transaction: Transaction, lease: Lease, phase: str, outcome: Outcome, now: datetime) -> None:
    """Store what was masked, each with the secret and version that this phase was given, as far as it is known.

    The transaction has checked the token.
    """
    if not outcome.masked:
        return
    this = {"of_run": lease.run_id, "of_attempt": lease.attempt}
    found = transaction.execute(_GIVEN, {**this, "of_phase": phase})
    given: dict[str, _Whose] = {name: (secret_id, version) for name, secret_id, version in found}
    made = None
    rows = []
    for hit in outcome.masked:
        whose = given.get(hit.secret)
        if whose is None and phase == PHASE:
            made = _connections(transaction, lease, outcome) if made is None else made
            whose = next((of for label, of in made.items() if hit.secret.startswith(f"{label} ")), None)
        secret_id, version = whose or (None, None)
        key = {"run_id": lease.run_id, "attempt": lease.attempt, "at": now}
        rows.append({**key, **asdict(hit), "secret_id": secret_id, "version": version})
    transaction.execute(_MASKED, rows)


_SECRET, _CONNECTION = table_of(ReceiptSecret).c, table_of(ReceiptConnection).c
_GIVEN = select(_SECRET.name, _SECRET.secret_id, _SECRET.version).where(
    _SECRET.run_id == bindparam("of_run"),
    _SECRET.attempt == bindparam("of_attempt"),
    _SECRET.phase == bindparam("of_phase"),
)
_MADE = select(_CONNECTION.role, _CONNECTION.connection, _CONNECTION.secret_id, _CONNECTION.version).where(
    _CONNECTION.run_id == bindparam("of_run"),
    _CONNECTION.attempt == bindparam("of_attempt"),
    ~_CONNECTION.place.startswith("source."),
)
_MASKED = insert(table_of(Masked))


def _connections(transaction: Transaction, lease: Lease, outcome: Outcome) -> dict[str, _Whose]:
    """Whose secret each connection is made of, by role and name, where it is one and is given to the run itself.

    Short-lived credentials are no part of the secret that they were asked for with.
    """
    found: dict[str, set[_Whose]] = {}
    these = transaction.execute(_MADE, {"of_run": lease.run_id, "of_attempt": lease.attempt})
    for role, name, secret_id, version in these:
        if not outcome.connections.get(f"{role}/{name}", {}).get("expires_at"):
            found.setdefault(f"{role} {name}", set()).add((secret_id, version))
    return {label: next(iter(secrets)) for label, secrets in found.items() if len(secrets) == 1}
