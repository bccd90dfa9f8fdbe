"""The one door out of a supervisor: masked, limited, and never blocking."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from executor.boundary.wire import Frame, Kind, Receiver
from executor.masking.masker import Masker
from executor.supervisor import report
from executor.supervisor.allowance import LogLimits
from executor.supervisor.child import Child
from executor.supervisor.report import Reporter
from executor.supervisor.seen import LIMIT

SECRET = b"hunter2-prod-key"
LIMITS = LogLimits(total=1 << 20)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The supervisor's and the worker's end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def reporter(ends: tuple[socket.socket, socket.socket]) -> Reporter:
    """A reporter that masks one secret, with limits of a megabyte."""
    reporter = Reporter(ends[0])
    reporter.register(Masker.build({"API_KEY": SECRET}), LIMITS, 1 << 20)
    return reporter


@pytest.fixture
def frames(ends: tuple[socket.socket, socket.socket]) -> Callable[[], list[Frame]]:
    """What the worker has received so far."""
    receiver = Receiver(ends[1])

    def received() -> list[Frame]:
        found: list[Frame] = []
        while more := receiver.available():
            found += more
        return found

    return received


def carried(reporter: Reporter, kind: Kind, data: bytes) -> None:
    """As if the child had written it."""
    reading, writing = os.pipe()
    feeder = threading.Thread(target=lambda: (os.write(writing, data) if data else 0, os.close(writing)))
    feeder.start()
    while reporter.carry(kind, reading):
        pass
    feeder.join()
    os.close(reading)


def left(reporter: Reporter, frames: Callable[[], list[Frame]], data: bytes) -> Frame:
    """The frame that a result on the child's descriptor becomes."""
    carried(reporter, Kind.RESULT, data)
    reporter.result()
    (frame,) = frames()
    return frame


def test_everything_structured_is_masked(reporter: Reporter, frames: Callable[[], list[Frame]]) -> None:
    """I5: in outcomes and of files: every text that a run, a file system or an error may have had a part in."""
    text = SECRET.decode()
    reporter.withheld(f"dump-{text}", "it contains a secret")
    reporter.file(text, 3)
    reporter.outcome(reason="setup_failed", message=f"could not start {text}")
    *said, found, outcome = frames()
    assert len(said) == 2
    assert all(SECRET not in frame.payload and b"***" in frame.payload for frame in (*said, outcome))
    assert found.json() == [{"secret": "API_KEY", "stream": "message", "form": "as it is", "count": 3}]


def test_a_secret_over_two_reads_is_masked(reporter: Reporter, frames: Callable[[], list[Frame]]) -> None:
    """I5: what may still become a match is held back until it is known; stdout and stderr do not mix."""
    carried(reporter, Kind.STDOUT, b"key: " + SECRET[:8])
    carried(reporter, Kind.STDERR, b"fine\n")
    carried(reporter, Kind.STDOUT, SECRET[8:] + b" done\n")
    said = frames()
    assert b"".join(frame.payload for frame in said if frame.kind is Kind.STDOUT) == b"key: *** done\n"
    assert b"".join(frame.payload for frame in said if frame.kind is Kind.STDERR) == b"fine\n"


def drained(reporter: Reporter, stdout: bytes, patience: float = 5, writer_stays: bool = False) -> float:
    """Drain a child that left this in its pipes; returns the seconds it took."""
    pipes = [os.pipe() for _ in range(3)]
    os.write(pipes[0][1], stdout)
    for _, writing in pipes if not writer_stays else pipes[1:]:
        os.close(writing)
    child = Child(0, -1, *(reading for reading, _ in pipes))
    started = time.monotonic()
    reporter.drain(child, patience)
    for reading, _ in pipes:
        os.close(reading)
    if writer_stays:
        os.close(pipes[0][1])
    return time.monotonic() - started


def test_what_is_left_in_the_pipes_is_drained(reporter: Reporter, frames: Callable[[], list[Frame]]) -> None:
    """The tail of a stream, masked where it may be the beginning of a secret."""
    drained(reporter, b"last words " + SECRET[:10])
    assert b"".join(frame.payload for frame in frames()) == b"last words ***"


