"""I4 with a real worker: a decrypt that cannot be recorded does not happen, and what can be is in the audit chain."""

import ctypes
import os
import select
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from secretstore import audit, audit_reading, vault
from secretstore.views import EventView
from tests.processes import eventually
from tests.rig import ACTOR, Rig, rig

VALUE = b"hunter2-prod-key-5417"
_OPENED = 0x20  # IN_OPEN of <sys/inotify.h>


class Watch:
    """The kernel's word on who opens a file: every open(2) of it, by whichever process."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(path), _OPENED) < 0:
            pytest.skip("this machine gives no inotify watches")

    def openings(self) -> int:
        """How often it was opened since this was last asked."""
        count = 0
        while select.select([self.fd], [], [], 0)[0]:
            data = os.read(self.fd, 65536)
            while data:
                _, mask, _, length = struct.unpack_from("iIII", data)
                count += bool(mask & _OPENED)
                data = data[16 + length :]
        return count


@pytest.fixture(scope="module")
def place() -> Iterator[Rig]:
    """The embedded line with one secret."""
    with rig() as made:
        made.project("shop", {"API_KEY": VALUE})
        made.start_worker()
        yield made


@pytest.fixture
def key_file(place: Rig) -> Iterator[Watch]:
    """Tells of every opening of the key file from here on."""
    watch = Watch(place.key_file)
    yield watch
    os.close(watch.fd)


@contextmanager
def refusing(place: Rig, table: str) -> Iterator[None]:
    """Meanwhile the database takes no row of this table."""
    place.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'not today'); END")
    try:
        yield
    finally:
        place.execute("DROP TRIGGER refuse")


def test_a_decrypt_that_cannot_be_recorded_does_not_happen(place: Rig, key_file: Watch) -> None:
    """I4, I7: the key file is not even opened, the run ends with a sentence, and the worker's log has the reason."""
    code = "import os; print('ran with', len(os.environ['API_KEY']))"
    assert place.python_run(code).stdout == f"ran with {len(VALUE)}\n"
    assert key_file.openings() > 0, "the watch sees an opening that happens"
    for table in ("executor_receipt", "executor_receipt_secret", "secretstore_audit_waiting"):
        with refusing(place, table):
            ended = place.python_run(code)
        assert (ended.how, ended.stdout) == (("failed", "secrets_unavailable", None), "")
        assert "did not store the run's receipt, so no secret was opened" in str(ended.view.message)
        assert ended.view.receipt is None and len(ended.view.attempts) == 1
    assert key_file.openings() == 0
    assert place.workers[0].said().count("its receipt was refused: not today") == 3
    assert place.python_run(code).how == ("succeeded", None, 0)


def test_what_runs_open_reaches_the_chain_by_itself(place: Rig) -> None:
    """The worker links what its runs left waiting: who, through which worker, which environment, and how it went."""
    run_id = place.python_run("pass").view.id

    def of_run() -> list[EventView]:
        return [event for event in audit_reading.list_events(place.db, "shop") if run_id in event.detail]

    eventually(lambda: len(of_run()) == 2, 10, "both events are linked")
    begun, closed = of_run()
    assert (begun.action, begun.outcome, closed.action, closed.outcome) == (
        "secrets.open", "begun", "secrets.close", "done",
    )  # fmt: skip
    assert (begun.actor, begun.subject) == (ACTOR.name, "default")
    assert begun.origin.startswith("worker w0@")
    assert audit_reading.verify(place.db, "shop").ok
    assert VALUE.decode() not in repr(audit_reading.list_events(place.db, "shop"))


def test_an_opening_that_failed_is_closed_with_its_reason(place: Rig) -> None:
    """I4: not opened, and why; nothing was handed over that could have been dropped."""
    place.key_file.chmod(0o644)
    try:
        ended = place.python_run("pass")
    finally:
        place.key_file.chmod(0o600)
    receipt = ended.view.receipt
    assert receipt is not None
    assert (receipt.status, receipt.opened_at, receipt.dropped_at) == ("closed", None, None)
    assert "chmod 600" in str(receipt.reason) and not receipt.may_have_been_opened


def test_a_secret_that_is_not_there_is_a_refusal_on_record(place: Rig) -> None:
    """The gate stays shut, and the chain says who asked and why not."""
    ended = place.python_run("pass", secret_names=["API_KEY", "NO_SUCH"])
    assert ended.how == ("failed", "secrets_unavailable", None)
    audit.link_waiting(place.db)
    (event,) = [event for event in audit_reading.list_events(place.db, "shop") if ended.view.id in event.detail]
    assert (event.action, event.outcome) == ("secrets.open", "refused")
    assert '"reason": "unknown_secret"' in event.detail
    assert vault.list_secrets(place.db, "shop", "default")[0].name == "API_KEY"
