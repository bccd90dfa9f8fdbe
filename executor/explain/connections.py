"""The names that data sources and catalogs will bring into a run, worked out without a value.

The supervisor's own `derive` does it, with stand-ins for the secrets: the names are the same whatever the values are.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from secretstore.run_connection import OPTIONAL, RunConnection, is_reference

from executor.environment.assumed import Assumed
from executor.environment.connections import Derived, derive

_FOLDER = "/sealrun-private"
_STAND_IN = "stand-in"
_URL = "postgresql://host"
_ASSUMED = Assumed(_STAND_IN, _STAND_IN, _STAND_IN, "9999-12-31T23:59:59+00:00")


@dataclass(frozen=True)
class Foretold:
    """What connections bring, by the variable's name.

    `perhaps` are variables for a field of a JSON secret that it need not have; `left_out` says, by `source/lake`, why
    a run does not get it.
    """

    origins: Mapping[str, tuple[str, ...]]
    """The connections each variable comes from."""
    in_files: Mapping[str, str]
    """By variable that is the path of a file: the file's name in the run's private folder."""
    perhaps: frozenset[str]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]


def foretell(plan: Sequence[RunConnection], taken: Collection[str]) -> Foretold:
    """Derive a plan once with every optional field of its secrets and once without.

    Args:
        plan: the run's data sources and catalogs.
        taken: names of variables that the project sets itself.
    """
    fewest, all_of_them = _derived(plan, taken, whole=False), _derived(plan, taken, whole=True)
    in_files = {
        name: file
        for name, value in all_of_them.entries.items()
        for file in all_of_them.files
        if value == f"{_FOLDER}/{file}"
    }
    return Foretold(
        origins={name: all_of_them.origins[name] for name in all_of_them.entries},
        in_files=in_files,
        perhaps=frozenset(all_of_them.entries.keys() - fewest.entries.keys()),
        left_out=all_of_them.left_out,
        notes=tuple(all_of_them.notes),
    )


def _derived(plan: Sequence[RunConnection], taken: Collection[str], *, whole: bool) -> Derived:
    stood_in = [replace(one, settings=_stood_in(one.settings, "", whole)) for one in plan]
    return derive(stood_in, {}, {one.name: _ASSUMED for one in plan if one.assumes_role}, _FOLDER, taken)


def _stood_in(value: Any, place: str, whole: bool) -> Any:
    """Settings with something in the place of each reference; `whole` is with the fields a JSON secret may lack."""
    if is_reference(value):
        return _URL if place == "url" else _STAND_IN
    if isinstance(value, dict):
        there = {name: one for name, one in value.items() if whole or not (is_reference(one) and one.get(OPTIONAL))}
        return {name: _stood_in(one, name, whole) for name, one in there.items()}
    if isinstance(value, list):
        return [_stood_in(one, place, whole) for one in value]
    return value