def test_draining_is_bounded(reporter: Reporter, frames: Callable[[], list[Frame]]) -> None:
    """A process that survived may hold the pipe open for ever."""
    assert 0.2 <= drained(reporter, b"last words\n", patience=0.2, writer_stays=True) < 5
    assert b"".join(frame.payload for frame in frames()) == b"last words\n"


@pytest.mark.parametrize("drop", [True, False])
def test_output_is_cut_at_the_limit_and_said(
    ends: tuple[socket.socket, socket.socket], frames: Callable[[], list[Frame]], drop: bool
) -> None:
    """Exactly the limit, over both streams, then a line of ours on each; the run is to end, unless it may go on."""
    reporter = Reporter(ends[0])
    reporter.register(Masker.build({}), LogLimits(total=10, drop=drop), 100)
    carried(reporter, Kind.STDOUT, b"12345")
    carried(reporter, Kind.STDERR, b"67890")
    assert b"".join(frame.payload for frame in frames()) == b"1234567890"
    assert not reporter.over_limit
    carried(reporter, Kind.STDOUT, b"X")
    carried(reporter, Kind.STDERR, b"Y" * 100)
    carried(reporter, Kind.STDOUT, b"X" * 100)
    said = frames()
    assert reporter.over_limit is not drop
    assert [frame.kind for frame in said] == [Kind.STDOUT, Kind.STDERR]
    assert all(b"the output limit of 10 bytes is reached" in frame.payload for frame in said)
    drained(reporter, b"X")
    assert [(frame.kind, b"".join(frame.payload.split(b"X"))) for frame in frames()] == [
        (Kind.STDOUT, b"sealrun: 102 bytes were left out at the end of this stream\n"),
        (Kind.STDERR, b"sealrun: 100 bytes were left out at the end of this stream\n"),
    ]
    assert reporter.written == {
        "stdout_bytes": 107, "stdout_kept_bytes": 5, "stdout_left_out_bytes": 102,
        "stderr_bytes": 105, "stderr_kept_bytes": 5, "stderr_left_out_bytes": 100,
    }  # fmt: skip


def test_a_secret_is_masked_where_output_is_cut(
    ends: tuple[socket.socket, socket.socket], frames: Callable[[], list[Frame]]
) -> None:
    """I5: whatever limit falls into a secret, no part of it stands before or behind the mark."""
    for at in range(1, len(SECRET)):
        reporter = Reporter(ends[0])
        reporter.register(Masker.build({"API_KEY": SECRET}), LogLimits(at + 20), 100)
        carried(reporter, Kind.STDOUT, b"x" * 20 + SECRET + b"y" * 30 + b"\n" + SECRET + b"\n")
        drained(reporter, b"")
        said = b"".join(frame.payload for frame in frames())
        assert not any(SECRET[start : start + 4] in said for start in range(len(SECRET) - 3)), said
        assert b"sealrun: " in said


def test_a_result_is_written_anew_and_masked(reporter: Reporter, frames: Callable[[], list[Frame]]) -> None:
    """I5: strings, keys and numbers of a result; nothing of the child's own bytes passes."""
    document = {"result": {SECRET.decode(): [SECRET.decode(), 1, None, True, 0.5]}}
    frame = left(reporter, frames, json.dumps(document).encode())
    assert (frame.kind, frame.json()) == (
        Kind.RESULT,
        {"result": {"***": ["***", 1, None, True, 0.5]}, "note": None},
    )


RAW = b"\xff\xfepass\xe9word\x80"


@pytest.mark.parametrize("other", ["", "\ud800", "\udfff", "\ud83d", "\udc00"])
def test_a_secret_that_is_no_text_is_masked_beside_lone_surrogates(
    ends: tuple[socket.socket, socket.socket], frames: Callable[[], list[Frame]], other: str
) -> None:
    """I5: Python shows such a value as surrogates; more of them, which stand for no byte, do not hide it."""
    reporter = Reporter(ends[0])
    reporter.register(Masker.build({"RAW": RAW}), LIMITS, 1 << 20)
    shown = RAW.decode("utf-8", "surrogateescape")
    document = {"result": {f"{other} {shown}": [f"{shown} {other}"]}}
    frame = left(reporter, frames, json.dumps(document).encode())
    placed = "\ufffd" if other else ""
    assert frame.json() == {"result": {f"{placed} ***": [f"*** {placed}"]}, "note": None}
    problem = {"problem": {"type": "OSError", "message": f"{other} {shown}", "traceback": f"x {shown}{other}"}}
    reporter = Reporter(ends[0])
    reporter.register(Masker.build({"RAW": RAW}), LIMITS, 1 << 20)
    frame = left(reporter, frames, json.dumps(problem).encode())
    assert frame.json() == {
        "problem": {"type": "OSError", "message": f"{placed} ***", "traceback": f"x ***{placed}"},
    }


