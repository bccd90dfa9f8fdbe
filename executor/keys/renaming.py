"""Give a secret another name: its versions are sealed anew for it, and all that follows its id goes on.

A renaming that was cut off has no effect.
"""

from collections.abc import Sequence
from functools import partial

from sqlmodel import Session

from executor.boundary.supervision import Zygote
from executor.errors import VersionsBroken
from executor.keys.resealing import NOBODY, RENAMED, Witness, resealing_process
from executor.schemas.secrets import RenamedSecret
from executor.settings import Settings
from secretstore import vault
from secretstore.bundle import SealedItem
from secretstore.database import Database
from secretstore.errors import RotationOvertaken
from secretstore.vault import Actor
from secretstore.views import SecretView

_TRIES = 5  # each after a rotation that came in between


def rename(
    settings: Settings,
    db: Database,
    project: str,
    environment: str,
    name: str,
    new: str,
    *,
    actor: Actor,
    force: bool = False,
    zygote: Zygote | None = None,
    witness: Witness = NOBODY,
) -> RenamedSecret:
    """Seal every kept version for the new name, and give the secret that name, in one transaction.

    Runs are given the old name until then, the new one after it.

    Args:
        settings: where the key service is.
        force: although sources or catalogs name the old one.
        zygote: the worker's, which forks the process that opens; without it one is started.
        witness: told of what is opened.

    Raises:
        NameRefused, UnknownProject, UnknownEnvironment, UnknownSecret, AlreadyExists, InUse: it cannot have the name.
        KeyOperationFailed: the key service does not unwrap, or the sealing process ended.
        VersionsBroken: some versions do not open; nothing was changed.
        RotationOvertaken: rotations came in between, again and again.
    """
    act = partial(_rename, settings, db, (project, environment, name, new), actor, force, zygote, witness)
    for _ in range(_TRIES - 1):
        try:
            return act()
        except RotationOvertaken:  # the secret is sealed to another key pair by now
            continue
    return act()


def _rename(
    settings: Settings,
    db: Database,
    asked: tuple[str, str, str, str],
    actor: Actor,
    force: bool,
    zygote: Zygote | None,
    witness: Witness,
) -> RenamedSecret:
    begun, items = vault.begin_renaming(db, *asked, force=force)
    done: list[RenamedSecret] = []
    late: list[SealedItem] = []

    def also(session: Session, view: SecretView, versions: int) -> None:
        done.append(RenamedSecret(secret=view, was=begun.old, versions=versions))
        witness.given_late(session, late)
        witness.committing(session, done[-1])

    with resealing_process(begun.key, RENAMED, witness, zygote) as process:
        process.rename(settings, begun.new)
        witness.given(items)
        sealed = list(zip(items, process.reseal(items), strict=True))
        if broken := [f"{item.name} {item.version}" for item, anew in sealed if anew is None]:
            raise VersionsBroken(
                project=begun.key.place.project,
                environment=begun.key.place.environment,
                count=len(broken),
                names=", ".join(broken),
                hint="nothing was renamed; sealrun key rotate --drop-broken leaves such versions behind, for good",
            )

        def reseal(left: Sequence[SealedItem]) -> list[bytes | None]:
            late.extend(left)
            return process.reseal(left)

        resealed = {item.sealed: anew for item, anew in sealed if anew is not None}
        vault.rename(db, begun, resealed, reseal, actor=actor, also=also)
    return done[-1]
