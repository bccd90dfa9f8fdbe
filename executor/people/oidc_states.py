"""Log-ins that were sent to an issuer, and are awaited back: by the same browser, once, within minutes."""

import re
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete as delete_rows
from sqlalchemy import select as select_rows
from sqlmodel import col

from executor.errors import Unauthenticated
from executor.people.opaque import digest, new_opaque
from executor.people.tables import OidcState
from secretstore.database import Database

MINUTES = 10

# A path of this server, and nothing that a browser reads as another server's: `//host`, `/\host`, a control character.
_LOCAL_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


@dataclass(frozen=True)
class Awaited:
    """What a log-in is bound to. `verifier` is PKCE's: the issuer gets its SHA-256 first, and itself afterwards."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    issuer: str
    return_to: str


def begin(db: Database, browser: str, issuer: str, return_to: str = "/") -> Awaited:
    """Begin a log-in for a browser.

    Args:
        browser: the random text in the cookie that the browser got before the log-in.
        return_to: a path of this server; anything else becomes `/`.
    """
    made = Awaited(new_opaque(), new_opaque(), new_opaque(), issuer, local_path(return_to))
    with db.writing() as session:
        until: Any = session.execute(select_rows(db.after(MINUTES * 60))).scalar_one()
        session.add(
            OidcState(
                digest=digest(made.state),
                browser_digest=digest(browser),
                issuer=issuer,
                nonce=made.nonce,
                verifier=made.verifier,
                return_to=made.return_to,
                expires_at=until,
            )
        )
    return made


def take(db: Database, state: str, browser: str) -> Awaited:
    """Return what a log-in that comes back was bound to; it is over then, and a second time refused.

    Raises:
        Unauthenticated: it was not begun here, not by this browser, too long ago, or has come back already.
    """
    mine = (
        col(OidcState.digest) == digest(state),
        col(OidcState.browser_digest) == digest(browser),
        col(OidcState.expires_at) > db.now(),
    )
    columns = (OidcState.nonce, OidcState.verifier, OidcState.issuer, OidcState.return_to)
    with db.writing() as session:
        found = session.execute(delete_rows(OidcState).where(*mine).returning(*map(col, columns))).first()
    if found is None:
        raise Unauthenticated("this log-in was not begun in this browser, or is over", hint="begin again: log in")
    return Awaited(state, *found)


def local_path(wanted: str) -> str:
    """Return a path of this server to go on to after a log-in, `/` for what is none."""
    return wanted if _LOCAL_PATH.fullmatch(wanted) else "/"
