"""Frames: whatever the chunks, what was sent comes out; whatever else comes in is refused or waited for."""

import os
import socket
import struct
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.boundary import wire
from executor.boundary.wire import FRAME_LIMIT, Frame, Kind, Parser, Receiver, WireBroken, encode, read_all, send

FRAMES = st.lists(st.tuples(st.sampled_from(list(Kind)), st.binary(max_size=40)), max_size=8)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a channel."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@given(frames=FRAMES, cuts=st.lists(st.integers(0, 400), max_size=12))
def test_frames_come_out_as_they_were_sent(frames: list[tuple[Kind, bytes]], cuts: list[int]) -> None:
    """For every cutting into chunks, empty ones too."""
    stream = b"".join(encode(kind, payload) for kind, payload in frames)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    parser = Parser()
    found = [frame for a, b in pairwise(edges) for frame in parser.feed(stream[a:b])]
    assert found == [Frame(kind, payload) for kind, payload in frames]


@given(garbage=st.binary(min_size=5, max_size=200), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_garbage_is_refused_or_waited_for(garbage: bytes, cuts: list[int]) -> None:
    """Never another exception, and never a frame whose kind was not sent."""
    edges = [0, *sorted(min(cut, len(garbage)) for cut in cuts), len(garbage)]
    parser = Parser()
    try:
        for a, b in pairwise(edges):
            for frame in parser.feed(garbage[a:b]):
                assert bytes([frame.kind]) in garbage
    except WireBroken:
        return
    assert garbage[0] in set(Kind)


@pytest.mark.parametrize("header", [struct.pack(">BI", 0, 0), struct.pack(">BI", 255, 1), b"GET / HTTP/1.1"])
def test_an_unknown_kind_breaks_the_wire(header: bytes) -> None:
    """As soon as its header is there."""
    with pytest.raises(WireBroken):
        list(Parser().feed(header))


def test_the_limit_is_exact() -> None:
    """A frame of the limit is waited for, one byte more is refused before it arrives."""
    assert list(Parser().feed(struct.pack(">BI", Kind.STDOUT, FRAME_LIMIT))) == []
    with pytest.raises(WireBroken):
        list(Parser().feed(struct.pack(">BI", Kind.STDOUT, FRAME_LIMIT + 1)))


def test_good_frames_before_garbage_are_still_given(pair: tuple[socket.socket, socket.socket]) -> None:
    """What arrived whole is not lost by what comes after it."""
    ours, theirs = pair
    theirs.sendall(encode(Kind.READY) + b"\xff\xff\xff\xff\xff")
    receiver = Receiver(ours)
    with pytest.raises(WireBroken):
        receiver.receive(1)
    assert receiver.receive(0) == Frame(Kind.READY, b"")


def test_a_receiver_waits_gives_and_ends(pair: tuple[socket.socket, socket.socket]) -> None:
    """Nothing yet: TimeoutError; frames in order; half a frame at the end is no frame; then None, again and again."""
    ours, theirs = pair
    receiver = Receiver(ours)
    with pytest.raises(TimeoutError):
        receiver.receive(0.01)
    assert receiver.available() == []
    send(theirs, Kind.GO, {"deadline": 1})
    theirs.sendall(encode(Kind.CANCEL) + encode(Kind.JOB, b"half")[:-1])
    frame = receiver.receive(1)
    assert frame is not None and frame.json() == {"deadline": 1}
    assert receiver.available() == [Frame(Kind.CANCEL, b"")]
    theirs.close()
    assert receiver.available() is None
    assert receiver.receive(1) is None and receiver.receive(1) is None


def test_available_gives_the_last_frames_before_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    """End-of-file behind frames does not swallow them."""
    ours, theirs = pair
    receiver = Receiver(ours)
    theirs.sendall(encode(Kind.OUTCOME, b"{}"))
    theirs.close()
    assert receiver.available() == [Frame(Kind.OUTCOME, b"{}")]
    assert receiver.available() is None


def test_a_reset_connection_is_an_end(pair: tuple[socket.socket, socket.socket]) -> None:
    """A process that was killed with something unread resets the socket; that is its end, not an error."""
    ours, theirs = pair
    ours.sendall(b"unread")
    theirs.close()
    assert Receiver(ours).receive(1) is None


def test_large_frames_pass_a_small_socket(pair: tuple[socket.socket, socket.socket]) -> None:
    """Eight megabytes through a buffer of a few kilobytes."""
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    payload = os.urandom(8 << 20)
    sender = threading.Thread(target=send, args=[theirs, Kind.STDOUT, payload])
    sender.start()
    frame = Receiver(ours).receive(10)
    sender.join()
    assert frame == Frame(Kind.STDOUT, payload)


def test_a_frame_does_not_show_its_payload() -> None:
    """I10: a frame in a traceback or a log shows its kind and length."""
    assert repr(Frame(Kind.VALUE, b"hunter2-prod-key")) == "Frame(VALUE, 16 bytes)"


def test_descriptors_beyond_selects_reach_work(pair: tuple[socket.socket, socket.socket]) -> None:
    """A worker with thousands of connections has descriptors over 1,023."""
    import fcntl

    ours, theirs = pair
    high = fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD_CLOEXEC, 1500)
    with socket.socket(fileno=high) as far:
        send(theirs, Kind.READY)
        assert Receiver(far).receive(1) == Frame(Kind.READY, b"")
        with pytest.raises(TimeoutError):
            Receiver(far).receive(0.01)


def test_read_all_stops_at_its_limit() -> None:
    """What another process writes is never read without end."""
    reading, writing = os.pipe()
    os.write(writing, b"x" * 100)
    assert read_all(reading, 10) == b"x" * 10
    os.close(writing)
    assert read_all(reading, 1000) == b"x" * 90
    os.close(reading)
    assert wire.FRAME_LIMIT == 64 << 20
