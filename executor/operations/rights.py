"""What each operation takes: a verb, and the place that it has to be allowed for.

One table for all doors. A person's roles will be held against it; who has the database's URL has all of it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Verb = Literal["see", "seal", "use", "manage", "audit"]
"""see: names and states, never a value; seal: store, replace and delete secrets and variables; use: run code, which is
given secrets; manage: projects, environments, keys and connections; audit: read the record of who did what."""

Place = Literal["installation", "project", "environment"]


class Right(NamedTuple):
    """What an operation takes."""

    verb: Verb
    place: Place


RIGHTS: Mapping[str, Right] = MappingProxyType(
    {
        "runs.prepare": Right("use", "environment"),
        "runs.prepare_again": Right("use", "environment"),
        "runs.accept": Right("use", "environment"),
        "runs.list_": Right("see", "project"),
        "runs.show": Right("see", "project"),
        "runs.state": Right("see", "project"),
        "runs.logs": Right("see", "project"),
        "runs.follow": Right("see", "project"),
        "runs.download": Right("see", "project"),
        "runs.cancel": Right("use", "environment"),
        "explanation.explain": Right("see", "environment"),
        "workers.serving": Right("see", "installation"),
        "workers.attend": Right("use", "environment"),
        "doctor.examine": Right("manage", "installation"),
        "doctor.due": Right("see", "installation"),
        "doctor.dangling": Right("see", "installation"),
        "variables.set_": Right("seal", "environment"),
        "variables.list_": Right("see", "project"),
        "variables.delete": Right("seal", "environment"),
    }
)
"""By module and function of `executor.operations`."""
