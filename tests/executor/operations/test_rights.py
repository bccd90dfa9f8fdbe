"""The one table of what each operation takes."""

import importlib
import inspect
import pkgutil

from executor import operations
from executor.operations.rights import RIGHTS

NOT_OF_A_DEPLOYMENT = {"keys.create_file", "keys.create_signing_key", "doctor.examine"}
"""The first two make a file, which settings may name afterwards; the third says why a deployment does not open."""


NO_OPERATIONS = {"admission"}
"""Modules that hold operations against the table, and have none."""


def public_functions() -> dict[str, inspect.Signature]:
    """What the modules of the room define for others, by module and name."""
    found = {}
    for module in pkgutil.iter_modules(operations.__path__):
        if module.name in NO_OPERATIONS:
            continue
        loaded = importlib.import_module(f"{operations.__name__}.{module.name}")
        for name, member in inspect.getmembers(loaded, inspect.isfunction):
            if member.__module__ == loaded.__name__ and not name.startswith("_"):
                found[f"{module.name}.{name}"] = inspect.signature(member)
    return found


def test_every_operation_stands_in_the_table_and_nothing_else() -> None:
    """Who adds one says which verb it takes, and on what."""
    assert public_functions().keys() == RIGHTS.keys()


def test_every_operation_is_told_who_asks() -> None:
    """Which deployment and who asks are values that the door passes in."""
    for name, signature in public_functions().items():
        if name not in NOT_OF_A_DEPLOYMENT:
            assert list(signature.parameters)[:2] == ["at", "who"], name
