"""Secrets: what is said of them, and the value that goes in. None that goes out has room for one."""

from datetime import datetime

from pydantic import Field
from pydantic.dataclasses import dataclass

from executor.schemas.confirming import Naming
from executor.schemas.places import Input, Named, Output
from executor.schemas.runs import MaskedView
from secretstore.pin import GivenPin
from secretstore.reservation import Moment
from secretstore.views import DueView, SecretView


class NewSecret(Naming):
    """A value to seal as a secret's next version, in one environment or in several at once.

    `as_file` says whether runs are given it as a private file, and the file's path as the variable; None leaves that
    as it was. `allow_short` takes a value that is too short to be masked.
    """

    value: bytes = Field(repr=False)
    expires_at: datetime | None = None
    allow_short: bool = False
    as_file: bool | None = None
    create_environments: bool = False
    """Whether environments that are not there are made."""
    pins: tuple[GivenPin, ...] = ()
    """Key pairs that must be the environments' ones, beside those that are known."""


class SetSecret(Output):
    """A secret as it was stored in each environment, and the environments that were made for it.

    `value_notes` say what the masker cannot do for the value, `name_notes` under which names shells will find it,
    `misfits` which sources and catalogs name it and cannot use a value of this form.
    """

    secrets: tuple[SecretView, ...]
    created_environments: tuple[str, ...] = ()
    value_notes: tuple[str, ...] = ()
    name_notes: tuple[str, ...] = ()
    misfits: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeenIn:
    """An attempt of a run in whose output a secret was found and masked: where, in which forms, how often."""

    run: str
    attempt: int
    at: datetime
    version: int | None
    masked: tuple[MaskedView, ...]


@dataclass(frozen=True)
class ListedSecret(SecretView):
    """A secret, when a run was last given it, and the last run that gave it out.

    `rotate` is the last run that gave the current version out in a form that other maskers do not find: set a new one.
    """

    last_used_at: datetime | None = None
    seen: SeenIn | None = None
    rotate: SeenIn | None = None


class SecretDeletion(Named):
    """A secret to delete; with `force` even where a source or catalog names it."""

    force: bool = False


class Rollback(Named):
    """Which version is to be the current one again; None for the newest of those before the current one."""

    to: int | None = None


class SecretRename(Named):
    """The name that a secret is to have; with `force` although a source or catalog names the old one."""

    new: str
    force: bool = False
    confirmed: bool = False
    """Whether whoever asks knows that installers act on the new name, where they do."""

    def require_confirmed(self) -> None:
        """Refuse a name that has to be confirmed.

        Raises:
            NeedsYes: it was not.
        """
        naming = Naming(project=self.project, environments=(self.environment,), name=self.new, confirmed=self.confirmed)
        naming.require_confirmed()


class RenamedSecret(Output):
    """A secret under its new name, the one it had, and how many versions were sealed anew for it."""

    secret: SecretView
    was: str
    versions: int


class VersionUse(Output):
    """A version of a secret, and how many runs were given it.

    `kept` False: the version is gone, and receipts alone remember it.
    """

    version: int
    created_at: datetime | None = None
    created_by: str | None = None
    current: bool = False
    maskable: bool | None = None
    expires_at: datetime | None = None
    kept: bool = False
    runs: int = 0
    last_run: str | None = None
    last_given_at: datetime | None = None


class VersionNamed(Named):
    """One version of a secret, and how many of the runs that were given it are asked for."""

    version: int
    limit: int = Field(default=20, ge=1)


@dataclass(frozen=True)
class RunUse:
    """A run that was given a version of a secret: `opened`, `not_opened` or `may_have_been_opened`.

    Of a run that is no longer kept the receipt is left: `state` and `created_by` are None, and the audit log has who.
    """

    id: str
    attempt: int
    phase: str
    given_at: datetime
    opening: str
    state: str | None
    started_at: datetime | None
    created_by: str | None


class VersionRuns(Output):
    """The runs that were given a version of a secret, the latest first."""

    name: str
    version: int
    kept: bool
    runs: tuple[RunUse, ...]


class DueBefore(Input):
    """Secrets that expire before a moment, at most so many of them."""

    before: Moment
    limit: int = Field(default=20, ge=1)


class DueSecrets(Output):
    """Secrets that expire or have expired, the first ones first, and how many there are."""

    secrets: tuple[DueView, ...]
    count: int
