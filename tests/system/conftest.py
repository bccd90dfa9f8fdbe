"""Rigs that the tests of a module share."""

from collections.abc import Iterator

import pytest

from tests.conftest import server
from tests.rig import Rig, ordinary_account, rig


@pytest.fixture(scope="module")
def shop() -> Iterator[Rig]:
    """The embedded line: SQLite, a broker of our own, one worker as the tests' own user, an empty project."""
    with rig() as made:
        made.project("shop")
        made.start_worker()
        yield made


@pytest.fixture(scope="module")
def ordinary() -> Iterator[Rig]:
    """The same with a worker that is not root: its runs share its user id."""
    with rig(account=ordinary_account()) as made:
        made.project("shop", {"API_KEY": b"hunter2-prod-key-5417"})
        made.start_worker()
        yield made


@pytest.fixture(scope="module")
def amqp_server() -> str:
    """The RabbitMQ server; a rig has a queue of its own in it."""
    return server("AMQP", "RabbitMQ")
