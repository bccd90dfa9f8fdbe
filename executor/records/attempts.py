"""The attempts of a run: how each went, its receipts, what it used and reported."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from executor import models
from executor.models import Attempt, ReceiptSecret, Run
from executor.schemas.receipts import PHASE, ConnectionEntry, Receipt, ReceiptEntry
from executor.schemas.runs import AttemptView, MaskedView, MetricView, SampleView

SAMPLES_SHOWN = 300


def reported(session: Session, run_id: str, attempt: int) -> tuple[MetricView, ...]:
    of = models.Metric
    rows = select(of).where(of.run_id == run_id, of.attempt == attempt).order_by(col(of.sequence))
    return tuple(MetricView(row.at, row.name, row.value, row.unit, row.labels) for row in session.exec(rows))


def masked(session: Session, run_id: str, attempt: int) -> tuple[MaskedView, ...]:
    of = models.Masked
    order = (col(of.secret), col(of.stream), col(of.form))
    rows = select(of).where(of.run_id == run_id, of.attempt == attempt).order_by(*order)
    return tuple(MaskedView(row.secret, row.stream, row.form, row.count, row.version) for row in session.exec(rows))


def samples(session: Session, run_id: str, attempt: int) -> tuple[SampleView, ...]:
    of = models.Sample
    this = (of.run_id == run_id, of.attempt == attempt)
    step = session.exec(select(func.count()).where(*this)).one() // SAMPLES_SHOWN + 1
    rows = select(of).where(*this, col(of.sequence) % step == 0).order_by(col(of.sequence))
    return tuple(SampleView(row.at, row.cpu_seconds, row.memory_bytes) for row in session.exec(rows))


def of_run(session: Session, run: Run) -> tuple[AttemptView, ...]:
    run_id = run.id
    rows = session.exec(select(Attempt).where(Attempt.run_id == run_id).order_by(col(Attempt.number))).all()
    # From when on each could have been claimed: the run was accepted, or the attempt before it was over.
    free_at = [run.created_at, *(row.finished_at or row.claimed_at for row in rows)]
    written = session.exec(
        select(models.Receipt).where(models.Receipt.run_id == run_id).order_by(col(models.Receipt.opening_at))
    ).all()
    entries: dict[tuple[int, str], list[ReceiptEntry]] = {}
    given = select(ReceiptSecret).where(ReceiptSecret.run_id == run_id).order_by(col(ReceiptSecret.name))
    for row in session.exec(given) if written else ():
        entry = ReceiptEntry(row.name, row.version, row.channel, row.alias, row.expires_at)
        entries.setdefault((row.attempt, row.phase), []).append(entry)
    used: dict[int, list[ConnectionEntry]] = {}
    filled = models.ReceiptConnection
    order = (col(filled.role).desc(), col(filled.connection), col(filled.place))
    for found in session.exec(select(filled).where(filled.run_id == run_id).order_by(*order)) if written else ():
        used.setdefault(found.attempt, []).append(
            ConnectionEntry(**{of.name: getattr(found, of.name) for of in fields(ConnectionEntry)})
        )
    return tuple(
        AttemptView(
            number=row.number,
            worker=row.worker,
            state=row.state,
            reason=row.reason,
            message=row.message,
            exit_code=row.exit_code,
            signal=row.signal,
            claimed_at=row.claimed_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            receipts=tuple(_receipts(row, [one for one in written if one.attempt == row.number], entries, used)),
            metrics=row.metrics and _with_queue(row.metrics, row.claimed_at - since),
            packages=row.packages,
        )
        for row, since in zip(rows, free_at, strict=False)
    )


def _with_queue(metrics: dict[str, Any], waited: timedelta) -> dict[str, Any]:
    """An attempt's metrics, its phases with the one that only the database's clock can tell."""
    queued = {"queued": max(round(waited.total_seconds(), 4), 0.0)}
    return {**metrics, "phases": {**queued, **metrics.get("phases", {})}}


def _receipts(
    attempt: Attempt,
    written: Sequence[models.Receipt],
    entries: Mapping[tuple[int, str], Sequence[ReceiptEntry]],
    used: Mapping[int, Sequence[ConnectionEntry]],
) -> Iterator[Receipt]:
    isolation: dict[str, Any] = {"rung": attempt.rung, "controls": attempt.controls or {}}
    for row in written:
        yield Receipt(
            status=row.status,
            secrets=tuple(entries.get((row.attempt, row.phase), ())),
            opened_at=row.opened_at,
            dropped_at=row.dropped_at,
            phase=row.phase,
            opening_at=row.opening_at,
            reason=row.reason,
            environment_id=row.environment_id,
            generation=row.generation,
            fingerprint=row.fingerprint,
            key_service=row.key_service,
            connections=tuple(used.get(row.attempt, ())) if row.phase == PHASE else (),
            **isolation,
        )
    if attempt.started_at is not None and not any(row.phase == PHASE for row in written):
        yield Receipt(status="none", secrets=(), opened_at=None, dropped_at=None, **isolation)
