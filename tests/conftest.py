"""Servers for the tests that need real ones; `scripts/test` finds or starts them and sets their URLs."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import databases
from tests.effort import share

LONG = ("system", "leaks", "documents")
"""Folders of tests that start workers and wait for them."""


hypothesis.settings.register_profile("sealrun", max_examples=share(100))
hypothesis.settings.load_profile("sealrun")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that the test processes end together."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)


def server(word: str, title: str) -> str:
    """The URL of a server, or a skip with the reason there is none."""
    url = os.environ.get(f"SEALRUN_TEST_{word}_URL")
    if not url:
        reason = os.environ.get(f"SEALRUN_TEST_{word}_MISSING")
        pytest.skip(reason or f"no {title} named: scripts/test finds or starts one (or set SEALRUN_TEST_{word}_URL)")
    return url


@pytest.fixture(scope="session")
def redis_database() -> Iterator[str]:
    """A numbered database of the Redis server that was empty and that no other test session holds."""
    url = server("REDIS", "Redis")
    import redis

    for number in range(15, 0, -1):
        own = f"{url.rsplit('/', 1)[0]}/{number}"
        with redis.Redis.from_url(own) as client:
            claimed = client.dbsize() == 0 and client.set(REDIS_CLAIM, os.getpid(), nx=True, ex=4 * 3600)
            if not claimed:
                continue
            yield own
            client.flushdb()
            return
    pytest.skip("no empty database in this Redis: fifteen test sessions hold them, or something else does")


REDIS_CLAIM = "sealrun-test-session"


@pytest.fixture
def redis_url(redis_database: str) -> str:
    """A Redis database with nothing in it but this session's claim."""
    import redis

    with redis.Redis.from_url(redis_database) as client:
        keys = [key for key in client.scan_iter() if key != REDIS_CLAIM.encode()]
        if keys:
            client.delete(*keys)
    return redis_database


@contextlib.contextmanager
def empty_database() -> Iterator[str]:
    """An empty PostgreSQL database, dropped at the end with whatever is still connected."""
    with databases.empty_postgres(postgres_server()) as url:
        yield url


def postgres_server() -> str:
    return server("POSTGRES", "PostgreSQL")


@contextlib.contextmanager
def database_for(request: pytest.FixtureRequest, folder: Path, migrate: databases.Migrate) -> Iterator[str]:
    """The URL of one test's database, of the kind `request.param`: with tables where the test takes `db`, or empty."""
    if "db" in request.fixturenames:
        with databases.migrated(request.param, folder, postgres_server, migrate) as url:
            yield url
    elif request.param == "sqlite":
        yield f"sqlite:///{folder}/store/sealrun.db"
    else:
        with empty_database() as url:
            yield databases.driver(url)


def pytest_sessionfinish() -> None:
    """What tests were lent goes."""
    databases.drop_all()


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """An empty PostgreSQL database for one test."""
    with empty_database() as url:
        yield url


@pytest.fixture(scope="module")
def postgres_database() -> Iterator[str]:
    """The same for one module."""
    with empty_database() as url:
        yield url


@pytest.fixture
def amqp_url() -> str:
    """The RabbitMQ server; tests name their own queues and delete them."""
    return server("AMQP", "RabbitMQ")
