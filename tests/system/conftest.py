"""Rigs that the tests of a module share."""

import uuid
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
def postgres_database() -> Iterator[str]:
    """An empty PostgreSQL database for one module."""
    url = server("POSTGRES", "PostgreSQL")
    psycopg = pytest.importorskip("psycopg")
    name = f"sealrun_test_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            yield f"{url.rsplit('/', 1)[0]}/{name}"
        finally:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def amqp_server() -> str:
    """The RabbitMQ server; a rig has a queue of its own in it."""
    return server("AMQP", "RabbitMQ")
