"""What a run would find in its environment, worked out from names alone: nothing is opened for it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from executor.environment.variables import base_environment, file_names, name_refusals, second_names
from executor.errors import ConnectionNotGiven
from executor.explain.connections import Foretold, foretell
from executor.runs.grant import Asked, Given, channels_of, chosen, exchanged, with_refusals
from executor.schemas.explanation import NOT_ASKED_FOR, Seen, SeenConnection
from secretstore import vault
from secretstore.database import Database, utc_now
from secretstore.errors import SealBroken, SealrunError
from secretstore.naming import alias_for, shell_note
from secretstore.run_connection import RunConnection
from secretstore.vault import SecretSummary

_EVERYTHING = Asked()


@dataclass(frozen=True)
class Preview:
    """The names a run would see, the secrets it would not be given, and what refuses it.

    `for_connections` are secrets that are opened for data sources and catalogs alone; `with_opener` those that go no
    further than the process that exchanges them for short-lived credentials.
    """

    names: tuple[Seen, ...]
    left_out: tuple[str, ...]
    for_connections: tuple[str, ...]
    with_opener: tuple[str, ...]
    connections: tuple[SeenConnection, ...]
    refusals: tuple[SealrunError, ...]
    notes: tuple[str, ...]


def preview(
    db: Database,
    project: str,
    environment: str,
    *,
    layers: Sequence[tuple[str, Mapping[str, str]]] = (),
    asked: Asked = _EVERYTHING,
) -> Preview:
    """Put a run's environment together as the supervisor will, without a value.

    Args:
        db: the database.
        project: the project's name.
        environment: the environment's.
        layers: plain variables of the submission with their origins, a later layer over an earlier one.
        asked: the secrets and connections chosen; a name that is not there is left to who looked it up.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    known = {secret.name: secret for secret in vault.summarize_secrets(db, project, environment)}
    all_plan = _plan(db, project, environment)
    plan = chosen(asked, all_plan)
    plan = with_refusals(plan, known, f"{project} ({environment})")
    as_files = {name: secret.as_file for name, secret in known.items()}
    channels = channels_of(asked, plan, as_files, exchanged(all_plan))
    given = {name: secret for name, secret in known.items() if channels.get(name) in ("environment", "file")}
    own = {variable.name: variable.value for variable in vault.list_variables(db, project, environment)}
    variables = _layered([(environment, own), *layers])
    base = _base_names(project, environment)
    also = second_names(base, variables, given)
    brought = foretell(plan, {*base, *variables, *given, *also.values()})
    names = [Seen(name, "sealrun", "sealrun") for name in base if name not in variables and name not in given]
    names += [Seen(name, "variable", origin, over) for name, (origin, over) in variables.items()]
    names += _of_secrets(environment, given, also, {*variables, *base})
    names += _of_connections(brought)
    typed = {name: value for _, pairs in layers for name, value in pairs.items()}
    refusals: list[SealrunError] = list(name_refusals(own | typed, given, typed))
    refusals += [
        SealBroken(
            'secret "{name}" of {project}/{environment} has no value sealed under the current key pair',
            name=name,
            project=project,
            environment=environment,
            hint=f"set it again: sealrun secret set {name} -p {project} -e {environment}",
        )
        for name in channels
        if not known[name].has_value
    ]
    refusals += [
        ConnectionNotGiven(parameter=parameter, why=brought.left_out[key])
        for parameter, key in asked.mapped.items()
        if key in brought.left_out
    ]
    withheld = Given(None, channels, tuple(plan)).withheld
    return Preview(
        names=tuple(names),
        left_out=tuple(name for name in known if name not in channels),
        for_connections=tuple(name for name in known if channels.get(name) == "connection" and name not in withheld),
        with_opener=tuple(withheld),
        connections=tuple(_seen(asked, one, plan, brought) for one in all_plan),
        refusals=tuple(refusals),
        notes=brought.notes,
    )


def _plan(db: Database, project: str, environment: str) -> list[RunConnection]:
    place = vault.get_environment(db, project, environment)
    with db.reading() as session:
        return vault.connection_plan(session, place.id)


def _of_secrets(
    environment: str, given: Mapping[str, SecretSummary], also: Mapping[str, str], elsewhere: Collection[str]
) -> Iterator[Seen]:
    now = utc_now()
    files = file_names([name for name, secret in given.items() if secret.as_file])
    for name, secret in given.items():
        yield Seen(
            name,
            "secret",
            environment,
            version=secret.version,
            maskable=secret.maskable,
            expires_at=secret.expires_at,
            expired=secret.expires_at is not None and secret.expires_at <= now,
            alias=also.get(name),
            no_alias=None if name in also else _no_alias(name, given, elsewhere),
            file=files.get(name),
        )
        if name in also:
            yield Seen(also[name], "alias", name, file=files.get(name))


def _of_connections(brought: Foretold) -> Iterator[Seen]:
    for name, origins in brought.origins.items():
        of = ", ".join(origins)
        yield Seen(name, "connection", of, file=brought.in_files.get(name), perhaps=name in brought.perhaps)


def _seen(asked: Asked, one: RunConnection, plan: Sequence[RunConnection], brought: Foretold) -> SeenConnection:
    parameters = tuple(parameter for parameter, key in asked.mapped.items() if key == one.key)
    why = brought.left_out.get(one.key) if any(one.key == other.key for other in plan) else NOT_ASKED_FOR
    return SeenConnection(one.role, one.name, one.kind, tuple(sorted(one.secrets())), one.assumes_role, parameters, why)


def _layered(layers: Sequence[tuple[str, Mapping[str, str]]]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Each variable's origin, and the origins it stands over, the nearest first."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for origin, pairs in layers:
        for name in pairs:
            under = found.get(name)
            found[name] = (origin, (under[0], *under[1]) if under else ())
    return found


def _base_names(project: str, environment: str) -> Collection[str]:
    return base_environment(
        home="", temporary="", output="", run_id="", project=project, environment=environment, search_path="", user=""
    )


def _no_alias(name: str, given: Mapping[str, SecretSummary], elsewhere: Collection[str]) -> str | None:
    """Why a name that shells drop is given under no other; None for a name that needs none."""
    if shell_note(name) is None:
        return None
    alias = alias_for(name)
    if alias is None:
        return "its alias would be refused"
    if alias in given or alias in elsewhere:
        return f"{alias} is taken"
    sharing = sorted(other for other in given if other != name and alias_for(other) == alias)
    return f"{alias} would be {', '.join(sharing)} too"
