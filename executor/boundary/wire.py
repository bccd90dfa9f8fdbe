"""Frames between the worker and its supervisors, openers and zygote.

A frame is one byte of kind, four bytes of length (big-endian) and a payload: JSON for what is small and structured, raw
bytes for output. Both ends are our own processes on one machine, yet each side limits what it accepts.
"""

import json
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

_HEADER = struct.Struct(">BI")
FRAME_LIMIT = 64 << 20  # bytes; a bundle of a thousand sealed 48 KiB values still fits


class Kind(IntEnum):
    """What a frame says. Upper half: from the worker; lower half: to the worker."""

    JOB = 1  # what to run; holds no secret
    GO = 2  # the gate is passed: start (a deadline with it)
    DEADLINE = 3  # kill the run at this moment of CLOCK_BOOTTIME unless told a later one
    CANCEL = 4  # end the run: somebody asked, or for the `reason` that is named
    BUNDLE = 5  # sealed values and the wrapped key, to an opener
    ROTATE = 6  # a wrapped key pair that is to be followed by another, to a resealer
    RESEAL = 7  # values sealed to it
    KEYS = 8  # which key services are asked after
    RENAME = 9  # a wrapped key pair and a name that values sealed to it are to have, to a resealer

    READY = 32
    STDOUT = 33
    STDERR = 34
    RESULT = 35
    PROBLEM = 36
    OUTPUT = 37  # a file a run leaves, once all of it was sent: its name, its size
    OUTPUT_DATA = 38
    OUTPUT_WITHHELD = 39  # a file that is not given: its name, why; what was sent of it is dropped
    STARTED = 40
    OUTCOME = 41
    OPENED = 42
    NOT_OPENED = 43
    VALUE = 44  # opener to supervisor only
    VALUES_END = 45
    SUCCESSOR = 46  # the key pair that follows, its private half wrapped
    RESEALED = 47  # the values, sealed to it
    SAMPLE = 48  # what the run's processes use now
    METRICS = 49  # what the run has reported itself
    OFFERED = 50  # patterns of those key services
    MASKED = 51  # what the masker has found, before the outcome and only if there is anything
    OUTPUT_BEGINS = 52  # the bytes of a file are next: its name


@dataclass(frozen=True)
class Frame:
    """One message."""

    kind: Kind
    payload: bytes

    def json(self) -> Any:
        """The payload as JSON."""
        return json.loads(self.payload)

    def __repr__(self) -> str:
        """A payload may hold a value: never shown."""
        return f"Frame({self.kind.name}, {len(self.payload)} bytes)"


class WireBroken(Exception):
    """the other end sent something that is not a frame"""


def encode(kind: Kind, payload: bytes | dict[str, Any] | list[Any] = b"") -> bytes:
    """One frame as bytes."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload, separators=(",", ":")).encode()
    return _HEADER.pack(kind, len(body)) + body


def send(channel: socket.socket, kind: Kind, payload: bytes | dict[str, Any] | list[Any] = b"") -> None:
    """Send one frame on a blocking socket."""
    channel.sendall(encode(kind, payload))


class Parser:
    """Bytes in, frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take what arrived and give every frame that is now complete.

        Raises:
            WireBroken: the kind is unknown or the length over the limit.
        """
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            number, length = _HEADER.unpack_from(self._buffer)
            if number not in Kind._value2member_map_ or length > FRAME_LIMIT:
                raise WireBroken
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            frame = Frame(Kind(number), bytes(self._buffer[_HEADER.size : end]))
            del self._buffer[:end]
            yield frame


class Receiver:
    """Frames from a socket, one at a time, or those that are there."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._parser = Parser()
        self._ready: deque[Frame] = deque()

    def receive(self, timeout: float | None = None) -> Frame | None:
        """The next frame; None at end-of-file.

        Raises:
            TimeoutError: nothing complete within `timeout` seconds.
            WireBroken: the other end does not speak frames.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ready:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not readable(self._channel.fileno(), left):
                raise TimeoutError
            if not self._read():
                return None
        return self._ready.popleft()

    def available(self) -> list[Frame] | None:
        """The frames that are there now, without waiting; None at end-of-file once all were given."""
        more = self._read()
        frames = list(self._ready)
        self._ready.clear()
        return frames if frames or more else None

    def _read(self) -> bool:
        try:
            data = self._channel.recv(1 << 18, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        self._ready.extend(self._parser.feed(data))
        return bool(data)


def readable(fd: int, timeout: float | None) -> bool:
    """Wait for something to read, or end-of-file; poll(2), since a large worker has descriptors beyond select's."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else max(timeout, 0) * 1000))


def read_all(fd: int, limit: int) -> bytes:
    """Everything up to end-of-file, at most `limit` bytes."""
    parts: list[bytes] = []
    left = limit
    while left > 0 and (data := os.read(fd, min(left, 1 << 16))):
        parts.append(data)
        left -= len(data)
    return b"".join(parts)
