"""How often something may be tried: counted in rows, before the attempt, in windows that begin with the first."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from math import ceil

from sqlalchemy import case
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete

from executor.errors import TooManyAttempts
from executor.people.tables import Attempts
from secretstore.database import Database, table_of, utc_now

_IPV6_SITE = 64


@dataclass(frozen=True)
class Limit:
    """So many attempts in so many seconds."""

    what: str
    attempts: int
    seconds: int


LOG_IN_OF_ACCOUNT = Limit("log-in", 10, 15 * 60)
LOG_IN_FROM_ADDRESS = Limit("log-in from", 50, 15 * 60)
CODE_BY_ACCOUNT = Limit("device code", 5, 10 * 60)
CODE_FROM_ADDRESS = Limit("device code from", 20, 10 * 60)


def take(db: Database, *asked: tuple[Limit, str]) -> None:
    """Count an attempt of somebody, or from somewhere; attempts at the same time are each counted.

    Raises:
        TooManyAttempts: there were too many; `names["seconds"]` is how long to wait, `names["first"]` whether this is
            the first one too many of its window.
    """
    wait, first = 0, False
    # In the order of their keys: two attempts that share rows then wait for each other, and not in a circle.
    keyed = sorted((key_of(limit, whose), limit) for limit, whose in asked)
    with db.writing() as session:
        for key, limit in keyed:
            count, ends_at = counted(db, session, key, limit.seconds)
            if count > limit.attempts:
                wait = max(wait, ceil((ends_at - utc_now()).total_seconds()), 1)
                first = first or count == limit.attempts + 1
    if wait:
        raise TooManyAttempts(seconds=wait, first=first)


def forget(db: Database, limit: Limit, whose: str) -> None:
    """Begin anew, once an attempt was right."""
    with db.writing() as session:
        session.execute(delete(Attempts).where(col(Attempts.key) == key_of(limit, whose)))


def key_of(limit: Limit, whose: str) -> str:
    """What attempts are counted under.

    Some people type their password where the name belongs, so a short part of a digest stands for it: thousands of
    texts have the same.
    """
    return f"{limit.what} {sha256(whose.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def site_of(address: str) -> str:
    """Return what of an address counts as one place: of IPv6 the network that one customer has."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _IPV6_SITE), strict=False))
    return str(found)


def counted(db: Database, session: Session, key: str, seconds: int) -> tuple[int, datetime]:
    """Count one more in the caller's transaction; how many that makes in this window, and when it ends."""
    table = table_of(Attempts)
    insert = postgresql.insert if db.dialect == "postgresql" else sqlite.insert
    over = table.c.ends_at <= db.now()
    one_more = (
        insert(table)
        .values(key=key, count=1, ends_at=db.after(seconds))
        .on_conflict_do_update(
            index_elements=["key"],
            set_={
                "count": case((over, 1), else_=table.c.count + 1),
                "ends_at": case((over, db.after(seconds)), else_=table.c.ends_at),
            },
        )
        .returning(table.c.count, table.c.ends_at)
    )
    count, ends_at = session.connection().execute(one_more).one()
    return count, ends_at
