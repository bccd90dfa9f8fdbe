"""Which runs were given a secret, as their receipts say; receipts outlive runs and versions."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, true
from sqlmodel import col, select

from executor import models
from executor.models import ReceiptSecret, Run
from executor.schemas.secrets import RunUse
from secretstore.database import Database
from secretstore.models import Secret


@dataclass(frozen=True)
class Uses:
    """How many runs were given a version of a secret, and the latest of them."""

    version: int
    runs: int
    last_run: str
    last_given_at: datetime


def last_used(db: Database, project_id: str, ids: Collection[str] | None = None) -> dict[str, datetime]:
    """When each secret of a project was last given to a run, by the secret's id; those never given are left out.

    `ids` are of the secrets that are asked for; None for all.

    A secret that was given, and whose opening then failed, was not used.
    """
    given = (
        select(ReceiptSecret.given_at)
        .where(ReceiptSecret.secret_id == Secret.id, ~_refused())
        .order_by(col(ReceiptSecret.given_at).desc())
        .limit(1)
        .correlate(Secret)
        .scalar_subquery()
    )
    with db.reading() as session:
        these = true() if ids is None else col(Secret.id).in_(ids)
        rows = session.exec(select(Secret.id, given).where(Secret.project_id == project_id, these)).all()
    return {secret_id: at for secret_id, at in rows if at is not None}


def versions_used(db: Database, secret_id: str) -> dict[int, Uses]:
    """How many runs were given each version of a secret, and which was the latest. Receipts outlive versions."""
    grouped = (
        select(
            ReceiptSecret.version,
            func.count(func.distinct(ReceiptSecret.run_id)).label("runs"),
            func.max(ReceiptSecret.given_at).label("last"),
        )
        .where(ReceiptSecret.secret_id == secret_id)
        .group_by(col(ReceiptSecret.version))
        .subquery()
    )
    latest = (
        select(ReceiptSecret.run_id)
        .where(
            ReceiptSecret.secret_id == secret_id,
            ReceiptSecret.version == grouped.c.version,
            ReceiptSecret.given_at == grouped.c.last,
        )
        .limit(1)
        .correlate(grouped)
        .scalar_subquery()
    )
    with db.reading() as session:
        rows = session.exec(select(grouped.c.version, grouped.c.runs, latest, grouped.c.last)).all()
    return {row[0]: Uses(*row) for row in rows}


def runs_given(db: Database, secret_id: str, version: int, limit: int = 20) -> list[RunUse]:
    """The runs that were given this version of a secret, the latest first: one entry per attempt and phase."""
    of = models.Receipt
    statement = (
        select(ReceiptSecret, of, Run)
        .join(
            of,
            and_(
                col(of.run_id) == ReceiptSecret.run_id,
                col(of.attempt) == ReceiptSecret.attempt,
                col(of.phase) == ReceiptSecret.phase,
            ),
        )
        .outerjoin(Run, col(Run.id) == ReceiptSecret.run_id)
        .where(ReceiptSecret.secret_id == secret_id, ReceiptSecret.version == version)
        .order_by(col(ReceiptSecret.given_at).desc())
        .limit(limit)
    )
    with db.reading() as session:
        return [
            RunUse(
                id=given.run_id,
                attempt=given.attempt,
                phase=given.phase,
                given_at=given.given_at,
                opening=_opening(receipt),
                state=run.state if run else None,
                started_at=run.started_at if run else None,
                created_by=run.created_by if run else None,
            )
            for given, receipt, run in session.exec(statement)
        ]


def _opening(receipt: models.Receipt) -> str:
    if receipt.opened_at is not None:
        return "opened"
    return "not_opened" if receipt.status in ("closed", "refused") else "may_have_been_opened"


def _refused() -> ColumnElement[bool]:
    """The receipt of a row of `ReceiptSecret` says that the opening failed."""
    of = models.Receipt
    return (
        select(of.run_id)
        .where(
            of.run_id == ReceiptSecret.run_id,
            of.attempt == ReceiptSecret.attempt,
            of.phase == ReceiptSecret.phase,
            col(of.status).in_(("closed", "refused")),
            col(of.opened_at).is_(None),
        )
        .correlate(ReceiptSecret)
        .exists()
    )
