"""People and service accounts: made, listed, disabled, enabled, deleted; and passwords."""

from collections.abc import Sequence

from executor.errors import Forbidden, RequestUnclear
from executor.operations.deployment import Deployment
from executor.people import accounts, links, logging_in
from executor.people.holding import require_over
from executor.people.principal import INSTALLATION, principal_of
from executor.people.roles import ADMIN, ROLES
from executor.schemas.people import AccountNamed, AccountView, DeletedAccount, NewAccount, NewPassword
from secretstore.audit import Actor


def create(at: Deployment, who: Actor, asked: NewAccount) -> AccountView:
    """Make a person with a password, or a service account without one; if asked, an admin of the installation.

    Raises:
        NameRefused, PasswordRefused: it cannot be.
        AlreadyExists: somebody has the name.
        Forbidden: an admin is to be made by who is none.
        CredentialAsked: an admin is to be made in a browser that logged in some time ago.
    """
    if asked.service == (asked.password is not None):
        raise RequestUnclear("a person has a password, and a service account has none")
    by = principal_of(who)
    if asked.admin:
        by.require(*ROLES[ADMIN].verbs, at=INSTALLATION)
        by.require_fresh("making an admin")
    return accounts.create(
        at.db, asked.name, password=asked.password, service=asked.service, admin=asked.admin, actor=who
    )


def begin_first_admin(at: Deployment, who: Actor) -> str | None:
    """Return the secret of a link with which the first admin is made, for ten minutes; None where there is one.

    It goes behind the `#` of the server's `/first-admin`, and into no command, log or message.
    """
    return links.make_first_admin_link(at.db)


def list_(at: Deployment, who: Actor) -> Sequence[AccountView]:
    """All people and service accounts, by name."""
    return accounts.list_accounts(at.db)


def disable(at: Deployment, who: Actor, asked: AccountNamed) -> AccountView:
    """Keep an account out: its sessions and tokens end at once, for good; its roles stay.

    Raises:
        UnknownAccount: there is none of this name.
        Forbidden: it has more than who asks.
        LastAdmin: nobody else is admin.
    """
    require_over(at.db, principal_of(who), asked.name)
    return accounts.disable(at.db, asked.name, actor=who)


def enable(at: Deployment, who: Actor, asked: AccountNamed) -> AccountView:
    """Let a disabled account in again; it has to log in, and to make new tokens.

    Raises:
        UnknownAccount, Forbidden: as `disable`.
    """
    require_over(at.db, principal_of(who), asked.name)
    return accounts.enable(at.db, asked.name, actor=who)


def delete(at: Deployment, who: Actor, asked: AccountNamed) -> DeletedAccount:
    """Delete an account with its roles, sessions and tokens. Who has an issuer may log in anew, without any role.

    Raises:
        UnknownAccount, Forbidden, LastAdmin: as `disable`.
    """
    require_over(at.db, principal_of(who), asked.name)
    was = accounts.delete_account(at.db, asked.name, actor=who)
    return DeletedAccount(deleted=was.kind, name=was.name)


def set_password(at: Deployment, who: Actor, asked: NewPassword) -> AccountView:
    """Set a person's password; all their sessions end. One's own takes the one before.

    Raises:
        UnknownAccount, NameRefused: there is no such person, or none that has a password here.
        PasswordRefused: it cannot be.
        Unauthenticated, TooManyAttempts: the one before is not right, or was tried too often.
        Forbidden: it is another person's, and who asks does not manage people, or has less than that person.
        CredentialAsked: it is another person's, and the browser logged in some time ago.
    """
    by = principal_of(who)
    if by.kind != "operator" and by.name == asked.name:
        if asked.old is None:
            raise Forbidden("to change your password takes the one before", hint="give both")
        logging_in.check_password(at.db, asked.name, asked.old, f"password of {by.id}", who.origin)
    else:
        by.require("manage", at=INSTALLATION)
        require_over(at.db, by, asked.name)
        by.require_fresh("setting another person's password")
    return accounts.set_password(at.db, asked.name, asked.password, actor=who)
