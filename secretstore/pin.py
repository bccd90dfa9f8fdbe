"""Pins: a key pair that is known to be the right one, as it is written down."""

import re
from dataclasses import dataclass

_ID = r"([0-9a-f]{32})"
_PIN = re.compile(rf"{_ID}:{_ID}:([1-9][0-9]{{0,9}}):([0-9a-f]{{64}})")


@dataclass(frozen=True)
class Pin:
    """A remembered key pair, and whose it is."""

    project_id: str
    environment_id: str
    generation: int
    fingerprint: str

    @classmethod
    def parse(cls, text: str) -> "Pin":
        """Read `PROJECT_ID:ENVIRONMENT_ID:GENERATION:FINGERPRINT`, all in full.

        Raises:
            ValueError: it has another form.
        """
        found = _PIN.fullmatch(text)
        if found is None:
            raise ValueError(
                "it is not PROJECT_ID:ENVIRONMENT_ID:GENERATION:FINGERPRINT, the pin that key list --json tells"
            )
        return cls(found[1], found[2], int(found[3]), found[4])

    def __str__(self) -> str:
        return f"{self.project_id}:{self.environment_id}:{self.generation}:{self.fingerprint}"


@dataclass(frozen=True)
class GivenPin:
    """A pin that somebody gave for what they do now: for one environment, or for every one."""

    environment: str | None
    pin: Pin
    where: str
    """Who says so, in a sentence's end: `--pin gives`."""

    @classmethod
    def parse(cls, text: str, where: str) -> "GivenPin":
        """Read `[ENVIRONMENT=]PIN`.

        Raises:
            ValueError: it has another form.
        """
        environment, _, pin = text.rpartition("=")
        return cls(environment or None, Pin.parse(pin), where)
