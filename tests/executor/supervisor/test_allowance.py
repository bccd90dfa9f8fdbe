"""What is kept of a run's output: every cut is marked, between lines, and nothing is lost without a word."""

import re

from hypothesis import given
from hypothesis import strategies as st

from executor.supervisor.allowance import BURST, Allowance, LogLimits, Portion

MARK = re.compile(rb"sealrun: ([\d,]+) bytes (?:left out here: [^\n]+|were left out at the end of this stream)\n")
FULL = re.compile(rb"sealrun: the output limit of [^\n]+ is reached: the rest of this stream is not kept\n")


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def portion(total: int = 1 << 30, rate: int = 1 << 30, line: int = 1 << 30, clock: Clock | None = None) -> Portion:
    return Allowance(LogLimits(total, rate, line), clock or Clock()).stream()


def test_what_is_within_the_limits_passes_as_it_is() -> None:
    """Byte for byte: control sequences, carriage returns, what is no text."""
    stream = portion()
    pieces = [b"\x1b[31mred\x1b[0m\n", b"50%\r", b"100%\r\n", b"\xff\xfe\0", b"no end"]
    assert [stream.take(piece) for piece in pieces] == pieces
    assert (stream.finish(), stream.kept) == (b"", sum(map(len, pieces)))


def test_a_line_that_is_too_long_is_ended_with_a_mark() -> None:
    """Its beginning stays, and how much was left out; the lines around it are whole."""
    stream = portion(line=10)
    said = stream.take(b"one\n" + b"x" * 25 + b"\ntwo\n")
    assert said == b"one\nxxxxxxxxxx\nsealrun: 16 bytes left out here: a line may have 10 bytes\ntwo\n"
    assert stream.take(b"exactly 10\n" + b"y" * 10) == b"exactly 10\n" + b"y" * 10
    assert stream.take(b"\n") == b"\n"
    assert stream.take(b"z" * 11) + stream.take(b"zz") == b"z" * 10
    assert stream.finish() == b"\nsealrun: 3 bytes left out here: a line may have 10 bytes\n"


def test_a_progress_bar_is_no_long_line() -> None:
    """It begins its line anew with every step, for hours."""
    stream = portion(line=10)
    steps = b"".join(b"%d%%\r" % number for number in range(100))
    assert stream.take(steps) == steps


def test_a_cut_divides_no_character() -> None:
    """UTF-8 of more than one byte stays whole, or goes."""
    stream = portion(line=10)
    assert stream.take("äöüäöüäöü\n".encode()).splitlines()[0].decode() == "äöüäö"
    stream = portion(line=9)
    assert stream.take("äöüäöüäöü\n".encode()).splitlines()[0].decode() == "äöüä"


def test_output_that_comes_too_fast_is_cut_between_lines_and_goes_on() -> None:
    """A burst passes, then whole lines are missing, with one mark in their place that says how many bytes."""
    clock = Clock()
    stream = portion(rate=100, clock=clock)
    lines = [b"line %04d\n" % number for number in range(100)]  # ten bytes each
    first = stream.take(b"".join(lines))
    assert first == b"".join(lines[: int(BURST * 10)])
    assert stream.take(b"more\n") == b""
    clock.now += 1
    said = stream.take(b"rest of a line\nand on\n")
    assert said == b"sealrun: 605 bytes left out here: more than 100 bytes in a second\nrest of a line\nand on\n"
    assert stream.finish() == b""


def test_going_on_begins_with_a_line() -> None:
    """What is left of a line whose beginning was left out goes with it."""
    clock = Clock()
    stream = portion(rate=100, clock=clock)
    assert stream.take(b"x" * 450) == b"x" * 400
    clock.now += 2
    assert stream.take(b"xx\nnext") == (b"\nsealrun: 53 bytes left out here: more than 100 bytes in a second\nnext")


def test_the_sum_is_exact_and_the_end_says_how_much_is_missing() -> None:
    """Up to the last byte, then one word at once, and the number when the stream is over."""
    allowance = Allowance(LogLimits(16, 1 << 30, 1 << 30), Clock())
    out, err = allowance.stream(), allowance.stream()
    assert out.take(b"12345678") + err.take(b"87654321") == b"1234567887654321"
    said = out.take(b"X")
    assert FULL.fullmatch(said.removeprefix(b"\n")) and out.full and not err.full
    out.skip(1_000_000)
    assert out.finish() == b"sealrun: 1,000,001 bytes were left out at the end of this stream\n"
    assert b"limit of 16 bytes" in err.take(b"Y" * 100)
    assert (out.kept, err.kept) == (8, 8)


def test_neither_stream_takes_the_others_share() -> None:
    """After a flood on stdout there is room for the traceback on stderr."""
    allowance = Allowance(LogLimits(800, 1 << 30, 1 << 30), Clock())
    out, err = allowance.stream(), allowance.stream()
    out.take(b"x" * 5000)
    assert (out.kept, out.full) == (700, True)
    assert err.take(b"y" * 100) == b"y" * 100
    assert b"limit" in err.take(b"y")


@given(
    st.lists(st.tuples(st.binary(max_size=40) | st.sampled_from([b"\n", b"ab\n" * 9]), st.floats(0, 1)), max_size=40),
    st.integers(1, 200), st.integers(1, 60), st.integers(1, 30),
)  # fmt: skip
def test_every_byte_is_kept_or_counted(steps: list[tuple[bytes, float]], total: int, rate: int, line: int) -> None:
    """Whatever comes when: what is kept and what the marks say adds up, and each mark is a line of its own."""
    clock = Clock()
    stream = portion(total, rate, line, clock)
    said = b""
    steps = [(data.replace(b"sealrun", b""), pause) for data, pause in steps]
    for data, pause in steps:
        clock.now += pause
        if stream.full:
            stream.skip(len(data))
        else:
            said += stream.take(data)
    said += stream.finish()
    marks = list(MARK.finditer(said))
    assert all(mark.start() == 0 or said[mark.start() - 1 : mark.start()] == b"\n" for mark in marks)
    counted = sum(int(mark[1].replace(b",", b"")) for mark in marks)
    assert counted == stream.left_out
    assert counted + stream.kept == sum(len(data) for data, _ in steps)
    assert stream.kept <= total
