"""Metrics that a run reports itself: one JSON object per line, in the file that SEALRUN_METRICS names.

The run may have put anything there. The file is opened anew each time, in a folder that was opened before the run
began; no link is followed, and only a regular file is read.
"""

import contextlib
import json
import math
import os
import stat
from dataclasses import dataclass
from typing import Any

from executor.masking.masker import Masker

COUNT_LIMIT = 1_000  # metrics of an attempt
LINE_LIMIT = 64 << 10  # bytes
TOTAL_LIMIT = 1 << 20  # bytes of an attempt
_NAME, _UNIT, _LABELS, _LABEL = 200, 50, 20, 200  # characters; _LABELS is a count
_OPENED = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FIELDS = {"name", "value", "unit", "labels"}


@dataclass(frozen=True)
class Metric:
    """One number, its texts masked."""

    name: str
    value: float
    unit: str | None
    labels: dict[str, str] | None


class NotAMetric(Exception):
    """why a line is not a metric; quotes nothing of it"""


class MetricsFile:
    """The file, read on from where the last look ended."""

    def __init__(self, path: str, uid: int | None) -> None:
        """Open its folder, which has to exist; called before the run begins.

        Args:
            path: the value of SEALRUN_METRICS.
            uid: the run's own user id, if it has one: files of other owners are refused.
        """
        folder, self._name = os.path.split(path)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._uid = uid
        self._file: tuple[int, int] | None = None
        self._place = 0
        self._rest = b""
        self._read = 0
        self._lines = 0
        self._kept = 0
        self._left_out = 0
        self._first: str | None = None

    def new(self, masker: Masker, last: bool = False) -> list[Metric]:
        """Return the metrics since the last call, masked.

        Args:
            masker: the run's masker.
            last: the run is over, so an unfinished line is a line.
        """
        lines = (self._rest + self._more()).split(b"\n")
        self._rest = b"" if last else lines.pop()
        if len(self._rest) > LINE_LIMIT:
            lines.append(self._rest)
            self._rest = b""
        found = []
        for line in lines:
            self._lines += 1
            if line.strip():
                try:
                    found.append(self._metric(line, masker))
                except NotAMetric as why:
                    self._leave_out(f"line {self._lines} {why}")
        return found

    def close(self) -> str | None:
        """Close the folder; return what was left out, as a message that quotes nothing, or None."""
        with contextlib.suppress(OSError):
            os.close(self._folder)
        if self._first is None:
            return None
        more = f", and {self._left_out - 1:,} more" if self._left_out > 1 else ""
        return f"not all of SEALRUN_METRICS was kept: {self._first}{more}"

    def _more(self) -> bytes:
        try:
            fd = os.open(self._name, _OPENED, dir_fd=self._folder)
        except FileNotFoundError:
            return b""
        except OSError as error:
            return self._refuse(f"the file cannot be opened: {os.strerror(error.errno or 0)}")
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return self._refuse("it is not a regular file")
            if self._uid is not None and found.st_uid != self._uid:
                return self._refuse("the file belongs to another user")
            # Another file, or one that was cut: begin at its start.
            if self._file != (found.st_dev, found.st_ino) or found.st_size < self._place:
                self._file, self._place, self._rest = (found.st_dev, found.st_ino), 0, b""
            left = min(found.st_size - self._place, TOTAL_LIMIT - self._read)
            data = os.pread(fd, left, self._place) if left > 0 else b""
            self._place += len(data)
            self._read += len(data)
            if self._read == TOTAL_LIMIT and found.st_size > self._place:
                return data + self._refuse(f"only its first {TOTAL_LIMIT >> 20} MiB are read")
            return data
        except OSError as error:
            return self._refuse(f"the file cannot be read: {os.strerror(error.errno or 0)}")
        finally:
            os.close(fd)

    def _refuse(self, why: str) -> bytes:
        if self._first is None:
            self._leave_out(why)
        return b""

    def _leave_out(self, why: str) -> None:
        self._left_out += 1
        self._first = self._first or why

    def _metric(self, line: bytes, masker: Masker) -> Metric:
        if len(line) > LINE_LIMIT:
            raise NotAMetric(f"is longer than {LINE_LIMIT >> 10} KiB")
        if self._kept == COUNT_LIMIT:
            raise NotAMetric(f"comes after {COUNT_LIMIT:,} metrics")
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            raise NotAMetric("is not JSON") from None
        metric = _masked(_shaped(document), masker)
        self._kept += 1
        return metric


def _shaped(document: Any) -> Metric:
    """Check fields and types of a metric.

    Raises:
        NotAMetric: a field is missing, unknown or of the wrong type.
    """
    if not isinstance(document, dict):
        raise NotAMetric("is not a JSON object")
    if unknown := len(document.keys() - _FIELDS):
        raise NotAMetric(f"has {unknown} fields other than name, value, unit and labels")
    name, value, unit, labels = (document.get(field) for field in ("name", "value", "unit", "labels"))
    if not isinstance(name, str) or not 0 < len(name) <= _NAME:
        raise NotAMetric(f"has no name of 1 to {_NAME} characters")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotAMetric("has a value that is not a number")
    try:
        finite = math.isfinite(float(value))
    except OverflowError:
        finite = False
    if not finite:
        raise NotAMetric("has a value that is not finite")
    if unit is not None and not (isinstance(unit, str) and len(unit) <= _UNIT):
        raise NotAMetric(f"has a unit that is not a text of at most {_UNIT} characters")
    if labels is not None and not _are_labels(labels):
        raise NotAMetric(f"has labels that are not at most {_LABELS} texts of at most {_LABEL} characters")
    return Metric(name, value, unit, labels)


def _are_labels(labels: Any) -> bool:
    return (
        isinstance(labels, dict)
        and len(labels) <= _LABELS
        and all(isinstance(text, str) and len(text) <= _LABEL for pair in labels.items() for text in pair)
    )


def _masked(metric: Metric, masker: Masker) -> Metric:
    value = float(metric.value)
    numbers = dict.fromkeys((value, metric.value))  # a large integer may be another number than the float of it
    document: Any = masker.mask_json({"value": [*numbers], "labels": metric.labels, "unit": metric.unit})
    if any(isinstance(number, str) for number in document["value"]):
        raise NotAMetric("has a value that contains a secret")
    labels = document["labels"]
    return Metric(
        name=_storable(masker.mask_text(metric.name)),
        value=value,
        unit=None if document["unit"] is None else _storable(document["unit"]),
        labels=None if labels is None else {_storable(key): _storable(text) for key, text in labels.items()},
    )


def _storable(text: str) -> str:
    return text.replace("\0", "\N{SYMBOL FOR NULL}")  # PostgreSQL's text has no NUL
