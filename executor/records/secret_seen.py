"""Which runs gave a secret out: what the masker found, as long as the runs are kept."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, true
from sqlmodel import Session, col, select

from executor.masking.needles import AS_IT_IS
from executor.models import Masked
from executor.schemas.runs import MaskedView
from executor.schemas.secrets import SeenIn
from secretstore.database import Database
from secretstore.models import Secret

FOUND_ELSEWHERE = frozenset({AS_IT_IS})
"""Forms in which every masker finds a value that it knows, such as those of GitHub, GitLab and Airflow.

In any other form one of them at least lets it pass, so that it may stand readable in another log of the same run.
"""


@dataclass(frozen=True)
class Seen:
    """The last run that gave a secret out, and the last one for which its current value should be replaced."""

    last: SeenIn
    rotate: SeenIn | None


def last_seen(db: Database, project_id: str, ids: Collection[str] | None = None) -> dict[str, Seen]:
    """What was seen of each secret of a project, by the secret's id; those never seen are left out.

    `ids` are of the secrets that are asked for; None for all.
    """
    these = true() if ids is None else col(Secret.id).in_(ids)
    risky = and_(col(Masked.form).not_in(FOUND_ELSEWHERE), col(Masked.version) == Secret.current_version)
    with db.reading() as session:
        last = _latest(session, project_id, these)
        rotate = _latest(session, project_id, these, risky) if last else {}
    return {secret_id: Seen(seen, rotate.get(secret_id)) for secret_id, seen in last.items()}


def _latest(session: Session, project_id: str, *conditions: ColumnElement[bool]) -> dict[str, SeenIn]:
    """The last attempt that meets the conditions, by secret: its rows were stored at one moment."""
    of = Masked
    latest = (
        select(of.secret_id, func.max(of.at).label("at"))
        .join(Secret, col(Secret.id) == of.secret_id)
        .where(Secret.project_id == project_id, *conditions)
        .group_by(col(of.secret_id))
        .subquery()
    )
    rows = session.exec(
        select(of)
        .join(latest, and_(col(of.secret_id) == latest.c.secret_id, col(of.at) == latest.c.at))
        .join(Secret, col(Secret.id) == of.secret_id)
        .where(*conditions)
        .order_by(col(of.run_id), col(of.attempt), col(of.stream), col(of.form))
    )
    found: dict[str, list[Masked]] = {}
    for row in rows:
        found.setdefault(str(row.secret_id), []).append(row)
    return {secret_id: _seen(of_secret) for secret_id, of_secret in found.items()}


def _seen(rows: Iterable[Masked]) -> SeenIn:
    first, *_ = rows = list(rows)
    rows = [row for row in rows if (row.run_id, row.attempt) == (first.run_id, first.attempt)]
    return SeenIn(
        run=first.run_id,
        attempt=first.attempt,
        at=first.at,
        version=first.version,
        masked=tuple(MaskedView(row.secret, row.stream, row.form, row.count, row.version) for row in rows),
    )
