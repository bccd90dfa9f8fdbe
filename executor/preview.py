"""What a run would find in its environment, worked out from names and sealed sizes alone: nothing is opened for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from executor.source import search_path_of
from executor.supervisor.environment import (
    STRING_LIMIT,
    TOTAL_LIMIT,
    base_environment,
    name_refusals,
    second_names,
    size_refusals,
    string_size,
    total_size,
)
from executor.supervisor.errors import SupervisorError
from secretstore import vault
from secretstore.database import Database, utc_now
from secretstore.errors import SealMissing, SecretStoreError
from secretstore.naming import alias_for, shell_note
from secretstore.sealing import length_bounds
from secretstore.vault import Outline

_PATH_MAX = 4096  # bytes of a path, its end included: where a run's folders will be, a worker decides
_RUN_ID = "0" * 32
_FOLDERS = ("HOME", "TMPDIR", "SEALRUN_OUTPUT_DIR", "SEALRUN_METRICS")


@dataclass(frozen=True)
class Seen:
    """A name that a run would see.

    `origin` is `sealrun`, the environment, `--env-file` or `--env`; of an alias, the secret it stands for. `over` are
    the origins whose value of this name is not the one. `bytes_at_most` bounds `NAME=value`; a secret's size is known
    up to its padding.
    """

    name: str
    kind: Literal["sealrun", "variable", "secret", "alias"]
    origin: str
    bytes_at_most: int
    over: tuple[str, ...] = ()
    version: int | None = None
    maskable: bool | None = None
    expires_at: datetime | None = None
    expired: bool = False
    alias: str | None = None
    no_alias: str | None = None


@dataclass(frozen=True)
class Preview:
    """The names a run would see, the secrets it would not be given, and what refuses it."""

    names: tuple[Seen, ...]
    left_out: tuple[str, ...]
    bytes_at_most: int
    refusals: tuple[SecretStoreError | SupervisorError, ...]
    notes: tuple[str, ...]


def preview(
    db: Database,
    project: str,
    environment: str,
    *,
    python: str | None,
    layers: Sequence[tuple[str, Mapping[str, str]]] = (),
    secrets: Sequence[str] | None = None,
) -> Preview:
    """Put a run's environment together as the supervisor will, with bounds in the place of values.

    Args:
        db: the database.
        project: the project's name.
        environment: the environment's.
        python: the run's interpreter, whose folder is on its PATH.
        layers: plain variables of the submission with their origins, a later layer over an earlier one.
        secrets: the names chosen; None for all. One that is not there is left to who looked it up.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    known = vault.outline(db, project, environment)
    chosen = None if secrets is None else set(secrets)
    given = {secret.name: secret for secret in known if chosen is None or secret.name in chosen}
    own = {variable.name: variable.value for variable in vault.list_variables(db, project, environment)}
    variables = _layered([(environment, own), *layers])
    base = _base(project, environment, python)
    also = second_names(base, variables, given)
    now = utc_now()
    names = [Seen(name, "sealrun", "sealrun", string_size(name, most)) for name, (_, most) in base.items()]
    for name, (value, origin, over) in variables.items():
        names.append(Seen(name, "variable", origin, string_size(name, len(value.encode())), over))
    for name, secret in given.items():
        _, most = _bounds(secret)
        names.append(
            Seen(
                name,
                "secret",
                environment,
                string_size(name, most),
                version=secret.version,
                maskable=secret.maskable,
                expires_at=secret.expires_at,
                expired=secret.expires_at is not None and secret.expires_at <= now,
                alias=also.get(name),
                no_alias=None if name in also else _no_alias(name, given, variables, base),
            )
        )
        if name in also:
            names.append(Seen(also[name], "alias", name, string_size(also[name], most)))
    sizes = _sizes(base, variables, given, also)
    fewest = {name: least for name, (least, _) in sizes.items()}
    largest = {name: most for name, (_, most) in sizes.items()}
    refusals: list[SecretStoreError | SupervisorError] = list(name_refusals(variables, given))
    refusals += [
        SealMissing(name=secret.name, project=project, environment=environment)
        for secret in given.values()
        if secret.sealed_bytes is None
    ]
    refusals += size_refusals(fewest)
    left_out = tuple(secret.name for secret in known if secret.name not in given)
    return Preview(tuple(names), left_out, total_size(largest), tuple(refusals), tuple(_doubts(fewest, largest)))


_Bounds = tuple[int, int]
_Layered = dict[str, tuple[str, str, tuple[str, ...]]]


def _layered(layers: Sequence[tuple[str, Mapping[str, str]]]) -> _Layered:
    """Each variable's value, its origin, and the origins it stands over, the nearest first."""
    found: _Layered = {}
    for origin, pairs in layers:
        for name, value in pairs.items():
            under = found.get(name)
            found[name] = (value, origin, (under[1], *under[2]) if under else ())
    return found


def _base(project: str, environment: str, python: str | None) -> dict[str, _Bounds]:
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


def _bounds(secret: Outline) -> _Bounds:
    """The fewest and most bytes of a secret's value; `set` takes none that is too long for its name."""
    if secret.sealed_bytes is None:
        return 0, 0
    least, most = length_bounds(secret.sealed_bytes)
    return least, max(min(most, STRING_LIMIT - string_size(secret.name, 0)), least)


def _sizes(
    base: Mapping[str, _Bounds], variables: _Layered, given: Mapping[str, Outline], also: Mapping[str, str]
) -> dict[str, _Bounds]:
    sizes = {name: (len(value.encode()),) * 2 for name, (value, _, _) in variables.items()} | dict(base)
    for name, secret in given.items():
        sizes[name] = _bounds(secret)
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


def _no_alias(
    name: str, given: Mapping[str, Outline], variables: Mapping[str, object], base: Mapping[str, object]
) -> str | None:
    """Why a name that shells drop is given under no other; None for a name that needs none."""
    if shell_note(name) is None:
        return None
    alias = alias_for(name)
    if alias is None:
        return "its alias would be refused"
    if alias in given or alias in variables or alias in base:
        return f"{alias} is taken"
    sharing = sorted(other for other in given if other != name and alias_for(other) == alias)
    return f"{alias} would be {', '.join(sharing)} too"
