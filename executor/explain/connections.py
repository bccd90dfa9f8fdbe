"""What data sources and catalogs will bring into a run, worked out without a value.

The supervisor's own `derive` does it, with stand-ins in the place of secrets: names are the same whatever the values
are, and sizes come out between those of the shortest and of the longest.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from executor.environment.assumed import Assumed
from executor.environment.connections import Derived, derive
from secretstore.planned import FIELD, KEY, OPTIONAL, Planned, is_reference

_SHORTEST_FOLDER, _LONGEST_FILE_NAME = "/", 32
_URL = "postgresql://host"
_UNTIL = "9999-12-31T23:59:59+00:00"
_LONGEST_TOKEN = 8192  # bytes of a session token; AWS names no limit, and they have some thousand at most

Bounds = tuple[int, int]


@dataclass(frozen=True)
class Foretold:
    """What connections bring; sizes are the fewest and the most bytes of a variable's value.

    `perhaps` are variables for a field of a JSON secret that it need not have; `left_out` says, by `source/lake`, why
    a run has not got it.
    """

    sizes: Mapping[str, Bounds]
    origins: Mapping[str, tuple[str, ...]]
    in_files: Mapping[str, str]
    """By variable that is the path of a file: the file's name in the run's private folder."""
    perhaps: frozenset[str]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]


def foretell(
    plan: Sequence[Planned], secrets: Mapping[str, Bounds], taken: Collection[str], longest_path: int
) -> Foretold:
    """Derive a plan with the shortest and with the longest values that its secrets may have.

    Args:
        plan: the run's data sources and catalogs.
        secrets: the fewest and the most bytes of each secret's value.
        taken: names of variables that the project sets itself.
        longest_path: bytes of the path of a file in a run's private folder, at most.
    """
    folder = _SHORTEST_FOLDER.ljust(longest_path - _LONGEST_FILE_NAME, "d")
    shortest = _derived(plan, {name: least for name, (least, _) in secrets.items()}, _SHORTEST_FOLDER, taken)
    longest = _derived(plan, {name: most for name, (_, most) in secrets.items()}, folder, taken, whole=True)
    sizes = {
        name: (len(shortest.entries.get(name, "").encode()), len(value.encode()))
        for name, value in longest.entries.items()
    }
    in_files = {
        name: file for name, value in longest.entries.items() for file in longest.files if value == f"{folder}/{file}"
    }
    perhaps = frozenset(longest.entries.keys() - shortest.entries.keys())
    return Foretold(sizes, longest.origins, in_files, perhaps, longest.left_out, tuple(longest.notes))


def _derived(
    plan: Sequence[Planned], sizes: Mapping[str, int], folder: str, taken: Collection[str], *, whole: bool = False
) -> Derived:
    stood_in = [replace(one, settings=_stood_in(one.settings, "", sizes, whole)) for one in plan]
    token = _letters(_LONGEST_TOKEN if whole else 1)
    assumed = {one.name: Assumed(token, token, token, _UNTIL) for one in plan if one.assumes_role}
    return derive(stood_in, {}, assumed, folder, taken)


def _stood_in(value: Any, place: str, sizes: Mapping[str, int], whole: bool) -> Any:
    """Settings with something in the place of each reference, that is as a value may be; `whole` is with every field.

    What is left out is a field that a JSON secret may be without.
    """
    if is_reference(value):
        if place == "url":
            return _URL
        # A field has any part of its secret, which a run may not be given.
        size = sizes.get(value[KEY], 1)
        return _letters(size if whole or FIELD not in value else 1)
    if isinstance(value, dict):
        there = {name: one for name, one in value.items() if whole or not (is_reference(one) and one.get(OPTIONAL))}
        return {name: _stood_in(one, name, sizes, whole) for name, one in there.items()}
    if isinstance(value, list):
        return [_stood_in(one, place, sizes, whole) for one in value]
    return value


def _letters(size: int) -> str:
    return ("stand-in." * (size // 9 + 1))[: max(size, 1)]
