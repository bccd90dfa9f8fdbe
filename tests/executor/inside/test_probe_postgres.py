"""The probe of a database, against a port that nobody listens on."""

import psycopg
import pytest

from executor.inside.probes import postgres


class Connection:
    """As a run's object of a source: it opens what its URL says."""

    def __init__(self, url: str) -> None:
        self.url = url

    def connect(self, **options: int) -> psycopg.Connection:
        """Open it."""
        return psycopg.connect(self.url, **options)


@pytest.mark.parametrize("hosts", ["127.0.0.1:1", "127.0.0.1:1,127.0.0.1:2"])
def test_all_lines_of_a_failure_are_one_sentence(hosts: str) -> None:
    """libpq says the cause first and asks a question after it; of several hosts it says one after the other."""
    found = postgres.probe(Connection(f"postgresql://nobody@{hosts}/none"))
    assert not found["ok"]
    assert "failed: Connection refused; Is the server running" in found["said"]
    assert all(f"port {host.rpartition(':')[2]} failed" in found["said"] for host in hosts.split(","))
    assert not set("\n\t") & set(found["said"])
