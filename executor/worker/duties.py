"""What a worker does though nobody asks, each thing every so many seconds."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from executor.worker.descriptors import lacking
from secretstore.errors import DatabaseForbids, DatabaseUnavailable, SealrunError

logger = logging.getLogger("sealrun")


@dataclass
class Duty:
    """Something to be done every so many seconds; `due` is when, by the monotonic clock."""

    name: str
    do: Callable[[], object]
    every: float
    due: float = 0.0


def where_allowed(do: Callable[[], object]) -> Callable[[], None]:
    """The same, until the database forbids it to this worker's user: then it is the API server's part."""
    allowed = True

    def once() -> None:
        nonlocal allowed
        if allowed:
            try:
                do()
            except DatabaseForbids:
                allowed = False

    return once


def perform(duties: Sequence[Duty], unavailable: Callable[[DatabaseUnavailable], object] = logger.warning) -> None:
    """Do what is due. What fails, whatever for, keeps nothing else from being done, nor itself the next time.

    A database that is away, or takes nothing, is the same for all of them: `unavailable` is told.
    """
    for duty in duties:
        if time.monotonic() < duty.due:
            continue
        try:
            duty.do()
        except DatabaseUnavailable as error:
            unavailable(error)
            return  # it is the same for the others, and for this one at the next look
        except SealrunError as error:
            logger.warning("%s: %s", duty.name, error)
        except Exception as error:
            if lacking(error):
                logger.warning("%s: the worker has no file descriptors left", duty.name)
            else:
                # Nothing in this process has seen a value, so its log may have the whole of it.
                logger.exception("%s: unforeseen", duty.name)
        duty.due = time.monotonic() + duty.every
