"""What each operation takes: a verb, and the place that it has to be allowed for.

One table for all doors. A person's roles will be held against it; who has the database's URL has all of it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Verb = Literal["see", "seal", "use", "manage", "audit"]
"""see: names and states, never a secret's value; seal: store, replace and delete secrets and variables; use: run code,
which is given secrets; manage: projects, environments, keys and connections; audit: read the record of who did what."""

Place = Literal["installation", "project", "environment"]


class Right(NamedTuple):
    """What an operation takes."""

    verb: Verb
    place: Place


RIGHTS: Mapping[str, Right] = MappingProxyType(
    {
        "audit.list_": Right("audit", "project"),
        "audit.verify": Right("audit", "project"),
        "connections.create": Right("manage", "environment"),
        "connections.delete": Right("manage", "environment"),
        "connections.get": Right("see", "environment"),
        "connections.list_": Right("see", "project"),
        "connections.require_deletable": Right("manage", "environment"),
        "doctor.dangling": Right("see", "installation"),
        "doctor.examine": Right("manage", "installation"),
        "doctor.unopened": Right("manage", "installation"),
        "environments.create": Right("manage", "project"),
        "environments.delete": Right("manage", "environment"),
        "environments.ensure": Right("manage", "project"),
        "environments.require": Right("see", "project"),
        "environments.require_deletable": Right("manage", "environment"),
        "explanation.explain": Right("see", "environment"),
        "importing.carry_out": Right("seal", "environment"),
        "importing.plan": Right("seal", "environment"),
        "keys.create_file": Right("manage", "installation"),
        "keys.create_signing_key": Right("manage", "installation"),
        "keys.list_": Right("see", "project"),
        "keys.rewrap": Right("manage", "project"),
        "keys.rotate": Right("manage", "environment"),
        "keys.trust": Right("see", "environment"),
        "probing.prepare": Right("use", "environment"),
        "probing.record": Right("use", "environment"),
        "projects.create": Right("manage", "installation"),
        "projects.delete": Right("manage", "project"),
        "projects.destroy_due": Right("manage", "installation"),
        "projects.list_": Right("see", "installation"),
        "projects.list_deleted": Right("manage", "installation"),
        "projects.require_deletable": Right("manage", "project"),
        "projects.restore": Right("manage", "project"),
        "projects.set_": Right("manage", "project"),
        "pruning.delete": Right("manage", "project"),
        "pruning.look": Right("see", "project"),
        "pruning.prune": Right("manage", "project"),
        "pruning.require_over": Right("see", "project"),
        "room.findings": Right("see", "installation"),
        "runs.accept": Right("use", "environment"),
        "runs.accept_all": Right("use", "environment"),
        "runs.cancel": Right("use", "environment"),
        "runs.download": Right("see", "project"),
        "runs.kept": Right("see", "project"),
        "runs.follow": Right("see", "project"),
        "runs.list_": Right("see", "project"),
        "runs.logs": Right("see", "project"),
        "runs.prepare": Right("use", "environment"),
        "runs.prepare_all": Right("use", "environment"),
        "runs.prepare_again": Right("use", "environment"),
        "runs.show": Right("see", "project"),
        "runs.state": Right("see", "project"),
        "secrets.delete": Right("seal", "environment"),
        "secrets.due": Right("see", "installation"),
        "secrets.history": Right("see", "environment"),
        "secrets.list_": Right("see", "project"),
        "secrets.require_deletable": Right("seal", "environment"),
        "secrets.rollback": Right("seal", "environment"),
        "secrets.runs_given": Right("see", "environment"),
        "secrets.set_": Right("seal", "environment"),
        "variables.delete": Right("seal", "environment"),
        "variables.list_": Right("see", "project"),
        "variables.set_": Right("seal", "environment"),
        "workers.attend": Right("use", "environment"),
        "workers.check_may_wait": Right("see", "project"),
        "workers.list_": Right("see", "installation"),
        "workers.serving": Right("see", "installation"),
    }
)
"""By module and function of `executor.operations`."""
