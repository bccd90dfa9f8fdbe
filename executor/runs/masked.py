"""What the masker found in an attempt, as rows: written with the outcome of the run, or of its set-up."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import insert
from sqlmodel import Session, select

from executor.models import Masked, ReceiptSecret
from executor.runs.spec import Hit, Lease


def summed(hits: Iterable[Hit]) -> tuple[Hit, ...]:
    """Hits with one entry for each secret, stream and form."""
    counts: dict[tuple[str, str, str], int] = {}
    for hit in hits:
        key = (hit.secret, hit.stream, hit.form)
        counts[key] = counts.get(key, 0) + hit.count
    return tuple(Hit(*key, count) for key, count in counts.items())


def store(session: Session, lease: Lease, phase: str, hits: Sequence[Hit], now: datetime) -> None:
    """Store hits, each with the secret and version that this phase was given under its name, if that is a name.

    The transaction has checked the token.
    """
    if not hits:
        return
    of = ReceiptSecret
    this = (of.run_id == lease.run_id, of.attempt == lease.attempt, of.phase == phase)
    given = {row[0]: row[1:] for row in session.exec(select(of.name, of.secret_id, of.version).where(*this))}
    rows = []
    for hit in hits:
        secret_id, version = given.get(hit.secret, (None, None))
        key = {"run_id": lease.run_id, "attempt": lease.attempt, "at": now}
        rows.append({**key, **asdict(hit), "secret_id": secret_id, "version": version})
    session.connection().execute(insert(Masked), rows)
