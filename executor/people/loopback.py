"""Logging in a command line beside a browser: the browser comes back to it on loopback with a code, spent once.

As RFC 8252 has it, with PKCE (RFC 7636): whoever else sees the code cannot spend it.
"""

import base64
import re
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from sqlalchemy import delete as delete_rows
from sqlalchemy import select as select_rows
from sqlmodel import col

from executor.errors import CodeRefused, Forbidden, RequestUnclear
from executor.people.opaque import digest, new_opaque
from executor.people.principal import INSTALLATION, Principal
from executor.people.record import record
from executor.people.tables import Account, CommandLineCode
from secretstore.audit import Act, Actor
from secretstore.database import Database

SECONDS = 60
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


def agree(db: Database, principal: Principal, challenge: str, host: str, *, actor: Actor) -> str:
    """Return the code with which the command line of this challenge gets a token of this person's.

    Raises:
        Forbidden: whoever agrees is no person who is logged in.
        CredentialAsked: the browser logged in some time ago.
        RequestUnclear: it is no challenge.
    """
    if principal.way != "session":
        raise Forbidden(
            "{name} has to be logged in with a browser to agree to this",
            name=principal.name,
            hint="a token is given to a command line as it is: sealrun login --token",
        )
    principal.require_fresh("letting a command line act in your name")
    check_challenge(challenge)
    code = new_opaque()
    with db.writing() as session:
        until: Any = session.execute(select_rows(db.after(SECONDS))).scalar_one()
        session.add(
            CommandLineCode(
                digest=digest(code),
                challenge=challenge,
                account_id=principal.id,
                host=host[:255],
                expires_at=until,
            )
        )
        record(session, INSTALLATION, actor, Act("command-line.agree", principal.name, {"host": host[:255]}))
    return code


def spend(db: Database, code: str, verifier: str) -> tuple[str, str]:
    """Return whose token is to be made, and the machine it is for. A code is spent by the first try.

    Raises:
        CodeRefused: it is none, was spent, is too old, or belongs to another command line.
    """
    mine = (col(CommandLineCode.digest) == digest(code), col(CommandLineCode.expires_at) > db.now())
    columns = (CommandLineCode.challenge, CommandLineCode.account_id, CommandLineCode.host)
    with db.writing() as session:
        found = session.execute(delete_rows(CommandLineCode).where(*mine).returning(*map(col, columns))).first()
        account = session.get(Account, found.account_id) if found is not None else None
    if found is None or account is None or account.disabled_at is not None:
        raise CodeRefused()
    if not compare_digest(found.challenge, challenge_of(verifier)):
        raise CodeRefused()
    return found.account_id, found.host


def challenge_of(verifier: str) -> str:
    """The challenge of a verifier: `S256` of RFC 7636."""
    return base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def check_challenge(challenge: str) -> None:
    """Refuse what is no challenge.

    Raises:
        RequestUnclear: it is none.
    """
    if not _CHALLENGE.fullmatch(challenge):
        raise RequestUnclear("challenge is no SHA-256 in base64url")
