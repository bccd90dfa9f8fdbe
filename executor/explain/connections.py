"""What data sources and catalogs will make of their secrets: the names they bring into a run, and what fits none.

The supervisor's own `derive` does it, with stand-ins for the secrets: the names are the same whatever the values are.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from executor.environment.assumed import Assumed
from executor.environment.connections import Derived, derive
from secretstore.connections import shape
from secretstore.run_connection import KEY, OPTIONAL, RunConnection, is_reference

_FOLDER = "/sealrun-private"
_STAND_IN = "stand-in"
_URL = "postgresql://host"
_OF_OTHERS = ("source", "assume_role", "external_id", "sts_endpoint")
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


def misfits(plan: Sequence[RunConnection], secrets: Mapping[str, bytes]) -> list[str]:
    """Say which connections could not use secrets with these values, and the form that each takes; no value is quoted.

    Args:
        plan: the data sources and catalogs of the secrets' environment.
        secrets: name to value, as somebody is about to store them.
    """
    concerned = [one for one in plan if one.refused is None and not one.secrets().isdisjoint(secrets)]
    alone = [replace(one, settings=_by_itself(one.settings, secrets)) for one in concerned]
    left_out = derive(alone, secrets, {}, _FOLDER, ()).left_out
    return [left_out[one.key] + _form(one, secrets) for one in concerned if one.key in left_out]


def _by_itself(settings: Mapping[str, Any], secrets: Collection[str]) -> dict[str, Any]:
    """Settings without what belongs to a source or a role; of their secrets only these stay."""
    own = {name: value for name, value in settings.items() if name not in _OF_OTHERS}
    return {name: _stood_in(value, name, True, secrets) for name, value in own.items()}


def _form(planned: RunConnection, secrets: Collection[str]) -> str:
    """The form of these secrets, where it is not the bare value."""
    named = [one for one in planned.references() if one.secret in secrets]
    fields = dict.fromkeys("credentials" if one.field is not None else one.place for one in named)
    forms = [form for field in fields if (form := shape(planned.kind, field)) is not None]
    return f"; it takes {' and '.join(forms)}" if forms else ""


def _derived(plan: Sequence[RunConnection], taken: Collection[str], *, whole: bool) -> Derived:
    stood_in = [replace(one, settings=_stood_in(one.settings, "", whole)) for one in plan]
    return derive(stood_in, {}, {one.name: _ASSUMED for one in plan if one.assumes_role}, _FOLDER, taken)


def _stood_in(value: Any, place: str, whole: bool, kept: Collection[str] = ()) -> Any:
    """Settings with something in the place of each reference; `whole` is with the fields a JSON secret may lack.

    References to the secrets in `kept` stay.
    """
    if is_reference(value):
        if value[KEY] in kept:
            return value
        return _URL if place == "url" else _STAND_IN
    if isinstance(value, dict):
        there = {name: one for name, one in value.items() if whole or not (is_reference(one) and one.get(OPTIONAL))}
        return {name: _stood_in(one, name, whole, kept) for name, one in there.items()}
    if isinstance(value, list):
        return [_stood_in(one, place, whole, kept) for one in value]
    return value
