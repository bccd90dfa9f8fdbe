"""Whoever has a value seals it: what is checked before, and the two steps of storing it somewhere else.

Nothing here reaches a database: a client that has but a URL does the same as the command line beside a database.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from executor.masking.needles import Verdict, verdict
from executor.schemas.sealing import MOST, Reserving
from executor.schemas.secrets import NewSecret
from secretstore import entries
from secretstore.errors import SealingOvertaken, ValueRefused
from secretstore.naming import check_secret_name
from secretstore.pins import Pins
from secretstore.reservation import Reservation, SealedSecret, seal_reserved

TRIES = 5
_PAUSE = 0.05  # seconds, at most, times the tries so far: those who came in each other's way come back apart

Stored = TypeVar("Stored")


def judged(asked: NewSecret) -> tuple[list[entries.NewSecret], Verdict]:
    """Return what is to be sealed, one entry for each environment, and what the masker will make of the value.

    Raises:
        NameRefused, ValueRefused: it cannot be a secret.
        NeedsYes: installers act on its name, and nobody confirmed it.
    """
    check_secret_name(asked.name)
    asked.require_confirmed()
    found = verdict(asked.name, asked.value)
    if asked.value.strip() and not found.maskable and not asked.allow_short:
        hint = "take a longer one, or say --allow-short: it will stand in the run's output as it is"
        raise ValueRefused(name=asked.name, why="it is too short to be masked", hint=hint)
    new = [
        entries.NewSecret(place, asked.name, asked.value, asked.expires_at, asked.allow_short, asked.as_file)
        for place in asked.environments
    ]
    for entry in new:
        entries.check(entry)
    return new, found


def put_sealed(
    project: str,
    values: Sequence[entries.NewSecret],
    pins: Pins,
    *,
    reserve: Callable[[Reserving], Reservation],
    store: Callable[[Reservation, tuple[SealedSecret, ...]], Stored],
) -> Stored:
    """Seal values here and have them stored elsewhere; where somebody came in between, reserve and seal again.

    Args:
        project: as it was typed.
        values: each name in each environment.
        pins: the key pairs this user knows; the only ones that anything is sealed to.
        reserve: the first step.
        store: the second step, which is given nothing but what is sealed.

    Returns:
        What `store` returns.

    Raises:
        KeyChanged, KeyUnknown: a key pair is not known to be the right one; nothing was sent.
        ValueRefused: there are too many of them.
        ReservationUnfit: the answer to the first step is not what was asked for.
        SealingOvertaken: others came in between each of the times.
    """
    if len(values) > MOST:
        raise ValueRefused(
            "{count} secrets are more than the {most} that are stored together",
            count=len(values),
            most=MOST,
            hint="store them in several parts",
        )
    asked = Reserving(
        project=project,
        environments=tuple(dict.fromkeys(one.environment for one in values)),
        names=tuple(dict.fromkeys(one.name for one in values)),
    )
    for tried in range(1, TRIES + 1):
        reservation = reserve(asked)
        sealed = seal_reserved(reservation, project, values, pins)
        try:
            return store(reservation, sealed)
        except SealingOvertaken:
            if tried == TRIES:
                raise
        time.sleep(random.uniform(0, _PAUSE * tried))
    raise AssertionError("the last try returns or raises")
