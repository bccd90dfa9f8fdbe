"""The two steps of storing values that are sealed before they are sent. No field of these has room for one in plain."""

from typing import Annotated

from pydantic import Field

from executor.schemas.places import InEnvironments, Output
from secretstore.entries import NewVariable
from secretstore.errors import SealedRefused
from secretstore.reservation import SealedSecret
from secretstore.views import SecretView, VariableView

MOST = 4_000
"""Values, names or environments in one step: of short values a request of 8 MiB has so many."""

_Words = Annotated[tuple[str, ...], Field(min_length=1, max_length=MOST)]


class Reserving(InEnvironments):
    """Secrets to reserve the next version of, each of them in each of the environments."""

    environments: _Words
    names: _Words


class _Sealed(InEnvironments):
    """Sealed values of these environments. A door looks at `environments` for what who asks may do."""

    environments: _Words

    def entries(self) -> tuple[SealedSecret | NewVariable, ...]:
        """All that is to be stored."""
        raise NotImplementedError

    def require_within(self) -> None:
        """Refuse what is for an environment that is not among those named.

        Raises:
            SealedRefused: something is.
        """
        for one in self.entries():
            if one.environment not in self.environments:
                why = "that environment is not among those of the request"
                raise SealedRefused(name=one.name, environment=one.environment, why=why)


class SealedValues(_Sealed):
    """What was sealed for a reservation, all of it."""

    reservation: str
    secrets: Annotated[tuple[SealedSecret, ...], Field(min_length=1, max_length=MOST)]
    confirmed: bool = False
    """Whether whoever asks knows of the names among these that installers act on."""

    def entries(self) -> tuple[SealedSecret, ...]:
        """The secrets."""
        return self.secrets


class SealedImport(_Sealed):
    """A file's secrets, sealed for a reservation, and its variables: stored together. Without secrets there is none."""

    reservation: str | None = None
    secrets: Annotated[tuple[SealedSecret, ...], Field(max_length=MOST)] = ()
    variables: Annotated[tuple[NewVariable, ...], Field(max_length=MOST)] = ()

    def entries(self) -> tuple[SealedSecret | NewVariable, ...]:
        """The secrets and the variables."""
        return *self.secrets, *self.variables


class StoredSealed(Output):
    """What was stored, and under which names shells will find it."""

    secrets: tuple[SecretView, ...]
    variables: tuple[VariableView, ...] = ()
    name_notes: tuple[str, ...] = ()
