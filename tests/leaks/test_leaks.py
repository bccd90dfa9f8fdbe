"""Nothing of a secret is found anywhere but in the processes that may hold it (I1, I3, I5)."""

import os
import signal

import pytest

from tests.leaks.canaries import Canaries
from tests.leaks.evidence import Search, memory
from tests.leaks.scene import Seen, observe
from tests.processes import environ, eventually, is_alive
from tests.rig import PATIENCE, command, rig

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the memory of hardened processes can be read by root alone")


READ = (
    *(f"memory of the {name}" for name in ("worker", "zygote", "broker", "supervisor of another run", "other run")),
    *(f"table executor_{name}" for name in ("log_chunk", "result", "output", "output_chunk", "masked")),
    *("canaries in the supervisor that holds them", "no opener stays", "sealrun.db-wal", "worker log", "files"),
    *("broker, queued", "what the broker was told", "Celery's events"),
)
EMPTY = (
    # Nobody is asked who they are: this deployment has no server.
    *("executor_account", "executor_answer", "executor_attempts", "executor_command_line_code", "executor_device_code"),
    *("executor_group", "executor_group_member", "executor_link", "executor_membership", "executor_oidc_state"),
    *("executor_session", "executor_token"),
    # No source is uploaded, nothing sealed in two steps, no key pair changed; the project has no variable.
    *("executor_source_bundle", "executor_source_bundle_chunk", "executor_source_upload"),
    *("secretstore_secret_reservation", "executor_job", "executor_job_receipt", "executor_job_receipt_secret"),
    "secretstore_variable",
    "secretstore_audit_waiting",  # where events wait two seconds for the table of linked ones
)
"""Tables through which nothing passes here."""


@pytest.fixture(scope="module")
def seen() -> Seen:
    """The product as it is, after everything has happened once."""
    return observe()


def test_every_place_was_really_read(seen: Seen) -> None:
    """In each memory, file, table and stream that is searched below, a mark that passed through it is found.

    The worker, a supervisor and a run have had the value of a variable pass through them, the broker was told it,
    the zygote imports from a folder of a name to recognise; and in the supervisor that holds them, all canaries are.
    """
    missing = {place for place, found in seen.marks.items() if not found}
    assert missing <= {f"table {name}" for name in EMPTY}, sorted(missing)
    assert seen.marks["table secretstore_audit_event has what runs left waiting"]
    for place in READ:
        assert seen.marks[place], place


def test_runs_did_their_worst(seen: Seen) -> None:
    """Every job came to the end it was written for, so nothing is missing only because a job failed early."""
    assert seen.states == {
        "prints": ("succeeded", None),
        "reports": ("succeeded", None),
        "notes": ("succeeded", None),
        "leaves": ("succeeded", None),
        "passes on": ("succeeded", None),
        "dies": ("failed", "signal"),
        "returns": ("succeeded", None),
        "raises": ("failed", "exception"),
        "shell": ("failed", "exit_code"),
        "conflict": ("failed", "setup_failed"),
    }
    for title in ("prints", "passes on", "raises", "shell", "dies"):
        assert "***" in seen.texts[title], title


def test_memory_of_every_process_of_ours(seen: Seen) -> None:
    """I1: worker, zygote, broker, another run and its supervisor hold no canary in any form, then and after."""
    assert sorted(seen.findings_in("memory", "argv", "keys"), key=repr) == []


def test_broker_messages_and_events(seen: Seen) -> None:
    """I1: queued messages, everything the broker was ever told, Celery's events among it, and what stays in it."""
    assert sorted(seen.findings_in("broker", "what the broker"), key=repr) == []


def test_database(seen: Seen) -> None:
    """I1, I5: neither the tables (logs, results, problems, outputs, receipts) nor the raw files and journal."""
    assert sorted(seen.findings_in("table", "sealrun.db", "view"), key=repr) == []


def test_logs_and_files(seen: Seen) -> None:
    """I1, I3: the worker's log at its most talkative, and every file left behind in any folder for temporary ones."""
    assert sorted(seen.findings_in("worker log", "file"), key=repr) == []
    assert seen.texts["left in the workspaces"] == ""


def test_nothing_else(seen: Seen) -> None:
    """Whatever place the tests above do not name is clean too."""
    assert sorted(seen.findings, key=repr) == []


LEFT = """
touch "$HOME/named-${WORD:0:20}" "$SEALRUN_OUTPUT_DIR/named-${WORD:0:20}"
setsid sh -c 'setsid sleep 600 & echo pid $!' &
wait
sleep 600
"""


def test_clearing_up_after_a_crash() -> None:
    """I1: a worker that ends and clears up what an earlier one left reads neither its environment nor its file names.

    The environment of a command holds its secrets, as exec passes it on, and a run may put one into a file's name.
    """
    canary = Canaries().word
    search = Search({("word", "raw"): canary.encode()})
    with rig(settings={"SEALRUN_LEASE_SECONDS": "3"}) as made:
        made.project("shop", {"WORD": canary.encode() * 1500})  # long, to leave traces that last
        made.project("plain", variables={"MARK": "mark-of-this-test"})
        worker = made.start_worker()
        run_id = made.submit(command("bash", "-c", LEFT))
        (daemon,) = made.pids(run_id, 1)
        assert environ(daemon)["WORD"].startswith(canary)
        assert (made.place(run_id) / "home" / f"named-{canary}").exists()
        boxed = made.boxed
        family = [worker.pid, worker.zygote, *worker.supervisors()]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in family:
                os.kill(pid, number)
        assert boxed or is_alive(daemon)  # a box ends with its supervisor
        following = made.start_worker()
        eventually(lambda: not is_alive(daemon), PATIENCE, "the daemon is ended")
        eventually(lambda: not made.place(run_id).exists(), PATIENCE, "the workspace is removed")
        made.ended(run_id)
        mark = Search({("mark", "raw"): b"mark-of-this-test"})
        seen = made.submit(command("sh", "-c", "while test ! -e $TMPDIR/go; do sleep 0.02; done"), project="plain")
        eventually(lambda: mark.within("", memory(following.pid)), PATIENCE, "what the worker knows is found in it")
        made.let_go(seen)
        made.ended(seen)
        for pid in (following.pid, following.zygote):
            assert search.within("", memory(pid)) == set()
