"""Operations that are more than one request: those that stream, and those of which a part is done on this side."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any

ERRANDS: Mapping[str, str] = MappingProxyType(
    {
        "audit.export": "receiving.audit",
        "environments.ensure": "sealing.ensure",
        "explanation.explain": "looking.explain",
        "importing.carry_out": "sealing.carry_out",
        "importing.plan": "looking.plan",
        "keys.rewrap": "unopened.rewrap",
        "keys.rotate": "unopened.rotate",
        "keys.trust": "sealing.trust",
        "projects.destroy_due": "looking.destroy_due",
        "runs.accept": "submitting.accept",
        "runs.accept_all": "submitting.accept_all",
        "runs.download": "receiving.download",
        "runs.follow": "following.follow",
        "runs.logs": "receiving.logs",
        "runs.prepare": "submitting.prepare",
        "runs.prepare_again": "submitting.prepare_again",
        "runs.prepare_all": "submitting.prepare_all",
        "secrets.rename": "unopened.rename",
        "secrets.set_": "sealing.set_",
        "workers.check_may_wait": "looking.check_may_wait",
    }
)
"""By operation, the function of this room that does it."""


@cache
def of(operation: str) -> Callable[..., Any] | None:
    """What does an operation; None for one that is a request by the table of routes. Imported when it is needed."""
    if operation not in ERRANDS:
        return None
    module, _, function = ERRANDS[operation].partition(".")
    found: Callable[..., Any] = getattr(import_module(f"executor.remote.{module}"), function)
    return found