OURS = (
    "exit_code", "timed_out", "cancelled", "setup_failed", "traceback", "problem", "message", "reason", "signal",
    "tree_ended", "result", "aliases", "withheld",
)  # fmt: skip


@pytest.mark.parametrize("word", OURS)
def test_a_secret_that_is_a_word_of_ours_changes_no_outcome(
    ends: tuple[socket.socket, socket.socket], frames: Callable[[], list[Frame]], word: str
) -> None:
    """Keys, reasons and numbers are ours and say nothing of a value; what stands in free text is still masked (I5)."""
    facts = {"reason": word, "exit_code": 3, "signal": None, "wall": 0.5, "tree_ended": True}
    problem = {"type": "KeyError", "message": "x", "traceback": "y"}
    said = {}
    for value in (b"none of our words", word.encode()):
        reporter = Reporter(ends[0])
        reporter.register(Masker.build({"A": value}), LIMITS, 1 << 20)
        reporter.post(Kind.STARTED, {"aliases": {"A": "B"}})
        carried(reporter, Kind.RESULT, json.dumps({"problem": problem}).encode())
        reporter.result()
        reporter.outcome(**facts)
        said[value] = [frame.json() for frame in frames()]
    assert said[word.encode()] == said[b"none of our words"] == [{"aliases": {"A": "B"}}, {"problem": problem}, facts]
    if reporter.masker.finds([word.encode()]):  # a word of fewer than eight letters is never masked
        reporter.outcome(reason="setup_failed", message=f"could not start {word}")
        _, outcome = frames()
        assert outcome.json()["message"] == "could not start ***"


def test_a_problem_is_masked(reporter: Reporter, frames: Callable[[], list[Frame]]) -> None:
    """I5: type, message and traceback."""
    document = {"problem": {"type": "KeyError", "message": SECRET.decode(), "traceback": f"x {SECRET.decode()}\n"}}
    frame = left(reporter, frames, json.dumps(document).encode())
    assert frame.kind is Kind.PROBLEM
    assert frame.json() == {"problem": {"type": "KeyError", "message": "***", "traceback": "x ***\n"}}


def test_every_text_of_a_problem_is_masked(reporter: Reporter, frames: Callable[[], list[Frame]]) -> None:
    """I5: those of its causes, too; and a text of which the run sends the beginning, though it ends in a secret's."""
    text = SECRET.decode()
    cause = {"type": text, "message": f"a {text}", "traceback": f"{text}\n", "relation": "member"}
    began = {"text": f"long {text[:10]}", "left_out": 1000}
    problem = {"type": text, "message": began, "traceback": began, "causes": [cause]}
    frame = left(reporter, frames, json.dumps({"problem": problem}).encode())
    said = "long ***… (the rest was left out)"
    assert frame.json()["problem"] == {
        "type": "***",
        "message": said,
        "traceback": said,
        "causes": [{"type": "***", "message": "a ***", "traceback": "***\n", "relation": "member"}],
    }


@pytest.mark.parametrize("before", [4080, 4088, 4095])
def test_a_note_is_masked_before_it_is_cut(reporter: Reporter, frames: Callable[[], list[Frame]], before: int) -> None:
    """I5: it names places in what the function returned, and keys are the run's words."""
    frame = left(reporter, frames, json.dumps({"note": "x" * before + SECRET.decode() + "y" * 100}).encode())
    assert b"hunt" not in frame.payload and "… (the rest was left out)".encode() in frame.payload


