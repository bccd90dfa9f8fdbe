"""Values are sealed here, to key pairs that are known here, and sent sealed: a server is told of none in plain."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from executor import sealer
from executor.explain.connections import misfits
from executor.explain.import_plan import Plan
from executor.remote import routed
from executor.schemas.importing import ImportPlan, There
from executor.schemas.keys import KeyTrust, KnownKey, Trusted
from executor.schemas.places import InEnvironment, InEnvironments
from executor.schemas.projects import CreatedEnvironment
from executor.schemas.sealing import Reserving, SealedImport, SealedValues, StoredSealed
from executor.schemas.secrets import NewSecret, SetSecret
from secretstore import entries
from secretstore.pin import GivenPin, Pin
from secretstore.reservation import Reservation, SealedSecret
from secretstore.succession import Succession

if TYPE_CHECKING:
    from executor.remote.server import Server


def set_(server: "Server", asked: NewSecret) -> SetSecret:
    """As `secrets.set_`."""
    values, judged = sealer.judged(asked)  # before an environment is made for it
    made = ensure(server, asked.places()) if asked.create_environments else ()

    def store(reservation: Reservation, sealed: tuple[SealedSecret, ...]) -> StoredSealed:
        return _sent(
            server,
            "secrets.store_sealed",
            SealedValues(
                project=asked.project,
                environments=asked.environments,
                reservation=reservation.id,
                secrets=sealed,
                confirmed=asked.confirmed,
            ),
        )

    stored = _sealed(server, asked.project, values, asked.pins, store)
    found = [
        told
        for name in asked.environments
        for told in misfits(_there(server, asked.project, name).connections, {asked.name: asked.value})
    ]
    return SetSecret(
        secrets=stored.secrets,
        created_environments=made,
        value_notes=tuple(judged.notes),
        name_notes=stored.name_notes,
        misfits=tuple(dict.fromkeys(found)),
    )


def carry_out(server: "Server", planned: Plan) -> ImportPlan:
    """As `importing.carry_out`."""
    project, environments = planned.shown.project, (planned.shown.environment,)
    variables = tuple(one for one in planned.to_store if isinstance(one, entries.NewVariable))
    values = [one for one in planned.to_store if isinstance(one, entries.NewSecret)]

    def store(reservation: Reservation | None, sealed: tuple[SealedSecret, ...]) -> StoredSealed:
        kept = None if reservation is None else reservation.id
        asked = SealedImport(
            project=project, environments=environments, reservation=kept, secrets=sealed, variables=variables
        )
        return _sent(server, "importing.store_sealed", asked)

    if values:
        _sealed(server, project, values, planned.pins, store)
    elif variables:
        store(None, ())
    return planned.shown


def ensure(server: "Server", asked: InEnvironments) -> tuple[str, ...]:
    """As `environments.ensure`."""
    places = [InEnvironment(project=asked.project, environment=name) for name in asked.environments]
    made: list[CreatedEnvironment] = [routed.ask(server, "environments.create", place) for place in places]
    return tuple(place.environment for place, one in zip(places, made, strict=True) if one.created)


def trust(server: "Server", asked: KeyTrust) -> Trusted:
    """As `keys.trust`: what is remembered is remembered here."""
    place = InEnvironment(project=asked.project, environment=asked.environment)
    offered: Succession = routed.ask(server, "keys.succession", place)
    before = server.pins.known(asked.project, asked.environment)
    now = server.pins.trust(asked.project, asked.environment, offered, asked.fingerprint)
    changed = _known(before) if before is not None and before != now else None
    return Trusted(project=asked.project, environment=asked.environment, now=_known(now), before=changed)


def _sealed(
    server: "Server",
    project: str,
    values: Sequence[entries.NewSecret],
    given: Iterable[GivenPin],
    store: Callable[[Reservation, tuple[SealedSecret, ...]], StoredSealed],
) -> StoredSealed:
    def reserve(asked: Reserving) -> Reservation:
        found: Reservation = routed.ask(server, "secrets.reserve", asked)
        return found

    return sealer.put_sealed(project, values, server.pins.also(given), reserve=reserve, store=store)


def _sent(server: "Server", name: str, asked: SealedValues | SealedImport) -> StoredSealed:
    """The one way by which bytes of a value leave, and these are sealed: no other field of it has room for any."""
    stored: StoredSealed = routed.ask(server, name, asked, sealed=asked.model_dump(mode="json"))
    return stored


def _there(server: "Server", project: str, environment: str) -> There:
    found: There = routed.ask(server, "importing.there", InEnvironment(project=project, environment=environment))
    return found


def _known(pin: Pin) -> KnownKey:
    return KnownKey(generation=pin.generation, fingerprint=pin.fingerprint)
