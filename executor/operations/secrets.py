"""Secrets: stored, listed by name, with their versions and who was given them, rolled back, deleted. None comes out."""

from collections.abc import Sequence
from typing import Any

from executor import sealer
from executor.explain.fit import misfits
from executor.jobs import claims, reading
from executor.keys import renaming
from executor.operations import environments
from executor.operations.deployment import Deployment
from executor.people.principal import KnownActor
from executor.people.sight import Sight
from executor.records import secret_seen, secret_uses
from executor.records.secret_seen import Seen
from executor.records.secret_uses import Uses
from executor.schemas.confirming import require_confirmed
from executor.schemas.jobs import JobView
from executor.schemas.paging import Part
from executor.schemas.places import Deleted, InProject, Named
from executor.schemas.sealing import Reserving, SealedValues, StoredSealed
from executor.schemas.secrets import (
    DueBefore,
    DueSecrets,
    ListedSecret,
    NewSecret,
    RenamedSecret,
    Rollback,
    SecretDeletion,
    SecretRename,
    SetSecret,
    VersionNamed,
    VersionRuns,
    VersionUse,
)
from secretstore import vault
from secretstore.audit import Actor
from secretstore.naming import alias_for, aliases, check_secret_name, shell_note
from secretstore.reservation import Reservation
from secretstore.views import SecretView


def set_(at: Deployment, who: Actor, asked: NewSecret) -> SetSecret:
    """Seal a value and store it as the secret's next version in each of the environments, or in none.

    Raises:
        NameRefused, ValueRefused: it cannot be a secret.
        NeedsYes: installers act on its name, and nobody confirmed it.
        UnknownProject, UnknownEnvironment: there is no such place, and none was to be made.
        KeyChanged: an environment's key pair is not the one known to who asks.
    """
    entries, judged = sealer.judged(asked)  # before an environment is made for it
    made = environments.ensure(at, who, asked.places()) if asked.create_environments else ()
    stored = vault.store(at.db, asked.project, entries, actor=who, pins=at.pins.also(asked.pins))
    return SetSecret(
        secrets=tuple(view for view in stored if isinstance(view, SecretView)),
        created_environments=made,
        value_notes=tuple(judged.notes),
        name_notes=_notes_on_names(at, asked.project, asked.environments, (asked.name,)),
        misfits=misfits(at.db, asked.project, asked.environments, {asked.name: asked.value}),
    )


def reserve(at: Deployment, who: Actor, asked: Reserving) -> Reservation:
    """Tell what values may be sealed for by whoever has them: ids, next versions, key pairs. It locks nothing.

    Raises:
        NameRefused: no secret can have one of the names, or a variable has it.
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    return vault.reserve(at.db, asked.project, asked.environments, asked.names, actor=who)


def store_sealed(at: Deployment, who: Actor, asked: SealedValues) -> StoredSealed:
    """Store values that were sealed for a reservation: all of it, or nothing.

    Raises:
        SealingOvertaken: what was reserved no longer holds; reserve and seal again.
        SealedRefused: something cannot be what was to be sealed.
        NameRefused, ValueRefused: a name, an expiry or what is said of a value breaks a rule.
        NeedsYes: installers act on a name, and nobody confirmed it.
        UnknownProject, UnknownEnvironment: there is no such place any more.
    """
    asked.require_within()
    for secret in asked.secrets:
        require_confirmed(secret.name, asked.confirmed)
    stored = vault.store_sealed(at.db, asked.project, asked.reservation, asked.secrets, actor=who)
    names = tuple(dict.fromkeys(secret.name for secret in asked.secrets))
    return StoredSealed(
        secrets=tuple(view for view in stored if isinstance(view, SecretView)),
        name_notes=_notes_on_names(at, asked.project, asked.environments, names),
    )


def list_(at: Deployment, who: Actor, asked: InProject, *, part: Part | None = None) -> tuple[ListedSecret, ...]:
    """The secrets of an environment, or of all of a project's, when each was last given to a run, or given out by one.

    Of environments that who asks may not see there are none.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    project_id = vault.get_project(at.db, asked.project).id
    of = part or Part(0)
    only = who.principal.environments("see", project_id) if isinstance(who, KnownActor) else None
    place = asked.project, asked.environment
    found = vault.list_secrets(at.db, *place, only=only, after=of.after, most=of.most or None)
    ids = None if part is None else [secret.id for secret in found]
    used, seen = secret_uses.last_used(at.db, project_id, ids), secret_seen.last_seen(at.db, project_id, ids)
    return tuple(
        ListedSecret(**vars(secret), last_used_at=used.get(secret.id), **_given_out(seen.get(secret.id)))
        for secret in found
    )


def history(at: Deployment, who: Actor, asked: Named) -> tuple[VersionUse, ...]:
    """A secret's versions, the newest first, and how many runs were given each; last those that receipts alone know.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownSecret: there is none of this name.
    """
    place = asked.project, asked.environment, asked.name
    versions = vault.history(at.db, *place)
    uses = secret_uses.versions_used(at.db, vault.secret_id(at.db, *place))
    kept = [VersionUse(**vars(version), kept=True, **_used(uses.pop(version.version, None))) for version in versions]
    gone = [VersionUse(version=number, **_used(uses[number])) for number in sorted(uses, reverse=True)]
    return (*kept, *gone)


