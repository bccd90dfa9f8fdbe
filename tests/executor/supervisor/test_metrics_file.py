"""Metrics that a run reports itself: whatever it writes, a few numbers with masked texts come out, and a sentence."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor.masking.masker import Masker
from executor.supervisor.metrics_file import Metric, MetricsFile

SECRET = "hunter2-prod-key"
NUMBER = "4111111111111111"
MASKER = Masker.build({"API_KEY": SECRET.encode(), "CARD": NUMBER.encode()})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


@pytest.fixture
def reported(file: Path) -> MetricsFile:
    return MetricsFile(str(file), None)


def line(**fields: Any) -> str:
    return json.dumps({"name": "rows", "value": 1, **fields}) + "\n"


def test_metrics_are_read_as_they_come(file: Path, reported: MetricsFile) -> None:
    """Each once; a line that is not over waits, until the run is."""
    assert reported.new(MASKER) == []
    with file.open("a") as out:
        out.write(line(unit="1", labels={"table": "x"}) + '{"name": "late", ')
        out.flush()
        assert reported.new(MASKER) == [Metric("rows", 1.0, "1", {"table": "x"})]
        out.write('"value": 2.5}')
        out.flush()
        assert reported.new(MASKER) == []
        assert reported.new(MASKER, last=True) == [Metric("late", 2.5, None, None)]
    assert reported.close() is None


def test_texts_are_masked(file: Path, reported: MetricsFile) -> None:
    """I5: name, unit, labels and their names."""
    file.write_text(line(name=f"of {SECRET}", unit=SECRET, labels={SECRET: f"a {SECRET}"}))
    assert reported.new(MASKER, last=True) == [Metric("of ***", 1.0, "***", {"***": "a ***"})]


@pytest.mark.parametrize("value", [NUMBER, f"{NUMBER}.0", f"{NUMBER}5", "4.111111111111111e15", f"-{NUMBER}"])
def test_a_number_that_shows_a_secret_is_left_out(file: Path, reported: MetricsFile, value: str) -> None:
    """I5: and the sentence about it has neither the number nor a word of the run's."""
    file.write_text(f'{{"name": "card", "value": {value}}}\n')
    assert reported.new(MASKER, last=True) == []
    assert reported.close() == "not all of SEALRUN_METRICS was kept: line 1 has a value that contains a secret"


