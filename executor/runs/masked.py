"""What the masker found in an attempt, as rows: written with the outcome of the run, or of its set-up."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import insert
from sqlmodel import Session, col, select

from executor.models import Masked, ReceiptConnection, ReceiptSecret
from executor.runs.spec import Hit, Lease, Outcome
from executor.schemas.receipts import PHASE

_Whose = tuple[str, int]


def summed(hits: Iterable[Hit]) -> tuple[Hit, ...]:
    """Hits with one entry for each secret, stream and form."""
    counts: dict[tuple[str, str, str], int] = {}
    for hit in hits:
        key = (hit.secret, hit.stream, hit.form)
        counts[key] = counts.get(key, 0) + hit.count
    return tuple(Hit(*key, count) for key, count in counts.items())


def store(session: Session, lease: Lease, phase: str, outcome: Outcome, now: datetime) -> None:
    """Store what was masked, each with the secret and version that this phase was given, as far as it is known.

    The transaction has checked the token.
    """
    if not outcome.masked:
        return
    of = ReceiptSecret
    this = (of.run_id == lease.run_id, of.attempt == lease.attempt, of.phase == phase)
    given: dict[str, _Whose] = {
        row[0]: (row[1], row[2]) for row in session.exec(select(of.name, of.secret_id, of.version).where(*this))
    }
    made = None
    rows = []
    for hit in outcome.masked:
        whose = given.get(hit.secret)
        if whose is None and phase == PHASE:
            made = _connections(session, lease, outcome) if made is None else made
            whose = next((of for label, of in made.items() if hit.secret.startswith(f"{label} ")), None)
        secret_id, version = whose or (None, None)
        key = {"run_id": lease.run_id, "attempt": lease.attempt, "at": now}
        rows.append({**key, **asdict(hit), "secret_id": secret_id, "version": version})
    session.connection().execute(insert(Masked), rows)


def _connections(session: Session, lease: Lease, outcome: Outcome) -> dict[str, _Whose]:
    """Whose secret each connection is made of, by role and name, where it is one and is given to the run itself.

    Short-lived credentials are no part of the secret that they were asked for with.
    """
    of = ReceiptConnection
    this = (of.run_id == lease.run_id, of.attempt == lease.attempt, ~col(of.place).startswith("source."))
    found: dict[str, set[_Whose]] = {}
    for role, name, secret_id, version in session.exec(
        select(of.role, of.connection, of.secret_id, of.version).where(*this)
    ):
        if not outcome.connections.get(f"{role}/{name}", {}).get("expires_at"):
            found.setdefault(f"{role} {name}", set()).add((secret_id, version))
    return {label: next(iter(secrets)) for label, secrets in found.items() if len(secrets) == 1}
