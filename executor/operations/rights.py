"""What each operation takes: verbs, and the place that they have to be allowed for.

One table for all doors. The roles of whoever asks are held against it; who has the database's URL has all of it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

from executor.people.roles import Verb

Place = Literal["installation", "project", "environment", "somewhere"]
"""installation: everywhere; project: in the whole of it; environment: in each that is named, and of a run in its own;
somewhere: in one environment at least, as what is listed is what lies where it is allowed."""


class Right(NamedTuple):
    """What an operation takes."""

    verbs: tuple[Verb, ...]
    place: Place


def _right(verbs: str, place: Place) -> Right:
    return Right(tuple(verb for verb in get_args(Verb) if verb in verbs.split()), place)


RIGHTS: Mapping[str, Right] = MappingProxyType(
    {
        "audit.list_": _right("audit", "project"),
        "audit.verify": _right("audit", "project"),
        # Who edits an endpoint is sent the token that the next run takes there.
        "connections.create": _right("use manage", "environment"),
        "connections.delete": _right("manage", "environment"),
        "connections.get": _right("see", "environment"),
        "connections.list_": _right("see", "somewhere"),
        "connections.require_deletable": _right("manage", "environment"),
        "doctor.dangling": _right("manage", "installation"),
        "doctor.examine": _right("manage", "installation"),
        "doctor.unopened": _right("manage", "installation"),
        "environments.create": _right("manage", "project"),
        "environments.delete": _right("manage", "environment"),
        "environments.ensure": _right("manage", "project"),
        "environments.require": _right("see", "environment"),
        "environments.require_deletable": _right("manage", "environment"),
        "explanation.explain": _right("see", "environment"),
        "explanation.foresee": _right("see", "environment"),
        "importing.carry_out": _right("seal use", "environment"),
        "importing.plan": _right("see", "environment"),
        "importing.there": _right("see", "environment"),
        "keys.create_file": _right("manage", "installation"),
        "keys.list_": _right("see", "somewhere"),
        "keys.rewrap": _right("manage", "project"),
        "keys.rotate": _right("manage", "environment"),
        "keys.trust": _right("see", "environment"),
        # A source that is a folder of a machine takes "manage" as well: see the operations.
        "orders.look_up": _right("see", "environment"),
        "orders.retry": _right("use", "environment"),
        "orders.submit": _right("use", "environment"),
        "orders.submit_many": _right("use", "environment"),
        "orders.upload": _right("use", "environment"),
        "probing.begin": _right("use", "environment"),
        "probing.record": _right("use", "environment"),
        "projects.create": _right("manage", "installation"),
        "projects.delete": _right("manage", "project"),
        "projects.destroy_due": _right("manage", "installation"),
        "projects.list_": _right("see", "somewhere"),
        "projects.list_deleted": _right("manage", "installation"),
        "projects.require_deletable": _right("manage", "project"),
        "projects.restore": _right("manage", "project"),
        "projects.set_": _right("manage", "project"),
        "pruning.delete": _right("manage", "environment"),
        "pruning.look": _right("manage", "project"),
        "pruning.prune": _right("manage", "project"),
        "pruning.require_over": _right("manage", "environment"),
        "room.findings": _right("manage", "installation"),
        "runs.accept": _right("use", "environment"),
        "runs.accept_all": _right("use", "environment"),
        "runs.cancel": _right("use", "environment"),
        "runs.download": _right("follow", "environment"),
        "runs.follow": _right("follow", "environment"),
        "runs.following": _right("follow", "environment"),
        "runs.kept": _right("follow", "environment"),
        "runs.list_": _right("see", "somewhere"),
        "runs.logs": _right("follow", "environment"),
        "runs.logs_page": _right("follow", "environment"),
        "runs.open_file": _right("follow", "environment"),
        "runs.prepare": _right("use", "environment"),
        "runs.prepare_all": _right("use", "environment"),
        "runs.prepare_again": _right("use", "environment"),
        "runs.show": _right("see", "environment"),
        "runs.state": _right("see", "environment"),
        "secrets.delete": _right("seal", "environment"),
        "secrets.due": _right("see", "somewhere"),
        "secrets.history": _right("see", "environment"),
        "secrets.list_": _right("see", "somewhere"),
        "secrets.require_deletable": _right("seal", "environment"),
        "secrets.rollback": _right("seal", "environment"),
        "secrets.runs_given": _right("see", "environment"),
        "secrets.set_": _right("seal", "environment"),
        "variables.delete": _right("use", "environment"),
        "variables.list_": _right("see", "somewhere"),
        "variables.set_": _right("use", "environment"),
        "workers.attend": _right("use", "environment"),
        "workers.check_may_wait": _right("see", "environment"),
        "workers.list_": _right("see", "installation"),
        "workers.serving": _right("see", "installation"),
    }
)
"""By module and function of `executor.operations`."""
