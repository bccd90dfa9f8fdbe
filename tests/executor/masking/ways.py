"""The ways in which the masker searches, each of which must find the same."""

import contextlib
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

from executor.masking import automaton, heads, scanner
from executor.masking import masker as masking

Way = dict[ModuleType, dict[str, Any]]


class AtOnce:
    """In place of a thread: what it does is done when it has started."""

    def __init__(self, target: Callable[[], None], **_: object) -> None:
        self.start = target

    def is_alive(self) -> bool:
        return False


_SETTLED: Way = {heads: {"_AUTOMATON": 0, "_FASTER": 0}}
SCANNED_SOON: Way = {heads: {"_AUTOMATON": 1, "_FASTER": 9, "_SCANNER": 9}, scanner: {"_FEWEST": 0}}
"""With Vectorscan from whenever its thread is ready."""
SCANNED: Way = {
    heads: {"_AUTOMATON": 0, "_FASTER": 0, "_SCANNER": 0},
    scanner: {"_FEWEST": 0, "threading": SimpleNamespace(Thread=AtOnce)},
}
"""With Vectorscan from the first byte."""

# Much text, long texts and many needles are searched in other ways; here they are chosen for little and few, too.
WAYS: list[Way] = [
    {},
    {heads: {"_AUTOMATON": 0}},
    {heads: {"_AUTOMATON": 0, "_FEW": 0}},
    {masking: {"BLOCK": 16}},
    _SETTLED,
    _SETTLED | {automaton: {"_SHORT_TEXT": 0}},
    _SETTLED | {automaton: {"_SHORT_TEXT": 0, "_VECTOR_PATTERNS": 1, "_VECTORS": 9}},
    _SETTLED | {automaton: {"_SHORT_TEXT": 0}, masking: {"BLOCK": 16}},
    _SETTLED | {automaton: {"_VECTORS": 0}},
    _SETTLED | {automaton: {"_VECTORS": 0, "_DETERMINISTIC_LIMIT": 0}, masking: {"BLOCK": 16}},
    SCANNED,
    SCANNED | {masking: {"BLOCK": 16}},
    SCANNED | {heads: {"_AUTOMATON": 1, "_SCANNER": 9}},
    SCANNED_SOON,
]


@contextlib.contextmanager
def searched(way: Way) -> Iterator[None]:
    """Search in this way."""
    with contextlib.ExitStack() as patches:
        for module, values in way.items():
            patches.enter_context(mock.patch.dict(vars(module), values))
        yield
