"""What a run may have at most: memory, CPUs, processes, and bytes that it has written."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from executor.errors import RequestUnclear
from secretstore import sizes

DEFAULT = "default"
"""What takes a project's amount back, so that a run has what its worker gives."""


@dataclass(frozen=True)
class Amount:
    """One of them: its name, which is its option's, the column that it is kept in, and what it is a number of."""

    name: str
    column: str
    least: float
    most: float
    takes: str
    example: str | float
    parse: Callable[[str], float]
    show: Callable[[Any], str]

    @property
    def option(self) -> str:
        """As it is typed."""
        return f"--{self.name}"

    def typed(self, number: float) -> str:
        """The option with so much, as it is typed."""
        text = f"{number:.12g}"
        if self.parse is sizes.size and number % 1024 == 0:
            text = sizes.as_text(int(number))
        return f"{self.option} {text}"

    def read(self, given: str | float) -> int | float:
        """The amount that is meant, as text or as a number.

        Raises:
            RequestUnclear: it is none.
        """
        try:
            number = self.parse(given) if isinstance(given, str) else given
        except ValueError:
            number = -1
        if isinstance(given, bool) or not (isfinite(number) and self.least <= number <= self.most):
            raise RequestUnclear("{option} takes {takes}", option=self.option, takes=self.takes)
        return number


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1


def _some(text: str) -> float:
    return float(text) if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) < 12 else -1


def _counted(one: str, many: str) -> Callable[[float], str]:
    return lambda number: f"{number:g} {one if number == 1 else many}" if number < 1e5 else f"{number:,.0f} {many}"


MEMORY = Amount(
    "memory", "memory_bytes", 16 << 20, 1 << 46,
    f"a size from 16M to 64T, as in {sizes.FORM}", "512M",
    sizes.size, lambda count: f"{sizes.as_text(count)} of memory",
)  # fmt: skip
CPUS = Amount(
    "cpus", "cpus", 0.01, 4096,
    "a number of CPUs from 0.01 to 4096, as in 2 or 0.5", 0.5, _some, _counted("CPU", "CPUs"),
)  # fmt: skip
PIDS = Amount(
    "pids", "pids", 1, 1 << 22,
    "a whole number of processes and threads from 1 to 4194304", 256, _whole, _counted("process", "processes"),
)  # fmt: skip
DISK = Amount(
    "disk", "disk_bytes", 1 << 20, 1 << 46,
    f"a size from 1M to 64T, as in {sizes.FORM}", "10G",
    sizes.size, lambda count: f"{sizes.as_text(count)} written at once",
)  # fmt: skip
AMOUNTS = (MEMORY, CPUS, PIDS, DISK)


def as_words(of: Any) -> str:
    """What a project, a run or its specification says of them, in words; empty where it says nothing."""
    return ", ".join(one.show(number) for one in AMOUNTS if (number := getattr(of, one.column)) is not None)
