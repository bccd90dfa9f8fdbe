"""Bringing in a file of names and values. Who imports sees what would change before anything is written."""

from executor.explain import import_plan
from executor.explain.import_plan import Plan
from executor.operations.deployment import Deployment
from executor.schemas.importing import Import, ImportPlan, KnownSecret, There
from executor.schemas.places import InEnvironment
from executor.schemas.sealing import SealedImport, StoredSealed
from secretstore import vault
from secretstore.audit import Actor
from secretstore.views import SecretView, VariableView


def there(at: Deployment, who: Actor, asked: InEnvironment) -> There:
    """What an environment has that an import is compared with: no value of a secret.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    place = vault.get_environment(at.db, asked.project, asked.environment)
    secrets = vault.summarize_secrets(at.db, asked.project, asked.environment)
    with at.db.reading() as session:
        connections = vault.connection_plan(session, place.id)
    return There(
        secrets={one.name: KnownSecret(one.last_version, one.expires_at) for one in secrets},
        variables={one.name: one.value for one in vault.list_variables(at.db, asked.project, asked.environment)},
        connections=tuple(connections),
    )


def plan(at: Deployment, who: Actor, asked: Import) -> Plan:
    """Sort what was read, and compare it with what an environment has. Nothing is written.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    return import_plan.plan(asked, there(at, who, InEnvironment(project=asked.project, environment=asked.environment)))


def carry_out(at: Deployment, who: Actor, planned: Plan) -> ImportPlan:
    """Store what a plan has, all of it or nothing.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place any more.
        KeyChanged: the environment's key pair is not the one known to who asks.
    """
    vault.store(at.db, planned.shown.project, planned.to_store, actor=who, pins=at.pins.also(planned.pins))
    return planned.shown


def store_sealed(at: Deployment, who: Actor, asked: SealedImport) -> StoredSealed:
    """Store a file's secrets, which were sealed for a reservation, and its variables: all of it, or nothing.

    It takes what setting a variable takes, as these are set with it.

    Raises:
        SealingOvertaken: what was reserved no longer holds; reserve and seal again.
        SealedRefused: something cannot be what was to be sealed.
        NameRefused, ValueRefused: a name, a variable's value or what is said of a secret's breaks a rule.
        UnknownProject, UnknownEnvironment: there is no such place any more.
    """
    asked.require_within()
    if asked.secrets:
        stored = vault.store_sealed(at.db, asked.project, asked.reservation or "", asked.entries(), actor=who)
    else:
        stored = vault.store(at.db, asked.project, asked.variables, actor=who, pins=None)
    return StoredSealed(
        secrets=tuple(view for view in stored if isinstance(view, SecretView)),
        variables=tuple(view for view in stored if isinstance(view, VariableView)),
    )