def runs_given(at: Deployment, who: Actor, asked: VersionNamed) -> VersionRuns:
    """The runs that were given a version of a secret, the latest first. Receipts outlive versions and runs.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownSecret: there is none of this name.
    """
    place = asked.project, asked.environment, asked.name
    kept = any(version.version == asked.version for version in vault.history(at.db, *place))
    given = secret_uses.runs_given(at.db, vault.secret_id(at.db, *place), asked.version, asked.limit)
    return VersionRuns(name=asked.name, version=asked.version, kept=kept, runs=tuple(given))


def rollback(at: Deployment, who: Actor, asked: Rollback) -> SecretView:
    """Make an earlier version the current one again. Runs that have begun keep what they were given.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownSecret: there is none of this name.
        RollbackRefused: the version is not kept, or is the current one.
    """
    return vault.rollback(at.db, asked.project, asked.environment, asked.name, to=asked.to, actor=who)


def require_renamable(at: Deployment, who: Actor, asked: SecretRename) -> None:
    """Check that `rename` would not refuse, before anything is opened for it.

    Raises:
        NameRefused, NeedsYes, UnknownProject, UnknownEnvironment, UnknownSecret, AlreadyExists, InUse: as `rename`.
    """
    check_secret_name(asked.new)
    asked.require_confirmed()
    place = asked.project, asked.environment
    vault.require_renamable(at.db, *place, asked.name, asked.new, force=asked.force)


def rename(at: Deployment, who: Actor, asked: SecretRename) -> RenamedSecret:
    """Give a secret another name. Its versions, its history, its uses and its receipts go on.

    Raises:
        NameRefused: the new name breaks the rule for secrets.
        NeedsYes: installers act on the new name, and nobody confirmed it.
        UnknownProject, UnknownEnvironment, UnknownSecret: there is none of this name.
        AlreadyExists: a secret or a variable has the new name.
        InUse: a source or catalog names it, without `force`.
        KeyOperationFailed: the key service does not unwrap here.
        VersionsBroken: a version does not open; nothing was renamed.
    """
    require_renamable(at, who, asked)
    place = asked.project, asked.environment
    return renaming.rename(at.settings, at.db, *place, asked.name, asked.new, actor=who, force=asked.force)


def submit_rename(at: Deployment, who: Actor, asked: SecretRename) -> JobView:
    """Have a worker do what `rename` does: its id and state, and what it waits for if no live worker could do it.

    Raises:
        NameRefused, NeedsYes, UnknownProject, UnknownEnvironment, UnknownSecret, AlreadyExists, InUse: as `rename`.
    """
    require_renamable(at, who, asked)
    environment = vault.get_environment(at.db, asked.project, asked.environment)
    secret = vault.secret_id(at.db, asked.project, asked.environment, asked.name)
    wanted = {"secret_id": secret, "name": asked.name, "new": asked.new, "force": asked.force}
    job = claims.submit(at.db, "rename", environment, wanted, actor=who, key=at.signing_key)
    return reading.show(at.db, asked.project, job)


def require_deletable(at: Deployment, who: Actor, asked: SecretDeletion) -> None:
    """Check that `delete` would not refuse, for a door that asks before it deletes.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownSecret: there is none of this name.
        InUse: a source or catalog names it, without `force`.
    """
    place = asked.project, asked.environment
    vault.secret_id(at.db, *place, asked.name)
    if not asked.force:
        vault.require_unnamed(at.db, *place, "secret", asked.name)


def delete(at: Deployment, who: Actor, asked: SecretDeletion) -> Deleted:
    """Delete a secret with all its versions, for good.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownSecret: there is none of this name.
        InUse: a source or catalog names it, without `force`.
    """
    vault.delete_secret(at.db, asked.project, asked.environment, asked.name, actor=who, force=asked.force)
    return Deleted(deleted="secret", project=asked.project, environment=asked.environment, name=asked.name)


def due(at: Deployment, who: Actor, asked: DueBefore) -> DueSecrets:
    """The secrets of all projects, as far as who asks sees them, that have expired or do so before a moment."""
    within = Sight.of(who, "see").of_secrets
    found, count = vault.due_secrets(at.db, asked.before, asked.limit, within)
    return DueSecrets(secrets=tuple(found), count=count)


def _used(uses: Uses | None) -> dict[str, Any]:
    return {} if uses is None else {"runs": uses.runs, "last_run": uses.last_run, "last_given_at": uses.last_given_at}


def _given_out(seen: Seen | None) -> dict[str, Any]:
    return {} if seen is None else {"seen": seen.last, "rotate": seen.rotate}


def _notes_on_names(at: Deployment, project: str, environments: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    notes = [_note_on_name(at, project, environment, name) for environment in environments for name in names]
    return tuple(dict.fromkeys(filter(None, notes)))


def _note_on_name(at: Deployment, project: str, environment: str, name: str) -> str | None:
    alias = alias_for(name)
    if alias and name not in aliases(vault.secrets_like(at.db, project, environment, name)):
        return f'"{name}" is no name of a shell variable, and gets no alias: another name would have {alias} too'
    return shell_note(name)
