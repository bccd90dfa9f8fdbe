"""What a run would find in its environment, worked out from names and sealed sizes alone: nothing is opened for it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from executor.errors import ConnectionNotGiven
from executor.foretelling import Bounds, Foretold, foretell
from executor.given import Asked, Given, channels_of, chosen, exchanged, with_refusals
from executor.precedence import Precedence, precedence
from executor.source import search_path_of
from executor.supervisor.connections import mapped
from executor.supervisor.environment import (
    STRING_LIMIT,
    TOTAL_LIMIT,
    base_environment,
    file_names,
    name_refusals,
    second_names,
    size_refusals,
    string_size,
    total_size,
)
from secretstore import vault
from secretstore.database import Database, utc_now
from secretstore.errors import SealBroken, SealrunError
from secretstore.naming import alias_for, shell_note
from secretstore.planned import Planned
from secretstore.sealing import length_bounds
from secretstore.vault import Outline

_PATH_MAX = 4096  # bytes of a path, its end included: where a run's folders will be, a worker decides
_RUN_ID = "0" * 32
_EVERYTHING = Asked()
NOT_ASKED_FOR = "not asked for"
_FOLDERS = ("HOME", "TMPDIR", "SEALRUN_OUTPUT_DIR", "SEALRUN_METRICS")


@dataclass(frozen=True)
class Seen:
    """A name that a run would see.

    `origin` is `sealrun`, the environment, `--env-file` or `--env`; of an alias, the secret it stands for; of a
    connection, which one: `source lake`. `over` are the origins whose value of this name is not the one.
    `bytes_at_most` bounds `NAME=value`; a secret's size is known up to its padding. What is a `file` is given as one:
    the variable is its path. `perhaps` it is there: where the secret has a field that it need not have.
    """

    name: str
    kind: Literal["sealrun", "variable", "secret", "alias", "connection"]
    origin: str
    bytes_at_most: int
    over: tuple[str, ...] = ()
    version: int | None = None
    maskable: bool | None = None
    expires_at: datetime | None = None
    expired: bool = False
    alias: str | None = None
    no_alias: str | None = None
    file: str | None = None
    perhaps: bool = False


@dataclass(frozen=True)
class SeenConnection:
    """A data source or catalog of the environment, the parameters that are it, and why a run would be without it."""

    role: str
    name: str
    kind: str
    secrets: tuple[str, ...]
    assumes_role: bool
    parameters: tuple[str, ...]
    left_out: str | None

    @property
    def label(self) -> str:
        """As it is called on screen: `source lake`."""
        return f"{self.role} {self.name}"


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
    precedence: tuple[Precedence, ...]
    bytes_at_most: int
    refusals: tuple[SealrunError, ...]
    notes: tuple[str, ...]


def preview(
    db: Database,
    project: str,
    environment: str,
    *,
    python: str | None,
    layers: Sequence[tuple[str, Mapping[str, str]]] = (),
    asked: Asked = _EVERYTHING,
) -> Preview:
    """Put a run's environment together as the supervisor will, with bounds in the place of values.

    Args:
        db: the database.
        project: the project's name.
        environment: the environment's.
        python: the run's interpreter, whose folder is on its PATH.
        layers: plain variables of the submission with their origins, a later layer over an earlier one.
        asked: the secrets and connections chosen; a name that is not there is left to who looked it up.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    known = {secret.name: secret for secret in vault.outline(db, project, environment)}
    all_plan = _plan(db, project, environment)
    plan = chosen(asked, all_plan)
    plan = with_refusals(plan, known, f"{project} ({environment})")
    as_files = {name: secret.as_file for name, secret in known.items()}
    channels = channels_of(asked, plan, as_files, exchanged(all_plan))
    given = {name: secret for name, secret in known.items() if channels.get(name) in ("environment", "file")}
    own = {variable.name: variable.value for variable in vault.list_variables(db, project, environment)}
    variables = _layered([(environment, own), *layers])
    values = {name: value for name, (value, _, _) in variables.items()}
    base = _base(project, environment, python)
    also = second_names(base, variables, given)
    taken = {*base, *variables, *given, *also.values()}
    brought = foretell(plan, {name: _bounds(known[name]) for name in channels}, taken, _PATH_MAX - 1)
    names = [Seen(name, "sealrun", "sealrun", string_size(name, most)) for name, (_, most) in base.items()]
    for name, (value, origin, over) in variables.items():
        names.append(Seen(name, "variable", origin, string_size(name, len(value.encode())), over))
    names += _of_secrets(environment, given, also, {*variables, *base})
    names += _of_connections(brought)
    sizes = {**_sizes(base, variables, given, also), **brought.sizes}
    fewest = {name: least for name, (least, _) in sizes.items() if name not in brought.perhaps}
    largest = {name: most for name, (_, most) in sizes.items()}
    refusals: list[SealrunError] = list(name_refusals(variables, given))
    refusals += [
        SealBroken(
            'secret "{name}" of {project}/{environment} has no value sealed under the current key pair',
            name=name,
            project=project,
            environment=environment,
            hint=f"set it again: sealrun secret set {name} -p {project} -e {environment}",
        )
        for name in channels
        if known[name].sealed_bytes is None
    ]
    refusals += size_refusals(fewest)
    refusals += [
        ConnectionNotGiven(parameter=parameter, why=brought.left_out[key])
        for parameter, key in mapped(asked.target).items()
        if key in brought.left_out
    ]
    withheld = Given(None, channels, tuple(plan)).withheld
    return Preview(
        names=tuple(names),
        left_out=tuple(name for name in known if name not in channels),
        for_connections=tuple(name for name in known if channels.get(name) == "connection" and name not in withheld),
        with_opener=tuple(withheld),
        connections=tuple(_seen(asked, one, plan, brought) for one in all_plan),
        precedence=tuple(precedence(plan, brought, taken - base.keys(), values)),
        bytes_at_most=total_size(largest),
        refusals=tuple(refusals),
        notes=(*_doubts(fewest, largest), *brought.notes),
    )