@pytest.mark.parametrize("secret", [b"hunter2-prod-key", b"hunter2-prod-key, which is much longer"])
def test_no_length_of_a_secret_shows_where_something_is_left_out(
    ends: tuple[socket.socket, socket.socket], frames: Callable[[], list[Frame]], secret: bytes
) -> None:
    """I5: of output beyond the limit, of a text that the run has cut and of a result too large: all is as for any."""
    reporter = Reporter(ends[0])
    reporter.register(Masker.build({"KEY": secret}), LogLimits(total=64, drop=True), 100)
    for data in (b"x\n" * 10, b"y" * 100, secret * 3 + b"\n", b"z" + secret):
        carried(reporter, Kind.STDOUT, data)
    drained(reporter, b"")
    said = b"".join(frame.payload for frame in frames())
    assert said.endswith(b"sealrun: 72 bytes were left out at the end of this stream\n")
    assert reporter.written["stdout_bytes"] == 128
    assert reporter.seen.told() == []
    text = secret.decode()
    cut = {"text": f"a {text} b {text} {'c' * 1000}"[:500], "left_out": 500 + len(text)}
    frame = left(reporter, frames, json.dumps({"problem": {"type": "E", "message": cut, "traceback": ""}}).encode())
    assert frame.json()["problem"]["message"] == "a ***… (the rest was left out)"
    reporter._result.clear()
    reporter._result_size = 0
    frame = left(reporter, frames, json.dumps({"result": [text] * 100}).encode())
    assert not set("0123456789") & set(frame.json()["note"].replace("(100 bytes)", ""))


def test_the_result_limit_is_exact(
    ends: tuple[socket.socket, socket.socket], frames: Callable[[], list[Frame]]
) -> None:
    """A result of the limit is stored, one byte more is not, and neither is read further than that."""
    for size, fits in ((100, True), (101, False), (1 << 20, False)):
        reporter = Reporter(ends[0])
        reporter.register(Masker.build({}), LIMITS, 100)
        data = b'{"result":"' + b"x" * (size - 13) + b'"}'
        assert len(data) == size
        frame = left(reporter, frames, data)
        assert (frame.json()["result"] is not None) == fits
        assert fits or "larger than SEALRUN_RESULT_LIMIT_KIB allows (100 bytes)" in frame.json()["note"]


def test_a_result_behind_a_problem_that_is_none_has_its_limit(
    ends: tuple[socket.socket, socket.socket], frames: Callable[[], list[Frame]]
) -> None:
    """It is a result however it begins: what a problem may have does not count for it."""
    for size, fits in ((100, True), (101, False), (1 << 20, False)):
        reporter = Reporter(ends[0])
        reporter.register(Masker.build({}), LIMITS, 100)
        begins = b'{"problem":null,"result":"'
        frame = left(reporter, frames, begins + b"x" * (size - len(begins) - 2) + b'"}')
        assert frame.kind is Kind.RESULT
        assert (frame.json()["result"] is not None) == fits
        assert fits or "larger than SEALRUN_RESULT_LIMIT_KIB allows (100 bytes)" in frame.json()["note"]


