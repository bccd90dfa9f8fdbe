"""What a server does though nobody asks: what has expired is deleted at its start, and now and then."""

import contextlib
import logging
import threading
from collections.abc import Iterator

from executor.api.problems import kind_and_place
from executor.operations import pruning
from executor.operations.deployment import Deployment
from secretstore.audit import Actor
from secretstore.errors import SealrunError

logger = logging.getLogger("sealrun")

EVERY = 300.0  # seconds


@contextlib.contextmanager
def tidying(at: Deployment, every: float = EVERY) -> Iterator[None]:
    """Do it in a thread while the context lasts. Several servers of one database do it beside each other."""
    over = threading.Event()
    thread = threading.Thread(target=_tidy, args=[at, over, every], name="sealrun-tidies", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_PATIENCE)


_PATIENCE = 5.0  # seconds for what is under way


def _tidy(at: Deployment, over: threading.Event, every: float) -> None:
    who = Actor(at.settings.store.actor, "api")
    while True:
        try:
            pruning.forget_expired(at, who)
        except SealrunError as error:
            logger.warning("what has expired is not deleted: %s", error)
        except Exception as error:  # noqa: BLE001  # the next time may go better; its text may quote a row or a URL
            logger.error("what has expired is not deleted: %s", kind_and_place(error))
        if over.wait(every):
            return
