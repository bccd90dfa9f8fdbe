"""What each operation takes: verbs, and the place that they have to be allowed for.

One table for all doors. The roles of whoever asks are held against it; who has the database's URL has all of it.
What an operation takes may depend on what is asked: a door holds `verbs_for(asked)` against the roles.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

from executor.people.roles import ROLES, Verb
from secretstore.naming import why_asked

Place = Literal["installation", "project", "environment", "somewhere", "own"]
"""installation: everywhere; project: in the whole of it; environment: in each that is named, and of a run in its own;
somewhere: in one environment at least, as what is listed is what lies where it is allowed; own: it is about whoever
asks, and what goes beyond that the operation checks itself. Without a project, `project` and `environment` are the
installation."""


class Right(NamedTuple):
    """What an operation takes."""

    verbs: tuple[Verb, ...]
    place: Place
    also: Callable[[Any], Iterable[Verb]] = lambda asked: ()
    """Further verbs, by what is asked."""
    fresh: Callable[[Any], bool] = lambda asked: False
    """Whether a browser has to have proved lately who it is: see `Principal.require_fresh`."""

    def verbs_for(self, asked: Any) -> tuple[Verb, ...]:
        """All verbs that this takes."""
        return tuple(dict.fromkeys((*self.verbs, *self.also(asked))))


def _right(verbs: str, place: Place, **more: Any) -> Right:
    return Right(tuple(verb for verb in get_args(Verb) if verb in verbs.split()), place, **more)


def _acting(asked: Any) -> tuple[Verb, ...]:
    """Under a name that installers act on, a value decides which code runs for everybody there."""
    return ("use", "manage") if why_asked(asked.name) else ()


def _renamed(asked: Any) -> tuple[Verb, ...]:
    return ("use", "manage") if why_asked(asked.name) or why_asked(asked.new) else ()


def _imported(planned: Any) -> tuple[Verb, ...]:
    return ("use", "manage") if any(why_asked(entry.name) for entry in planned.to_store) else ()


def _sealed(asked: Any) -> tuple[Verb, ...]:
    return ("use", "manage") if any(why_asked(entry.name) for entry in asked.entries()) else ()


def _hosted(*orders: Any) -> tuple[Verb, ...]:
    """A source that is not uploaded is whatever folder of a worker's machine somebody names."""
    return ("manage",) if any(order.host is not None for order in orders) else ()


def _gives_use(asked: Any) -> bool:
    return asked.role in ROLES and "use" in ROLES[asked.role].verbs


def _always(asked: Any) -> bool:
    return True


