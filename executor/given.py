"""What an attempt is given: which secrets and by which way, and which data sources and catalogs. All of it sealed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sqlmodel import Session

from executor.errors import ConnectionNotGiven
from executor.models import Run
from executor.supervisor.connections import mapped
from secretstore import vault
from secretstore.bundle import SealedBundle
from secretstore.planned import CATALOG, SOURCE, Planned

Channel = Literal["environment", "file", "connection"]


@dataclass(frozen=True)
class Given:
    """Ciphertexts, by which way each secret reaches the run, and the connections that are filled in from them.

    The way `connection` means that a secret is opened for data sources and catalogs alone.
    """

    bundle: SealedBundle | None
    channels: Mapping[str, Channel] = field(default_factory=dict)
    plan: tuple[Planned, ...] = ()

    @classmethod
    def as_variables(cls, bundle: SealedBundle | None) -> "Given":
        """Secrets that become variables, all of them, and nothing else."""
        return cls(bundle, {item.name: "environment" for item in bundle.items} if bundle is not None else {})

    @property
    def opens(self) -> bool:
        """Whether there is anything to open."""
        return self.bundle is not None and bool(self.bundle.items)

    @property
    def roles(self) -> tuple[Planned, ...]:
        """The sources whose long-lived credentials are exchanged for short-lived ones before the run has any."""
        return tuple(one for one in self.plan if one.assumes_role and one.refused is None)

    @property
    def withheld(self) -> list[str]:
        """Secrets that go no further than the process that makes those exchanges."""
        elsewhere = {name for one in self.plan if one not in self.roles for name in one.secrets()}
        return sorted(
            name
            for name, channel in self.channels.items()
            if channel == "connection" and name not in elsewhere and any(name in one.secrets() for one in self.roles)
        )


def read_given(session: Session, run: Run) -> Given:
    """What a run is given now, read in the caller's transaction.

    A connection that lacks a secret is refused in the plan, and left out of the run: one half-made data source is no
    reason for every other run of its environment to fail.

    Raises:
        ConnectionNotGiven: one that the run asks for by name cannot be given.
        SecretStoreError: a secret that it asks for is not there, or was never sealed.
    """
    plan = _chosen(run, vault.connection_plan(session, run.environment_id))
    needed = {name for one in plan for name in one.secrets()}
    if run.secret_names == [] and not needed:
        _insist_on_mapped(run, plan)
        return Given(None, {}, tuple(plan))
    bundle = vault.sealed_bundle(session, run.environment_id, run.secret_names, beside=needed)
    exchanged = {name for one in plan if one.assumes_role for name in one.secrets()}
    apart = {*(run.setup_secret_names or ()), *exchanged}
    channels: dict[str, Channel] = {}
    for item in bundle.items:
        # What an installer was given, or stays with the opener, the run gets only where it asks for it by name.
        if item.name in run.secret_names if run.secret_names is not None else item.name not in apart:
            channels[item.name] = "file" if item.as_file else "environment"
        elif item.name in needed:
            channels[item.name] = "connection"
    bundle = replace(bundle, items=tuple(item for item in bundle.items if item.name in channels))
    there = {item.name for item in bundle.items}
    plan = [_refused_without(one, there, bundle) for one in plan]
    _insist_on_mapped(run, plan)
    return Given(bundle, channels, tuple(plan))


def _chosen(run: Run, plan: Sequence[Planned]) -> list[Planned]:
    """All of them; or those that a parameter is, with the sources that these are built on.

    Where a run is given no secrets, that leaves it those beside that need none.
    """
    if run.connections and run.secret_names != []:
        return list(plan)
    asked = set(mapped(run.target).values())
    asked |= {f"{SOURCE}/{one.settings.get('source')}" for one in plan if one.role == CATALOG and one.key in asked}
    return [one for one in plan if one.key in asked or (run.connections and not one.secrets())]


def _refused_without(one: Planned, there: set[str], bundle: SealedBundle) -> Planned:
    if one.refused is not None:
        return one
    for reference in one.references():
        if reference.secret not in there and not reference.optional:
            place = f"{bundle.project} ({bundle.environment})"
            said = f"its {reference.place} is the secret {reference.secret}, which {place} does not have"
            return replace(one, refused=said)
    return one


def _insist_on_mapped(run: Run, plan: Sequence[Planned]) -> None:
    found = {one.key: one for one in plan}
    for parameter, key in mapped(run.target).items():
        role, _, name = key.partition("/")
        why = found[key].refused if key in found else "there is none of this name any more"
        if why is not None:
            raise ConnectionNotGiven(connection=f"{role} {name}", parameter=parameter, why=why)
