"""What the end of a supervision means: of each reason the state and the sentence, and what becomes of the receipt."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from executor.boundary.wire import Frame, Kind
from executor.models import Run
from executor.runs.spec import Hit
from executor.worker.collecting import Collector
from executor.worker.judging import judge, judge_setup
from executor.worker.watch import Ended

GONE = datetime(2030, 1, 1, tzinfo=UTC)
FUNCTION = {"kind": "function", "path": "jobs/a b.py", "function": "main", "args": [{"text": "word"}]}
MEASURED = {"phases": {"run": 1.0}, "peak_memory_bytes": 1 << 20}


def run(target: dict[str, Any] | None = None) -> Run:
    return Run(target=target or {"kind": "command", "argv": ["make", "it"]}, timeout=5)


MASKED = (Hit("API_KEY", "stdout", "hex", 2), Hit("API_KEY", "stderr", "as it is", 1))


def left(**found: Any) -> Collector:
    """What was collected: no output, and what a function left."""
    return cast(Collector, SimpleNamespace(left=found, aliases={}, connections={}, masked=MASKED, rest=lambda: ["row"]))


def ended(said: dict[str, Any] | None = None, answer: Frame | None = None, status: int | None = 0) -> Ended:
    return Ended(said, answer, status, GONE if status is not None else None)


def frame(kind: Kind, **document: Any) -> Frame:
    return Frame(kind, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("target", "said", "problem", "how"),
    [
        (None, {}, None, ("succeeded", None, None)),
        (None, {"reason": "exit_code", "exit_code": 3}, None, ("failed", "exit_code", "make ended with exit code 3")),
        (None, {"reason": "signal", "signal": 11}, None, ("failed", "signal", "make was ended by signal 11")),
        (None, {"reason": "timed_out"}, None, ("failed", "timed_out", "make was ended after 5 seconds")),
        (None, {"reason": "cancelled"}, None, ("cancelled", "cancelled", None)),
        (
            None,
            {"reason": "lost"},
            None,
            ("lost", "lost", "the run was ended because its worker could not renew the lease"),
        ),
        (
            FUNCTION,
            {"reason": "exit_code", "exit_code": 1},
            {"type": "ValueError"},
            ("failed", "exception", "jobs/a b.py:main raised ValueError"),
        ),
        (
            FUNCTION,
            {"reason": None, "exit_code": 0},
            {"type": "Quiet"},
            ("failed", "exception", "jobs/a b.py:main raised Quiet"),
        ),
        (
            FUNCTION,
            {"reason": "exit_code", "exit_code": 1},
            {"type": "Mistake", "message": "it has no argument x"},
            ("failed", "exception", "it has no argument x"),
        ),
        (
            {"kind": "module", "module": "jobs.main", "argv": ["-v"]},
            {"reason": "exit_code", "exit_code": 1, "metrics": MEASURED},
            {"type": "numpy.MemoryError"},
            ("failed", "out_of_memory", "jobs.main ran out of memory; it had 1 MiB at its highest"),
        ),
        (
            {"kind": "file", "path": "a b.py", "argv": []},
            {"reason": "out_of_memory", "metrics": MEASURED},
            None,
            ("failed", "out_of_memory", "a b.py ran out of memory: the kernel ended it; it had 1 MiB at its highest"),
        ),
        (None, {"reason": "setup_failed", "message": "no\0 folder"}, None, ("failed", "setup_failed", "no? folder")),
    ],
)
def test_each_reason_has_a_state_and_a_sentence(
    target: dict[str, Any] | None, said: dict[str, Any], problem: dict[str, Any] | None, how: tuple[str, ...]
) -> None:
    """A person understands it; what the supervisor says itself comes before ours."""
    outcome = judge(run(target), ended(said), left(problem=problem) if problem else left(), {"setup": 0.5})
    assert (outcome.state, outcome.reason, outcome.message) == how
    assert outcome.rows == ["row"] and outcome.dropped_at == GONE
    assert outcome.masked == MASKED and outcome.masked_count == 3
    if said.get("metrics"):
        assert outcome.metrics is not None and outcome.metrics["phases"] == {"setup": 0.5, "run": 1.0}


@pytest.mark.parametrize(
    ("status", "how"), [(9, "it was killed"), (0, "it ended without a word"), (None, "it ended without a word")]
)
def test_without_a_word_the_attempt_is_lost(status: int | None, how: str) -> None:
    """I7: and where nobody knows that the supervisor is gone, its secrets are not said to be."""
    outcome = judge(run(), ended(None, status=status), left(result=1), {})
    assert (outcome.state, outcome.message) == ("lost", f"the supervisor was lost: {how}")
    assert outcome.result is None and outcome.rows == ["row"] and outcome.masked == MASKED
    assert outcome.dropped_at == (GONE if status is not None else None)


def test_the_opener_says_whether_secrets_were_opened() -> None:
    """And why not; where handing over broke off nobody knows, and the receipt stays open."""
    refused = {"reason": "secrets_unavailable"}
    opened = judge(run(), ended({}, frame(Kind.OPENED, at="2030-01-01T00:00:00+00:00")), left(), {})
    assert (opened.opened_at, opened.not_opened) == (GONE, None)
    shut = judge(run(), ended(refused, frame(Kind.NOT_OPENED, message="no key", hint="ask", error="X")), left(), {})
    assert (shut.not_opened, shut.message, shut.opened_at) == ("no key (ask)", "no key (ask)", None)
    broken = judge(run(), ended(refused, frame(Kind.NOT_OPENED, message="pipe", error="OSError")), left(), {})
    assert (broken.not_opened, broken.message) == (None, "pipe")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"error": "kms_access_denied", "unopened": True}, "kms_access_denied"),
        ({"error": "kms_unavailable", "unopened": True}, "kms_unavailable"),
        ({"error": "key_service_missing", "unopened": True}, "key_service_missing"),
        ({"error": "key_file_missing", "unopened": True}, "key_file_missing"),
        ({"error": "kms_access_denied", "unopened": False}, None),
        ({"error": "kms_access_denied"}, None),
        ({"error": "wrap_broken", "unopened": True}, None),
        ({"error": "seal_broken", "unopened": True}, None),
        ({"error": ["kms_access_denied"], "unopened": True}, None),
    ],
)
def test_a_key_services_refusal_is_told_from_what_opens_nowhere(said: dict[str, Any], code: str | None) -> None:
    """I4, I7: another worker may open what this one's key service refuses, if nothing was opened here."""
    answer = frame(Kind.NOT_OPENED, message="no", **said)
    assert judge(run(), ended({"reason": "secrets_unavailable"}, answer), left(), {}).unopened == code


def test_a_process_that_outlived_the_run_is_told() -> None:
    """I8, I9: one that nobody could end may still hold what the run was given; beside what the run said itself."""
    outlived = judge(run(), ended({"tree_ended": False}), left(note="NaN is no JSON"), {})
    assert outlived.note == "NaN is no JSON; a process of it could not be ended, and may still run"
    assert (
        judge(run(), ended({"tree_ended": False}), left(), {}).note
        == "a process of it could not be ended, and may still run"
    )
    assert judge(run(), ended({"tree_ended": True}), left(), {}).note is None


def test_an_installer_is_no_program_of_the_run() -> None:
    """Its end is told in words of its own."""
    outcome = judge_setup(ended({"reason": "exit_code", "exit_code": 2}), left())
    assert (outcome.state, outcome.message) == ("failed", "the installer ended without a word (exit_code)")
