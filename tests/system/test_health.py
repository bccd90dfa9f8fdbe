"""What a check says of a worker whose servers are away: it lives, takes no run, and mends itself when they are back."""

import os
import signal
from collections.abc import Iterator

import psycopg
import pytest

from tests.executor.cli.conftest import PATIENCE, Cli, made
from tests.processes import children, eventually, name

pytestmark = pytest.mark.long


@pytest.fixture
def mill(postgres_database: str) -> Iterator[tuple[Cli, int]]:
    """A worker with a PostgreSQL and a broker of its own."""
    with made(SEALRUN_DATABASE_URL=postgres_database) as cli:
        cli.forks = True
        cli.ok("migrate")
        worker = cli.start("worker", "-c", "1")
        try:
            eventually(lambda: cli("worker", "--check").returncode == 0, PATIENCE, "it takes runs")
            yield cli, worker.pid
        finally:
            worker.terminate()
            worker.communicate(timeout=PATIENCE)


def told(cli: Cli, sentence: str) -> None:
    """It lives all the while, and says in the end what it lacks; nothing of the address with its password."""
    eventually(lambda: sentence in cli("worker", "--check").stderr, PATIENCE, lambda: cli("worker", "--check").stderr)
    assert cli("worker", "--check", code=1).stderr.count("\n") == 1
    cli.ok("worker", "--check", "--live")


def test_a_database_that_is_away_is_no_reason_to_restart_it(mill: tuple[Cli, int], postgres_database: str) -> None:
    """Not ready, and live; ready again without anybody's help."""
    cli, _ = mill
    server, _, database = postgres_database.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
        try:
            told(cli, "takes no run: no heartbeat has reached its database for")
        finally:
            admin.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
    eventually(lambda: cli("worker", "--check").returncode == 0, PATIENCE, "it takes runs again")


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_broker_that_is_away_is_told(mill: tuple[Cli, int], number: signal.Signals) -> None:
    """One that is gone, or answers nothing; a silent one that speaks again is heard again."""
    cli, worker = mill
    (broker,) = [pid for pid in children(worker) if name(pid) in ("redis-server", "valkey-server")]
    os.kill(broker, number)
    try:
        told(cli, "takes no run: it has not heard its broker for")
    finally:
        os.kill(broker, signal.SIGCONT)
    if number == signal.SIGSTOP:
        eventually(lambda: cli("worker", "--check").returncode == 0, PATIENCE, "it takes runs again")
