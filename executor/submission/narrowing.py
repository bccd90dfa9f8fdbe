"""What a run may have at most, and whether it has the network: as its project says, or less."""

from collections.abc import Mapping, Sequence
from typing import Any

from executor.errors import RequestUnclear
from executor.schemas.amounts import AMOUNTS, Amount, as_words
from executor.schemas.run_request import RunRequest
from secretstore.views import ProjectView

_NETWORKS = ("full", "none")  # from more to less
_PATTERNS = 100
_LONGEST = 400  # characters of a pattern


def asked(request: RunRequest) -> dict[str, Any]:
    """What a request asks for itself, by the columns of a run; nothing of what it leaves to its project.

    Raises:
        RequestUnclear: it is none of what can be asked for.
    """
    given = ((one, getattr(request, one.name)) for one in AMOUNTS)
    found: dict[str, Any] = {one.column: _read(one, what) for one, what in given if what is not None}
    if request.network is not None:
        found["network"] = request.network
    check_patterns(request.collect, "collect=")
    return found


def _read(one: Amount, given: str | float) -> float:
    """As the Python API has it; what is typed was read before."""
    try:
        return one.read(given)
    except RequestUnclear:
        hint = f"write {one.name}={one.example!r}, or leave it out for what its project says"
        raise RequestUnclear("{name}= takes {takes}", name=one.name, takes=one.takes, hint=hint) from None


def within(project: ProjectView, narrowed: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns of a run of this project that asks for this itself; where it asks for nothing it has the project's.

    Raises:
        RequestUnclear: it asks for more than the project has.
    """
    own = dict(narrowed or {})
    columns: dict[str, Any] = {"narrowed": own or None}
    for one in AMOUNTS:
        most, wanted = getattr(project, one.column), own.get(one.column)
        if most is not None and wanted is not None and wanted > most:
            has = f"at most {one.show(most)}"
            raise _too_much(project, f"{one.option} is {one.show(wanted)}", has, one.typed(wanted))
        columns[one.column] = most if wanted is None else wanted
    network = own.get("network", project.network)
    if network not in _NETWORKS or _NETWORKS.index(network) < _index(project.network):
        has = "no network" if project.network == "none" else f"the network {project.network}"
        raise _too_much(project, f"--network is {network}", has, f"--network {network}")
    return columns | {"network": network}


def _index(network: str) -> int:
    """A network that this does not know is left to the project alone."""
    return _NETWORKS.index(network) if network in _NETWORKS else len(_NETWORKS)


def _too_much(project: ProjectView, asked_for: str, has: str, typed: str) -> RequestUnclear:
    return RequestUnclear(
        "{asked}, and a run of the project {project} has {has}",
        asked=asked_for,
        project=project.name,
        has=has,
        hint=f"ask for less, or give its runs more: sealrun project set {project.name} {typed}",
    )


def check_patterns(patterns: Sequence[str], option: str) -> None:
    """Refuse what is no pattern of files beside the source.

    Raises:
        RequestUnclear: one is none, or there are too many.
    """
    for pattern in patterns:
        parts = pattern.removeprefix("./").split("/")
        is_path = pattern.strip() and parts[0] and not {"..", "."} & {*parts} and "\0" not in pattern
        if not is_path or len(pattern) > _LONGEST:
            raise RequestUnclear(
                "{option} takes a pattern of paths below the source root, as in report.csv, *.log or target/**",
                option=option,
            )
    if len(patterns) > _PATTERNS:
        raise RequestUnclear("{option} takes at most {most} patterns", option=option, most=_PATTERNS)


def described(project: ProjectView) -> str:
    """What the runs of a project may have at most, in words, and what they need."""
    rung = "" if project.sandbox_min == "process" else f"rung {project.sandbox_min} or better"
    network = "" if project.network == "full" else f"network {project.network}"
    return ", ".join(filter(None, (as_words(project), network, rung)))
