"""Logging in a command line on a machine without a browser: its code is typed into a browser that is logged in.

As RFC 8628 has it. The code is short, since a person types it; so guessing is counted, by who types and from where.
"""

import secrets
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import ColumnElement, update
from sqlalchemy import delete as delete_rows
from sqlalchemy import select as select_rows
from sqlmodel import col

from executor.errors import CodeRefused, Forbidden
from executor.people import throttle
from executor.people.opaque import digest, new_opaque
from executor.people.principal import INSTALLATION, Principal
from executor.people.record import record
from executor.people.tables import Account, DeviceCode
from secretstore.audit import Act, Actor
from secretstore.database import Database

MINUTES, TRIES = 10, throttle.CODE_BY_ACCOUNT.attempts
POLL_SECONDS = 5

# No vowel, so that no code is a word, and nothing that is mistaken for another: RFC 8628, section 6.1.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_LENGTH = 8


@dataclass(frozen=True)
class Begun:
    """What the command line is told: the code that it shows, and the secret with which it asks for the answer."""

    shown: str
    secret: str = field(repr=False)
    seconds: int = MINUTES * 60
    poll_seconds: int = POLL_SECONDS


@dataclass(frozen=True)
class Waiting:
    """The command line that waits for a code, as it is shown to whoever typed that, before they agree."""

    host: str
    address: str


@dataclass(frozen=True)
class Polled:
    """What became of it; whose token is to be made where somebody agreed. That is said once."""

    state: Literal["waiting", "agreed", "over"]
    account_id: str | None = None
    host: str = ""


def begin(db: Database, host: str, address: str) -> Begun:
    """Begin for a command line.

    Args:
        host: what it calls its machine; address: from where it asks. Who types the code sees both.
    """
    code, secret = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)), new_opaque()
    with db.writing() as session:
        until = session.execute(select_rows(db.after(MINUTES * 60))).scalar_one()
        session.add(
            DeviceCode(
                digest=digest(secret),
                typed_digest=digest(code),
                address=address[:255],
                host=host[:255],
                expires_at=until,
            )
        )
    return Begun(f"{code[:4]}-{code[4:]}", secret)


def look(db: Database, principal: Principal, typed: str, address: str) -> Waiting:
    """Return which command line waits for a code that somebody typed. Each call is a try.

    Raises:
        TooManyAttempts: by this person, or from there.
        CodeRefused: none does.
        Forbidden: whoever asks is no person who is logged in.
    """
    _require_person(principal)
    _count(db, principal, address)
    with db.reading() as session:
        found = session.execute(select_rows(DeviceCode).where(*_open(db, typed))).scalar()
    if found is None:
        raise CodeRefused()
    return Waiting(found.host, found.address)


def agree(db: Database, principal: Principal, typed: str, address: str, *, actor: Actor) -> None:
    """Let the command line that waits for this code act as this person. Each call is a try.

    Raises:
        TooManyAttempts, CodeRefused, Forbidden: as `look`.
        CredentialAsked: the browser logged in some time ago.
    """
    _require_person(principal)
    principal.require_fresh("letting a command line act in your name")
    _count(db, principal, address)
    agreed = (
        update(DeviceCode)
        .where(*_open(db, typed))
        .values(account_id=principal.id)
        .returning(col(DeviceCode.host), col(DeviceCode.address))
    )
    with db.writing() as session:
        found = session.execute(agreed).first()
        if found is None:
            raise CodeRefused()
        detail = {"host": found.host, "address": found.address}
        record(session, INSTALLATION, actor, Act("device.agree", principal.name, detail))


def refuse(db: Database, principal: Principal, typed: str, address: str) -> None:
    """Turn away the command line that waits for this code. Each call is a try.

    Raises:
        TooManyAttempts, CodeRefused, Forbidden: as `look`.
    """
    _require_person(principal)
    _count(db, principal, address)
    refused = update(DeviceCode).where(*_open(db, typed)).values(refused=True).returning(col(DeviceCode.digest))
    with db.writing() as session:
        if session.execute(refused).first() is None:
            raise CodeRefused()


def poll(db: Database, secret: str) -> Polled:
    """Return what became of a code, asked by the command line that began it. Where somebody agreed, it is spent."""
    mine = col(DeviceCode.digest) == digest(secret)
    in_time = col(DeviceCode.expires_at) > db.now()
    with db.writing() as session:
        found = session.execute(select_rows(DeviceCode).where(mine, in_time)).scalar()
        if found is None or found.refused:
            return Polled("over")
        if found.account_id is None:
            return Polled("waiting")
        spent = delete_rows(DeviceCode).where(mine).returning(col(DeviceCode.account_id))
        if session.execute(spent).first() is None:  # another poll has it
            return Polled("over")
        account = session.get(Account, found.account_id)
        if account is None or account.disabled_at is not None:
            return Polled("over")
        return Polled("agreed", account.id, found.host)


def _require_person(principal: Principal) -> None:
    # A token could otherwise make itself another one, with more than it has and for longer.
    if principal.way != "session":
        raise Forbidden(
            "{name} has to be logged in with a browser to agree to this",
            name=principal.name,
            hint="log in with a browser, and type the code there",
        )


def _count(db: Database, principal: Principal, address: str) -> None:
    throttle.take(db, (throttle.CODE_BY_ACCOUNT, principal.id), (throttle.CODE_FROM_ADDRESS, throttle.site_of(address)))


def _open(db: Database, typed: str) -> tuple[ColumnElement[bool], ...]:
    bare = "".join(letter for letter in typed.upper() if letter.isalnum())
    return (
        col(DeviceCode.typed_digest) == digest(bare),
        col(DeviceCode.expires_at) > db.now(),
        col(DeviceCode.account_id).is_(None),
        col(DeviceCode.refused).is_(False),
    )
