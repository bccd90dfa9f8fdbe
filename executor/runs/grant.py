"""What an attempt is given: which secrets and by which way, and which data sources and catalogs. All of it sealed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from executor.boundary import plans
from executor.errors import ConnectionNotGiven
from executor.models import Run
from secretstore import vault
from secretstore.bundle import SealedBundle
from secretstore.key_service import KeyAccess
from secretstore.run_connection import CATALOG, SOURCE, RunConnection
from secretstore.transaction import Reader

Channel = Literal["environment", "file", "connection"]


@dataclass(frozen=True)
class Given:
    """Ciphertexts, by which way each secret reaches the run, and the connections that are filled in from them.

    The way `connection` means that a secret is opened for data sources and catalogs alone.
    """

    bundle: SealedBundle | None
    channels: Mapping[str, Channel] = field(default_factory=dict)
    plan: tuple[RunConnection, ...] = ()
    newer: tuple[str, ...] = ()
    """Secrets that are left out, as they were not there when the run was accepted."""

    @classmethod
    def as_variables(cls, bundle: SealedBundle | None) -> "Given":
        """Secrets that become variables, all of them, and nothing else."""
        return cls(bundle, {item.name: "environment" for item in bundle.items} if bundle is not None else {})

    @property
    def opens(self) -> bool:
        """Whether there is anything to open."""
        return self.bundle is not None and bool(self.bundle.items)

    @property
    def roles(self) -> tuple[RunConnection, ...]:
        """The sources whose long-lived credentials are exchanged for short-lived ones before the run has any."""
        return tuple(one for one in self.plan if one.assumes_role and one.refused is None)

    @property
    def withheld(self) -> list[str]:
        """Secrets that go no further than the process that makes those exchanges."""
        elsewhere = _needed(one for one in self.plan if not one.assumes_role)
        return sorted(
            name
            for name, channel in self.channels.items()
            if channel == "connection" and name not in elsewhere and any(name in one.secrets() for one in self.roles)
        )

    def opening(self, access: KeyAccess, run: Run) -> dict[str, Any]:
        """What the opener is asked for, where there is something to open."""
        assert self.bundle is not None
        roles = {"plan": [one.to_json() for one in self.roles], "timeout": run.timeout, "run": run.id}
        return {
            "access": access.to_json(),
            "bundle": self.bundle.to_json(),
            "roles": roles if self.roles else None,
            "withheld": self.withheld,
        }


@dataclass(frozen=True)
class Asked:
    """What a run asks for of all that its environment has; None for `secrets` is all of them.

    `mapped` says which sources and catalogs its parameters are. What an installer is given is in `setup_secrets`.
    """

    mapped: Mapping[str, str] = field(default_factory=dict)
    secrets: Collection[str] | None = None
    setup_secrets: Collection[str] = ()
    connections: bool = True

    @classmethod
    def by(cls, run: Run) -> "Asked":
        """By a run."""
        return cls(run.mapped, run.secret_names, run.setup_secret_names or (), run.connections)


@dataclass(frozen=True)
class Pinned:
    """What a signed plan says was there when its run was accepted.

    `secrets` are those of a run that takes all; None where it names its own.
    """

    connections: Mapping[str, str]
    secrets: Collection[str] | None = None


def read_given(session: Reader, run: Run, pins: Pinned | None = None) -> Given:
    """What a run is given now, read in the caller's transaction, where it waits once if the run takes all secrets.

    `pins` are what its signed plan says.

    A connection that lacks a secret is refused in the plan, and left out of the run: one half-made data source is no
    reason for every other run of its environment to fail.

    Raises:
        ConnectionNotGiven: one that the run asks for by name cannot be given.
        PlanRefused: one is not as it was when the run was accepted.
        SecretStoreError: a secret that it asks for is not there, or was never sealed.
    """
    asked = Asked.by(run)
    connections = vault.ask_connections(session, run.environment_id)
    all_secrets = vault.ask_sealed(session, run.environment_id, None) if run.secret_names is None else None
    everything = connections()
    plan = chosen(asked, everything)
    if pins is not None:
        plan = plans.held(pins.connections, plan)
    needed = _needed(plan)
    if run.secret_names == [] and not needed:
        _insist_on_mapped(asked, plan)
        return Given(None, {}, tuple(plan))
    if all_secrets is not None:
        bundle = all_secrets()
    else:
        bundle = vault.sealed_bundle(session, run.environment_id, run.secret_names, beside=needed)
    there = {item.name: item.as_file for item in bundle.items}
    plan = with_refusals(plan, there, f"{bundle.project} ({bundle.environment})")
    channels = channels_of(asked, plan, there, exchanged(everything))
    newer: tuple[str, ...] = ()
    if pins is not None and pins.secrets is not None:
        newer, channels = _of_then(channels, pins.secrets, _needed(plan))
    bundle = replace(bundle, items=tuple(item for item in bundle.items if item.name in channels))
    _insist_on_mapped(asked, plan)
    return Given(bundle, channels, tuple(plan), newer)


def _of_then(
    channels: Mapping[str, Channel], then: Collection[str], needed: Collection[str]
) -> tuple[tuple[str, ...], dict[str, Channel]]:
    """Which of all secrets were not there then, and the ways of the others; a connection has what it names."""
    newer = {name for name, channel in channels.items() if channel != "connection" and name not in then}
    ways: dict[str, Channel] = {name: "connection" if name in newer else channel for name, channel in channels.items()}
    left_out = tuple(sorted(newer - set(needed)))
    return left_out, {name: channel for name, channel in ways.items() if name not in left_out}


def chosen(asked: Asked, plan: Sequence[RunConnection]) -> list[RunConnection]:
    """All of them; or those that a parameter is, with the sources that these are built on.

    Where a run is given no secrets, that leaves it those beside that need none.
    """
    if asked.connections and (asked.secrets is None or asked.secrets):
        return list(plan)
    keys = set(asked.mapped.values())
    keys |= {_source_of(one) for one in plan if one.key in keys}
    with_secrets = {one.key for one in plan if one.secrets()}
    return [
        one
        for one in plan
        if one.key in keys or (asked.connections and with_secrets.isdisjoint((one.key, _source_of(one))))
    ]


def _source_of(one: RunConnection) -> str:
    return f"{SOURCE}/{one.settings.get('source')}" if one.role == CATALOG else one.key


def exchanged(everything: Iterable[RunConnection]) -> set[str]:
    """The secrets that roles are assumed with, of all sources of an environment.

    A run that is not given such a source, or that source as it stands, is not given what it would have exchanged.
    """
    return {name for one in everything if one.assumes_role for name in one.secrets()}


def channels_of(
    asked: Asked, plan: Sequence[RunConnection], secrets: Mapping[str, bool], exchanged: Collection[str]
) -> dict[str, Channel]:
    """By which way each secret reaches the run; one that is not in it is not opened.

    Args:
        asked: what the run asks for.
        plan: the connections chosen.
        secrets: the secrets that are there, each with whether it is a file.
        exchanged: see `exchanged`.
    """
    needed = _needed(plan)
    apart = {*asked.setup_secrets, *exchanged}
    channels: dict[str, Channel] = {}
    for name, as_file in secrets.items():
        # What an installer was given, or stays with the opener, the run gets only where it asks for it by name.
        if name in asked.secrets if asked.secrets is not None else name not in apart:
            channels[name] = "file" if as_file else "environment"
        elif name in needed:
            channels[name] = "connection"
    return channels


def _needed(plan: Iterable[RunConnection]) -> set[str]:
    """What is opened for these connections; for one that cannot be given, nothing."""
    return {name for one in plan if one.refused is None for name in one.secrets()}


def with_refusals(plan: Sequence[RunConnection], there: Collection[str], place: str) -> list[RunConnection]:
    """The plan; what needs a secret that is not there is refused, with the name of the place that lacks it."""
    return [_refused_without(one, there, place) for one in plan]


def _refused_without(one: RunConnection, there: Collection[str], place: str) -> RunConnection:
    if one.refused is not None:
        return one
    for reference in one.references():
        if reference.secret not in there and not reference.optional:
            said = f"its {reference.place} is the secret {reference.secret}, which {place} does not have"
            return replace(one, refused=said)
    return one


def _insist_on_mapped(asked: Asked, plan: Sequence[RunConnection]) -> None:
    found = {one.key: one for one in plan}
    for parameter, key in asked.mapped.items():
        role, _, name = key.partition("/")
        why = found[key].refused if key in found else "there is none of this name any more"
        if why is not None:
            raise ConnectionNotGiven(
                parameter=parameter,
                why=f"{role} {name}: {why}",
                hint="sealrun doctor says what is missing",
            )