ODD = {
    "no JSON": "{rows",
    "no text": "\udcff\udcfe",
    "a list": "[1]",
    "a number": "5",
    "no name": '{"value": 1}',
    "an empty name": '{"name": "", "value": 1}',
    "a long name": json.dumps({"name": "x" * 201, "value": 1}),
    "a name that is none": '{"name": ["x"], "value": 1}',
    "no value": '{"name": "x"}',
    "text as value": '{"name": "x", "value": "1"}',
    "true": '{"name": "x", "value": true}',
    "NaN": '{"name": "x", "value": NaN}',
    "infinity": '{"name": "x", "value": -Infinity}',
    "infinity by a number": '{"name": "x", "value": 1e999}',
    "an int beyond a float": '{"name": "x", "value": 1%s}' % ("0" * 400),
    "many digits": '{"name": "x", "value": 1%s}' % ("0" * 5000),
    "a long unit": json.dumps({"name": "x", "value": 1, "unit": "u" * 51}),
    "a unit that is none": '{"name": "x", "value": 1, "unit": 1}',
    "labels that are none": '{"name": "x", "value": 1, "labels": ["a"]}',
    "a label that is none": '{"name": "x", "value": 1, "labels": {"a": 1}}',
    "a long label": json.dumps({"name": "x", "value": 1, "labels": {"a": "b" * 201}}),
    "many labels": json.dumps({"name": "x", "value": 1, "labels": {str(n): "" for n in range(21)}}),
    "another field": '{"name": "x", "value": 1, "time": 2}',
    "too deep": "[" * 10_000,
    "a long line": json.dumps({"name": "x", "value": 1, "unit": " " * (64 << 10)}),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_a_line_that_is_no_metric_is_counted(file: Path, reported: MetricsFile, odd: str) -> None:
    """Those around it are kept, and the sentence says where the first one stands and why, in words of ours."""
    file.write_bytes(f"{line()}\n{odd}\n{line()}{odd}\n".encode(errors="surrogateescape"))
    assert reported.new(MASKER, last=True) == [Metric("rows", 1.0, None, None)] * 2
    said = reported.close()
    assert said is not None and said.startswith("not all of SEALRUN_METRICS was kept: line 3 ")
    assert said.endswith(", and 1 more")


def test_text_that_no_database_takes_is_replaced(file: Path, reported: MetricsFile) -> None:
    """PostgreSQL has neither NUL nor lone surrogates."""
    file.write_text('{"name": "a\\u0000b", "value": 1, "unit": "\\ud800", "labels": {"\\u0000": "\\u0000"}}\n')
    assert reported.new(MASKER) == [Metric("a␀b", 1.0, "\ufffd", {"␀": "␀"})]


def test_so_many_and_no_more(file: Path, reported: MetricsFile) -> None:
    """A thousand metrics, and a mebibyte of lines, however often the file is read."""
    file.write_text(line() * 1001)
    assert len(reported.new(MASKER)) == 1000
    assert reported.close() == "not all of SEALRUN_METRICS was kept: line 1001 comes after 1,000 metrics"
    reported = MetricsFile(str(file), None)
    file.write_text((" " * 1023 + "\n") * 1025)
    assert reported.new(MASKER) == []
    file.write_text(line())
    assert reported.new(MASKER, last=True) == []
    assert reported.close() == "not all of SEALRUN_METRICS was kept: only its first 1 MiB are read"


def test_a_file_that_is_written_anew_is_read_anew(file: Path, reported: MetricsFile) -> None:
    """Put in its place, or emptied."""
    file.write_text(line(name="first") * 2)
    assert len(reported.new(MASKER)) == 2
    file.write_text(line(name="second"))
    assert [metric.name for metric in reported.new(MASKER)] == ["second"]
    other = file.with_name("other")
    other.write_text(line(name="third") * 3)
    os.replace(other, file)
    assert [metric.name for metric in reported.new(MASKER)] == ["third"] * 3


def _link(file: Path) -> None:
    file.with_name("target").write_text(line())
    file.symlink_to("target")


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (_link, "the file cannot be opened: Too many levels of symbolic links"),
        (os.mkfifo, "it is not a regular file"),
        (os.mkdir, "it is not a regular file"),
    ],
)
def test_nothing_but_a_regular_file_is_read(
    file: Path, reported: MetricsFile, put: Callable[[Path], None], said: str
) -> None:
    """What a link points to may be readable to the supervisor alone, and a pipe would hold it for ever."""
    put(file)
    assert reported.new(MASKER) == reported.new(MASKER, last=True) == []
    assert reported.close() == f"not all of SEALRUN_METRICS was kept: {said}"


def test_a_folder_that_was_swapped_meanwhile_changes_nothing(file: Path, reported: MetricsFile) -> None:
    """The one that was there before the run began is read."""
    elsewhere = file.parent.with_name(f"{file.parent.name}-elsewhere")
    os.rename(file.parent, elsewhere)
    os.mkdir(file.parent)
    file.write_text(line())
    assert reported.new(MASKER, last=True) == []


def test_another_users_file_is_not_read(root: None, file: Path) -> None:
    """A hard link to what the run may not read would be one."""
    file.write_text(line())
    assert MetricsFile(str(file), 60_700).new(MASKER, last=True) == []
    os.chown(file, 60_700, -1)
    assert len(MetricsFile(str(file), 60_700).new(MASKER, last=True)) == 1
