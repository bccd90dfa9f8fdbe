"""What every operation works on: one installation of sealrun."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from executor.boundary.plans import SigningKey
from executor.database import open_database
from executor.settings import Settings
from executor.submission.standby import Standby
from secretstore.audit import Actor
from secretstore.database import Database
from secretstore.pin import Pin
from secretstore.pins import Pins

if TYPE_CHECKING:
    from celery import Celery

    from executor.submission.remembered import Remembered

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Deployment:
    """One installation of sealrun: its settings, its database, its broker, and the key pairs known to who asks."""

    settings: Settings
    db: Database
    committed: Mapping[tuple[str, str], Pin] = field(default_factory=dict, repr=False)
    """Key pairs that the caller insists on, by project and environment: those that a project file pins."""
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    """Where a worker that is started for a run finds its settings, and PATH; None for this process's environment."""

    remembered: "Remembered | None" = field(default=None, repr=False)
    """What is known of the files of earlier submissions, in a process that makes many."""
    own_folder: Path | None = None
    """Of a server, all that it may write to beside the database; it starts no worker, which would be confined as it
    is."""

    @classmethod
    def open(
        cls,
        settings: Settings,
        committed: Mapping[tuple[str, str], Pin] | None = None,
        environ: Mapping[str, str] | None = None,
        remembered: "Remembered | None" = None,
        own_folder: Path | None = None,
    ) -> "Deployment":
        """Open the database of these settings.

        Raises:
            SchemaMismatch, DatabaseUnavailable: it cannot be used.
        """
        return cls(settings, open_database(settings), committed or {}, environ, remembered, own_folder)

    def ask(
        self,
        who: Actor,
        operation: "Callable[Concatenate[Deployment, Actor, P], T]",
        *asked: P.args,
        **more: P.kwargs,
    ) -> T:
        """Carry out one of the operations; it raises what the operation does."""
        return operation(self, who, *asked, **more)

    @property
    def where(self) -> str:
        """What is asked: the database, as it may be shown."""
        return f"the database {self.db.url_shown}"

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.db.close()
        if "broker" in vars(self):
            self.broker.close()
            del vars(self)["broker"]

    @property
    def pins(self) -> Pins:
        """The key pairs that this user knows, and those that are insisted on."""
        file = (self.own_folder or self.settings.store.home) / "known_keys"
        return Pins(file, self.db.url_shown, self.committed, given=self.settings.pins)

    @cached_property
    def broker(self) -> "Celery":
        """The application that rings workers; imported when something is submitted, as that takes its time."""
        from executor.broker.application import make_app

        return make_app(self.settings)

    @cached_property
    def signing_key(self) -> SigningKey | None:
        """What signs the runs that are accepted here; None where that is not this process's part.

        Raises:
            KeyFileMissing, KeyFileUnusable: it cannot be read.
        """
        from executor.keys.signing import read_signing_key

        path = self.settings.signing_key
        return None if path is None else read_signing_key(path)

    @cached_property
    def standby(self) -> Standby:
        """The worker that is started where nothing is configured and none lives."""
        return Standby(self.settings, self.environ, starts=self.own_folder is None)
