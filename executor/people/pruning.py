"""What is over is deleted: whoever answers requests does so now and then, and so do workers that may."""

from typing import Any

from sqlalchemy import delete, or_, select
from sqlmodel import col

from executor.people.sessions import IDLE_SECONDS
from executor.people.tables import (
    EVERY,
    Answer,
    Attempts,
    BrowserSession,
    CommandLineCode,
    DeviceCode,
    Link,
    Membership,
    OidcState,
    Token,
)
from secretstore.database import Database
from secretstore.models import Environment, Project


def prune(db: Database) -> int:
    """Delete what has expired, and roles in places that are gone for good; return how many rows."""
    now = db.now()
    projects_left = select(col(Project.id)).where(col(Project.destroyed_at).is_(None))
    environments = select(col(Environment.id))
    over: tuple[tuple[type[Any], Any], ...] = (
        (
            BrowserSession,
            or_(col(BrowserSession.expires_at) <= now, col(BrowserSession.seen_at) <= db.after(-IDLE_SECONDS)),
        ),
        (Token, col(Token.expires_at) <= now),
        (Link, col(Link.expires_at) <= now),
        (DeviceCode, col(DeviceCode.expires_at) <= now),
        (CommandLineCode, col(CommandLineCode.expires_at) <= now),
        (OidcState, col(OidcState.expires_at) <= now),
        (Attempts, col(Attempts.ends_at) <= now),
        (Answer, col(Answer.expires_at) <= now),
        (
            Membership,
            or_(
                (col(Membership.project_id) != EVERY) & col(Membership.project_id).not_in(projects_left),
                (col(Membership.environment_id) != EVERY) & col(Membership.environment_id).not_in(environments),
            ),
        ),
    )
    deleted = 0
    for table, condition in over:
        with db.writing() as session:
            deleted += session.execute(delete(table).where(condition)).rowcount  # type: ignore[attr-defined]  # of a cursor, which a DELETE has
    return deleted