RIGHTS: Mapping[str, Right] = MappingProxyType(
    {
        "audit.export": _right("audit", "project"),
        "audit.list_": _right("audit", "project"),
        "audit.verify": _right("audit", "project"),
        # Who edits an endpoint is sent the token that the next run takes there.
        "connections.create": _right("use manage", "environment"),
        "connections.delete": _right("manage", "environment"),
        "connections.get": _right("see", "environment"),
        "connections.list_": _right("see", "somewhere"),
        "connections.require_deletable": _right("manage", "environment"),
        "doctor.dangling": _right("manage", "installation"),
        "doctor.doors": _right("manage", "installation"),
        "doctor.examine": _right("manage", "installation"),
        "doctor.unopened": _right("manage", "installation"),
        "environments.create": _right("manage", "project"),
        "environments.delete": _right("manage", "environment", fresh=_always),
        "environments.ensure": _right("manage", "project"),
        "environments.require": _right("see", "environment"),
        "environments.require_deletable": _right("manage", "environment"),
        "explanation.explain": _right("see", "environment"),
        "explanation.foresee": _right("see", "environment"),
        "importing.carry_out": _right("seal use", "environment", also=_imported),
        "importing.plan": _right("see", "environment"),
        "importing.store_sealed": _right("seal use", "environment", also=_sealed),
        "importing.there": _right("see", "environment"),
        "jobs.list_": _right("see", "somewhere"),
        "jobs.serving": _right("see", "environment"),
        "jobs.show": _right("see", "somewhere"),
        "keys.create_file": _right("manage", "installation"),
        "keys.create_signing_key": _right("manage", "installation"),
        "keys.list_": _right("see", "somewhere"),
        "keys.rewrap": _right("manage", "project"),
        "keys.rotate": _right("manage", "environment"),
        "keys.succession": _right("see", "environment"),
        "keys.submit_rewrap": _right("manage", "project"),
        "keys.submit_rotation": _right("manage", "environment"),
        "keys.trust": _right("see", "environment"),
        "members.add": _right("manage", "environment", fresh=_gives_use),
        "members.list_": _right("see", "environment"),
        "members.remove": _right("manage", "environment"),
        "members.roles": _right("", "own"),
        "people.begin_first_admin": _right("manage", "installation"),
        "people.create": _right("manage", "installation", fresh=lambda asked: asked.admin),
        "people.delete": _right("manage", "installation"),
        "people.disable": _right("manage", "installation"),
        "people.enable": _right("manage", "installation"),
        "people.list_": _right("manage", "installation"),
        "people.set_password": _right("", "own"),
        "probing.begin": _right("use", "environment"),
        "probing.record": _right("use", "environment"),
        "projects.create": _right("manage", "installation"),
        "projects.delete": _right("manage", "project", fresh=_always),
        "projects.destroy_due": _right("manage", "installation"),
        "projects.list_": _right("see", "somewhere"),
        "projects.list_deleted": _right("manage", "installation"),
        "projects.make_key_file": _right("manage", "installation"),
        "projects.require_deletable": _right("manage", "project"),
        "projects.restore": _right("manage", "project"),
        "projects.set_": _right("manage", "project"),
        "pruning.delete": _right("manage", "environment"),
        "pruning.forget_expired": _right("manage", "installation"),
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
        "runs.look_up": _right("use", "environment"),
        "runs.logs_page": _right("follow", "environment"),
        "runs.open_file": _right("follow", "environment"),
        "runs.prepare": _right("use", "environment"),
        "runs.prepare_all": _right("use", "environment"),
        "runs.prepare_again": _right("use", "environment"),
        "runs.retry": _right("use", "environment"),
        "runs.show": _right("see", "environment"),
        "runs.state": _right("see", "environment"),
        "runs.submit": _right("use", "environment", also=_hosted),
        "runs.submit_many": _right("use", "environment", also=lambda asked: _hosted(*asked.items)),
        "runs.upload": _right("use", "environment"),
        "secrets.delete": _right("manage", "environment", also=_acting),
        "secrets.due": _right("see", "somewhere"),
        "secrets.history": _right("see", "environment"),
        "secrets.list_": _right("see", "somewhere"),
        "secrets.rename": _right("seal manage", "environment", also=_renamed),
        "secrets.require_deletable": _right("manage", "environment"),
        "secrets.require_renamable": _right("seal manage", "environment"),
        "secrets.reserve": _right("seal", "environment"),
        "secrets.rollback": _right("seal", "environment", also=_acting),
        "secrets.runs_given": _right("see", "environment"),
        "secrets.set_": _right("seal", "environment", also=_acting),
        "secrets.store_sealed": _right("seal", "environment", also=_sealed),
        "secrets.submit_rename": _right("seal manage", "environment", also=_renamed),
        "tokens.create": _right("", "own"),
        "tokens.list_": _right("", "own"),
        "tokens.revoke": _right("", "own"),
        "variables.delete": _right("use manage", "environment"),
        "variables.list_": _right("see", "somewhere"),
        "variables.set_": _right("use", "environment", also=_acting),
        "workers.attend": _right("use", "environment"),
        "workers.check_may_wait": _right("see", "environment"),
        "workers.list_": _right("see", "installation"),
        "workers.serving": _right("see", "installation"),
    }
)
"""By module and function of `executor.operations`."""
