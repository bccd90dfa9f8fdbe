"""What is counted for Prometheus: with labels that are bounded, whatever rows and runs hold, and nothing secret."""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator

import pytest

from executor.boundary.wire import Frame, Kind
from executor.errors import MetricsUnavailable
from executor.runs import Outcome, queues
from executor.worker import metrics_server
from executor.worker.health import Health, Leaving
from executor.worker.metrics import Measured
from secretstore.bundle import SealedBundle
from secretstore.database import Database
from tests.executor.conftest import Bench
from tests.executor.runs.test_hostile_rows import NO_MOMENT, execute
from tests.processes import eventually
from tests.rig import PATIENCE
from tests.servers import free_port

SECRET = "hunter2-prod-key"


@pytest.fixture
def measured() -> Iterator[Measured]:
    """It listens on a port of loopback."""
    made = Measured(("127.0.0.1", free_port()), Health(Leaving()), {"r1"}, 4)
    yield made
    made.close()


def told(measured: Measured) -> dict[str, float]:
    """All series that have been counted, by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{measured.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(number) for name, _, number in found}


def answer(kind: Kind, **document: object) -> Frame:
    return Frame(kind, json.dumps(document).encode())


def test_what_ends_is_counted_by_state_and_reason(measured: Measured) -> None:
    """With how long its phases took; what was given back or taken over has no outcome."""
    phases = {"setup": 0.01, "run": 3.0, "queue": 9.0}
    measured.ended(Outcome("succeeded", metrics={"phases": phases}))
    measured.ended(Outcome("failed", "exit_code"))
    measured.ended(None)
    measured.masked(3)
    found = told(measured)
    assert found['sealrun_attempts_total{reason="none",state="succeeded"}'] == 1
    assert found['sealrun_attempts_total{reason="exit_code",state="failed"}'] == 1
    assert found['sealrun_attempts_total{reason="none",state="given_back"}'] == 1
    assert found['sealrun_phase_seconds_bucket{le="2.0",phase="run"}'] == 0
    assert found['sealrun_phase_seconds_bucket{le="10.0",phase="run"}'] == 1
    assert found["sealrun_masked_total"] == 3
    assert (found["sealrun_slots"], found["sealrun_running"], found["sealrun_ready"]) == (4, 1, 0)


def test_every_opening_is_counted_by_how_it_went(measured: Measured, bench: Bench) -> None:
    """I4: one call for each phase that opens something, none for what opens nothing; AWS's refusals by their code."""
    local = bench.bundle("API_KEY")
    kms = SealedBundle("shop", "p1", "default", "e1", 1, "f1", "aws-kms:arn:x", b"wrapped", local.items)
    measured.opening(None, None)
    measured.opening(bench.bundle(), answer(Kind.OPENED, seconds=1))
    measured.opening(local, answer(Kind.OPENED, seconds=0.003))
    measured.opening(kms, answer(Kind.NOT_OPENED, error="kms_access_denied", message=SECRET))
    measured.opening(kms, None)
    calls = {name: number for name, number in told(measured).items() if "key_service_calls" in name}
    assert calls == {
        'sealrun_key_service_calls_total{outcome="opened",service="local"}': 1,
        'sealrun_key_service_calls_total{outcome="kms_access_denied",service="aws-kms"}': 1,
        'sealrun_key_service_calls_total{outcome="no_answer",service="aws-kms"}': 1,
    }
    assert told(measured)['sealrun_phase_seconds_count{phase="open"}'] == 1


def test_i10_no_label_is_what_a_row_or_a_process_says(measured: Measured, bench: Bench) -> None:
    """I10: words that are none of ours are counted together, so that neither a value nor a million series gets out."""
    strange = SealedBundle("shop", "p1", "default", "e1", 1, "f1", SECRET, b"wrapped", bench.bundle("KEY").items)
    for number in range(3):
        measured.ended(Outcome("failed", f"{SECRET}{number}", metrics={"phases": {f"{SECRET}{number}": 1.0}}))
        measured.opening(strange, answer(Kind.NOT_OPENED, error=f"{SECRET}{number}", message=SECRET))
    found = told(measured)
    assert found['sealrun_attempts_total{reason="other",state="failed"}'] == 3
    assert found['sealrun_key_service_calls_total{outcome="other",service="other"}'] == 3
    assert SECRET not in "".join(found)
    assert {label for name in found for label in re.findall(r"(\w+)=", name)} == {
        "state", "reason", "phase", "le", "service", "outcome", "version",
    }  # fmt: skip


def test_what_waits_is_counted_and_its_age_told(db: Database, bench: Bench, measured: Measured) -> None:
    """Of the queues that a worker serves: neither a row without a moment nor a claimed run is one."""
    for queue in ("sealrun", "sealrun", "elsewhere"):
        bench.create(db, queue=queue)
    bench.claim(db, bench.create(db))
    odd = bench.create(db)
    execute(db, "UPDATE executor_run SET rung_at = :at WHERE id = :id", at=NO_MOMENT[db.dialect], id=odd)
    found = queues.waiting(db, ("sealrun", "prod"))
    assert found["prod"] == (0, 0.0)
    assert found["sealrun"][0] == 2 and 0 <= found["sealrun"][1] < 60
    measured.waiting(found)
    assert told(measured)['sealrun_queue_runs{queue="sealrun"}'] == 2
    assert 'sealrun_queue_oldest_seconds{queue="prod"}' in told(measured)


def test_an_address_that_is_taken_is_told(measured: Measured) -> None:
    """Two workers of a machine with one setting."""
    with pytest.raises(MetricsUnavailable, match=f"port {measured.port}: address already in use"):
        Measured(("127.0.0.1", measured.port), Health(Leaving()), set(), 1)


def half_asked(measured: Measured, words: bytes) -> socket.socket:
    """A connection that has sent something, and is closed by nobody here."""
    made = socket.create_connection(("127.0.0.1", measured.port), timeout=PATIENCE)
    made.sendall(words)
    made.setblocking(False)
    return made


def is_closed(connection: socket.socket, more: bytes = b"") -> bool:
    """Whether the other end is gone, without an answer."""
    try:
        if more:
            connection.send(more)
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_i7_connections_that_ask_nothing_are_few_and_short(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    """I7: a run can reach the port. What it holds open takes no descriptors from other runs, and numbers are told."""
    monkeypatch.setattr(metrics_server, "PATIENCE", PATIENCE * 10)
    idle = [half_asked(measured, b"GET /met") for _ in range(metrics_server.AT_ONCE * 3)]
    beyond = metrics_server.AT_ONCE * 2
    eventually(lambda: sum(map(is_closed, idle)) == beyond, PATIENCE, "those beyond the limit are closed")
    for one in idle:
        one.close()
    monkeypatch.setattr(metrics_server, "PATIENCE", 0.3)

    def is_told() -> bool:
        try:
            return bool(told(measured))
        except OSError:
            return False

    eventually(is_told, PATIENCE, "there is room again")
    drips = half_asked(measured, b"GET /")
    eventually(lambda: is_closed(drips, b"x"), PATIENCE, "a request that comes byte by byte is ended")
    monkeypatch.setattr(metrics_server, "PATIENCE", PATIENCE * 10)
    large = half_asked(measured, b"GET /" + b"x" * 20_000)
    eventually(lambda: is_closed(large), PATIENCE, "a large one is not read to its end")
    assert is_told()
    drips.close()
    large.close()