HOSTILE = {
    "text": b'"problem"',
    "a list": b'["problem"]',
    "a number": b"5",
    "null": b"null",
    "an empty object": b"{}",
    "not JSON": b"{problem",
    "not UTF-8": b'{"result":"\xff"}',
    "too deep": b"[" * 100_000,
    "too deep inside": b'{"result":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "many digits": b'{"result":' + b"9" * 5000 + b"}",
    "NaN": b'{"result":[NaN]}',
    "infinity": b'{"result":-Infinity}',
    "infinity by a number": b'{"result":1e999}',
    "a problem that is text": b'{"problem":"x"}',
    "a problem that is a list": b'{"problem":[1]}',
    "a problem of odd fields": b'{"problem":{"type":{"a":1},"message":5,"traceback":null,"more":[1]}}',
    "a problem with NULs": b'{"problem":{"type":"a\\u0000b","message":"\\u0000","traceback":"\\u0000"}}',
    "a note that is none": b'{"result":null,"note":{"a":1}}',
    "a note with a NUL": b'{"result":null,"note":"a\\u0000b"}',
    "a result with a NUL": b'{"result":{"a\\u0000b":"\\u0000"}}',
    "a lone surrogate": b'{"result":"\\ud800","note":"\\udc80"}',
    "both": b'{"problem":{"type":"E"},"result":1}',
    "unknown keys": b'{"outcome":1,"state":"succeeded"}',
    "causes that are text": b'{"problem":{"type":"E","causes":"x"}}',
    "causes of odd fields": b'{"problem":{"type":"E","causes":[{"type":1,"relation":"cause"}]}}',
    "causes of odd relations": b'{"problem":{"type":"E","causes":[{"type":"E","relation":{"a":1}}]}}',
    "causes with more fields": b'{"problem":{"type":"E","causes":[{"type":"E","relation":"cause","causes":[1]}]}}',
    "many causes": b'{"problem":{"type":"E","causes":[' + b",".join([b'{"type":"E","relation":"cause"}'] * 50) + b"]}}",
    "a text cut oddly": b'{"problem":{"type":"E","message":{"text":1,"left_out":"x"}}}',
    "a text cut by true": b'{"problem":{"type":"E","message":{"text":"x","left_out":true}}}',
    "a long text": b'{"problem":{"type":"E","message":"' + b"x" * 200_000 + b'"}}',
    "a problem that breaks off": b'{"problem":',
    "a problem that is none": b'{"problem":"E"}',
    "a problem that is too long": b'{"problem":{"message":"' + b"x" * (5 << 20) + b'"}}',
    "a long note": b'{"result":null,"note":"' + b"x" * 200_000 + b'"}',
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_whatever_the_child_reports_becomes_a_frame_of_our_shape(
    reporter: Reporter, frames: Callable[[], list[Frame]], data: bytes
) -> None:
    """A run may write anything to its result's descriptor: the worker gets strict JSON with known fields, or a note."""
    frame = left(reporter, frames, data)

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON, and PostgreSQL refuses it")

    document = json.loads(frame.payload, parse_constant=refuse)
    json.dumps(document).encode()
    assert frame.kind is Kind.PROBLEM or not data.startswith(b'{"problem":')
    if frame.kind is Kind.PROBLEM:
        problem = document.pop("problem")
        causes = problem.pop("causes", [])
        assert document == {} and set(problem) <= {"type", "message", "traceback"} and len(causes) <= 10
        assert all(set(cause) <= {"type", "message", "traceback", "relation"} for cause in causes)
        for one in (problem, *causes):
            assert all(isinstance(text, str) and "\0" not in text and len(text) < 1 << 18 for text in one.values())
    else:
        assert frame.kind is Kind.RESULT and set(document) <= {"result", "note"}
        note = document.get("note")
        assert note is None or (isinstance(note, str) and "\0" not in note)


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_whatever_the_child_reports_can_be_stored(
    reporter: Reporter, frames: Callable[[], list[Frame]], data: bytes, shared_postgres: Any
) -> None:
    """I7: PostgreSQL takes it, so no run is lost by what it returned."""
    db, bench = shared_postgres
    from executor import runs
    from executor.records import history

    document = left(reporter, frames, data).json()
    lease = bench.running(db)
    outcome = runs.Outcome("failed", "exception", message=str(document.get("problem", {}).get("type")), **document)
    assert runs.finish(db, lease, outcome)
    assert history.show(db, lease.run_id).over


def test_a_result_that_does_not_come_is_told(reporter: Reporter, frames: Callable[[], list[Frame]]) -> None:
    """A function that ended its process, or closed the descriptor, has no silent null for its result."""
    reporter.result(awaited=True)
    (frame,) = frames()
    assert frame.json()["note"].startswith("no result came: ")
    reporter.result()
    assert frames() == []


def test_a_worker_that_takes_nothing_blocks_nothing(
    ends: tuple[socket.socket, socket.socket], frames: Callable[[], list[Frame]]
) -> None:
    """Frames wait in memory up to a few megabytes; then reading stops, and goes on when the worker does."""
    reporter = Reporter(ends[0])
    reporter.register(Masker.build({}), LogLimits(64 << 20), 100)
    sent = 0
    while not reporter.congested:
        carried(reporter, Kind.STDOUT, b"x" * (1 << 18))
        sent += 1 << 18
        assert sent <= 16 << 20, "it never says that it is congested"
    assert reporter.pending
    received = 0
    while reporter.pending:
        received += sum(len(frame.payload) for frame in frames())
        reporter.flush()
    received += sum(len(frame.payload) for frame in frames())
    assert received == sent and not reporter.congested


def test_a_worker_that_takes_nothing_for_long_is_waited_for(
    ends: tuple[socket.socket, socket.socket], frames: Callable[[], list[Frame]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """I7: as long as the lease is good nothing is dropped, however slow the database is."""
    monkeypatch.setattr(report, "_PATIENCE", 0.0)
    reporter = Reporter(ends[0])
    reporter.register(Masker.build({}), LogLimits(64 << 20), 100)
    received: list[Frame] = []

    def expected() -> bool:
        received.extend(frames())
        return True

    reporter.wait_while(expected)
    reporter.file_data(b"x" * (8 << 20))
    reporter.outcome(reason=None)
    received += frames()
    assert [frame.kind for frame in received] == [Kind.OUTPUT_DATA, Kind.OUTCOME]


def test_a_worker_that_is_gone_stops_nothing(ends: tuple[socket.socket, socket.socket], reporter: Reporter) -> None:
    """What cannot be told is dropped; the supervisor still ends its run."""
    ends[1].close()
    carried(reporter, Kind.STDOUT, b"x" * 100_000)
    reporter.file_data(b"x" * (8 << 20))
    started = time.monotonic()
    reporter.outcome(reason=None)
    assert time.monotonic() - started < 5 and not reporter.pending


def test_nothing_that_is_counted_tells_how_long_a_secret_is(
    ends: tuple[socket.socket, socket.socket], frames: Callable[[], list[Frame]]
) -> None:
    """I10: all that leaves is the same for a short value and a long one: output, sizes, numbers, what was found."""
    told = []
    for value in (b"hunter22", b"hunter22" * 200):
        reporter = Reporter(ends[0])
        reporter.register(Masker.build({"API_KEY": value}), LIMITS, 1 << 20)
        carried(reporter, Kind.STDOUT, b"key: " + value + b"\n")
        carried(reporter, Kind.STDERR, b"key: " + value.hex().encode() + b"\n")
        drained(reporter, b"")
        reporter.say(f"a word on {value.decode()}")
        carried(reporter, Kind.RESULT, json.dumps({"result": {value.decode(): [value.decode()]}}).encode())
        reporter.result()
        reporter.outcome(metrics=reporter.written)
        told.append([(frame.kind, frame.payload) for frame in frames()])
    assert told[0] == told[1]
    found = {(one["stream"], one["form"], one["count"]) for one in json.loads(dict(told[0])[Kind.MASKED])}
    assert found == {
        ("stdout", "as it is", 1), ("stderr", "hex", 1), ("message", "as it is", 1), ("result", "as it is", 2)
    }  # fmt: skip
    assert json.loads(dict(told[0])[Kind.OUTCOME])["metrics"]["stdout_bytes"] == len("key: ***\n")


def test_what_was_found_is_told_in_a_bounded_number_of_entries(
    reporter: Reporter, frames: Callable[[], list[Frame]]
) -> None:
    """Of a project with very many secrets the rest is a number for each stream, so that the sum is right."""
    values = {f"KEY_{number:04}": f"value-of-key-{number:04}".encode() for number in range(LIMIT + 100)}
    reporter.register(Masker.build(values), LIMITS, 1 << 20)
    carried(reporter, Kind.STDOUT, b"\n".join(values.values()))
    carried(reporter, Kind.STDERR, b"value-of-key-0007 value-of-key-0007\n")
    drained(reporter, b"")
    reporter.outcome()
    found = next(frame.json() for frame in frames() if frame.kind is Kind.MASKED)
    assert len(found) == LIMIT + 1 and sum(one["count"] for one in found) == LIMIT + 102
    assert found[0] == {"secret": "KEY_0007", "stream": "stderr", "form": "as it is", "count": 2}
    assert (found[-1]["secret"], found[-1]["count"]) == ("other secrets", 101)


def test_a_run_that_shows_nothing_has_nothing_told(reporter: Reporter, frames: Callable[[], list[Frame]]) -> None:
    """No frame of it at all: most runs give out no secret."""
    carried(reporter, Kind.STDOUT, b"fine\n")
    reporter.outcome(reason=None)
    assert [frame.kind for frame in frames()] == [Kind.STDOUT, Kind.OUTCOME]