def _plan(db: Database, project: str, environment: str) -> list[Planned]:
    place = vault.get_environment(db, project, environment)
    with db.reading() as session:
        return vault.connection_plan(session, place.id)


def _of_secrets(
    environment: str, given: Mapping[str, Outline], also: Mapping[str, str], elsewhere: Collection[str]
) -> Iterator[Seen]:
    now = utc_now()
    files = file_names([name for name, secret in given.items() if secret.as_file])
    for name, secret in given.items():
        _, most = _given_as(secret)
        yield Seen(
            name,
            "secret",
            environment,
            string_size(name, most),
            version=secret.version,
            maskable=secret.maskable,
            expires_at=secret.expires_at,
            expired=secret.expires_at is not None and secret.expires_at <= now,
            alias=also.get(name),
            no_alias=None if name in also else _no_alias(name, given, elsewhere),
            file=files.get(name),
        )
        if name in also:
            yield Seen(also[name], "alias", name, string_size(also[name], most), file=files.get(name))


def _of_connections(brought: Foretold) -> Iterator[Seen]:
    for name, (_, most) in brought.sizes.items():
        yield Seen(
            name,
            "connection",
            ", ".join(brought.origins[name]),
            string_size(name, most),
            file=brought.in_files.get(name),
            perhaps=name in brought.perhaps,
        )


def _seen(asked: Asked, one: Planned, plan: Sequence[Planned], brought: Foretold) -> SeenConnection:
    parameters = tuple(parameter for parameter, key in mapped(asked.target).items() if key == one.key)
    why = brought.left_out.get(one.key) if any(one.key == other.key for other in plan) else NOT_ASKED_FOR
    return SeenConnection(one.role, one.name, one.kind, tuple(sorted(one.secrets())), one.assumes_role, parameters, why)


_Layered = dict[str, tuple[str, str, tuple[str, ...]]]


def _layered(layers: Sequence[tuple[str, Mapping[str, str]]]) -> _Layered:
    """Each variable's value, its origin, and the origins it stands over, the nearest first."""
    found: _Layered = {}
    for origin, pairs in layers:
        for name, value in pairs.items():
            under = found.get(name)
            found[name] = (value, origin, (under[1], *under[2]) if under else ())
    return found


def _base(project: str, environment: str, python: str | None) -> dict[str, Bounds]:
    folder = "/"
    base = base_environment(
        home=folder,
        temporary=folder,
        output=folder,
        run_id=_RUN_ID,
        project=project,
        environment=environment,
        search_path=search_path_of(None if python is None else Path(python)),
    )
    return {
        name: (len(folder), _PATH_MAX - 1) if name in _FOLDERS else (len(value.encode()),) * 2
        for name, value in base.items()
    }


def _bounds(secret: Outline) -> Bounds:
    """The fewest and most bytes of a secret's value; `set` takes none that is too long for its name."""
    if secret.sealed_bytes is None:
        return 0, 0
    least, most = length_bounds(secret.sealed_bytes)
    return least, max(min(most, STRING_LIMIT - string_size(secret.name, 0)), least)


def _given_as(secret: Outline) -> Bounds:
    """Of the variable: the value, or the path where that is."""
    return (1, _PATH_MAX - 1) if secret.as_file else _bounds(secret)


def _sizes(
    base: Mapping[str, Bounds], variables: _Layered, given: Mapping[str, Outline], also: Mapping[str, str]
) -> dict[str, Bounds]:
    sizes = {name: (len(value.encode()),) * 2 for name, (value, _, _) in variables.items()} | dict(base)
    for name, secret in given.items():
        sizes[name] = _given_as(secret)
        if name in also:
            sizes[also[name]] = sizes[name]
    return sizes


def _doubts(least: Mapping[str, int], most: Mapping[str, int]) -> Iterator[str]:
    """What may be too large, and may not: the padding of sealed values hides it."""
    for name, size in most.items():
        if string_size(name, size) > STRING_LIMIT >= string_size(name, least[name]):
            bound = f"at most {string_size(name, size):,} bytes of {STRING_LIMIT:,}"
            yield f"{name} may be larger than the kernel passes: {bound}"
    if total_size(most) > TOTAL_LIMIT >= total_size(least):
        yield (
            f"the environment may be larger than the kernel passes: {total_size(least):,} to {total_size(most):,} bytes"
            f" of {TOTAL_LIMIT:,}"
        )


def _no_alias(name: str, given: Mapping[str, Outline], elsewhere: Collection[str]) -> str | None:
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
