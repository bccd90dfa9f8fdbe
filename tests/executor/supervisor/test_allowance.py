"""What is kept of a run's output: all up to the limit, the cut is marked, and nothing is lost without a word."""

import re

from hypothesis import given
from hypothesis import strategies as st

from executor.supervisor.allowance import Allowance, LogLimits, Portion

MARK = re.compile(rb"sealrun: ([\d,]+) bytes were left out at the end of this stream\n")
FULL = re.compile(rb"sealrun: the output limit of [^\n]+ is reached: the rest of this stream is not kept\n")


def portion(total: int = 1 << 30) -> Portion:
    return Allowance(LogLimits(total, drop=True)).stream()


def test_what_is_within_the_limit_passes_as_it_is() -> None:
    """Byte for byte: control sequences, carriage returns, what is no text, lines of any length, at any rate."""
    stream = portion()
    pieces = [b"\x1b[31mred\x1b[0m\n", b"50%\r", b"100%\r\n", b"\xff\xfe\0", b"x" * (8 << 20), b"no end"]
    assert [stream.take(piece) for piece in pieces] == pieces
    assert (stream.finish(), stream.kept) == (b"", sum(map(len, pieces)))


def test_a_cut_is_made_between_lines_and_divides_no_character() -> None:
    """What is kept ends with a line, or at least with a character."""
    assert portion(10).take(b"one\ntwo\nthree\n").startswith(b"one\ntwo\nsealrun: ")
    for limit in (10, 9):
        assert portion(limit).take("äöüäöüäöü\n".encode()).splitlines()[0].decode() == "äöüäö"[: limit // 2]


def test_the_sum_is_exact_and_the_end_says_how_much_is_missing() -> None:
    """Up to the last byte, then one word at once, and the number when the stream is over."""
    allowance = Allowance(LogLimits(16, drop=True))
    out, err = allowance.stream(), allowance.stream()
    assert out.take(b"12345678") + err.take(b"87654321") == b"1234567887654321"
    said = out.take(b"X")
    assert FULL.fullmatch(said.removeprefix(b"\n")) and out.full and not err.full
    assert out.take(b"y" * 1_000_000) == b""
    assert out.finish() == b"sealrun: 1,000,001 bytes were left out at the end of this stream\n"
    assert b"limit of 16 bytes" in err.take(b"Y" * 100)
    assert (out.kept, err.kept) == (8, 8)


def test_a_run_that_is_to_end_at_the_limit_is_told_so() -> None:
    """Which it is, unless what is beyond is to be dropped."""
    for drop in (True, False):
        allowance = Allowance(LogLimits(10, drop))
        said = allowance.stream().take(b"x" * 11)
        assert said.endswith(b"the rest of this stream is not kept\n" if drop else b"the run is ended\n")
        assert allowance.exceeded is not drop


def test_neither_stream_takes_the_others_share() -> None:
    """After a flood on stdout there is room for the traceback on stderr; of a large total a megabyte is enough."""
    for total, share in ((800, 100), (64 << 20, 1 << 20)):
        allowance = Allowance(LogLimits(total, drop=True))
        out, err = allowance.stream(), allowance.stream()
        out.take(b"x" * 2 * total)
        assert (out.kept, out.full) == (total - share, True)
        assert err.take(b"y" * share) == b"y" * share
        assert b"limit" in err.take(b"y")


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"\n", b"ab\n" * 9]), max_size=40), st.integers(1, 200))
def test_every_byte_is_kept_or_counted(steps: list[bytes], total: int) -> None:
    """Whatever comes: what is kept and what the mark says adds up, and each mark is a line of its own."""
    stream = portion(total)
    steps = [data.replace(b"sealrun", b"") for data in steps]
    said = b"".join(map(stream.take, steps)) + stream.finish()
    marks = list(MARK.finditer(said))
    assert all(mark.start() == 0 or said[mark.start() - 1 : mark.start()] == b"\n" for mark in marks)
    assert sum(int(mark[1].replace(b",", b"")) for mark in marks) == stream.left_out
    assert stream.left_out + stream.kept == sum(map(len, steps))
    assert stream.kept <= total
