"""Whatever a masker searches with, it masks and tells what a plain one does."""

import base64
import random
import threading
from collections.abc import Iterable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.masking import scanner
from executor.masking.masker import Masker, Origin
from tests.effort import share
from tests.executor.masking.plain import Masked, masked
from tests.executor.masking.ways import SCANNED, SCANNED_SOON, WAYS, Way, searched
from tests.processes import eventually

Needles = dict[bytes, tuple[Origin, ...]]

ORIGINS = [(name, form) for name in ("A", "B", "C") for form in ("as it is", "base64")]


def masker_of(needles: Needles) -> Masker:
    return Masker(
        {needle: origins[0] for needle, origins in needles.items()},
        {needle: origins[1:] for needle, origins in needles.items() if len(origins) > 1},
    )


def streamed(masker: Masker, chunks: Iterable[bytes]) -> Masked:
    stream = masker.stream()
    text = b"".join([stream.feed(chunk) for chunk in chunks]) + stream.rest()
    return Masked(text, stream.hits, stream.first)


def cut(text: bytes, sizes: list[int]) -> list[bytes]:
    parts, at, turn = [], 0, 0
    while at < len(text):
        parts.append(text[at : at + sizes[turn % len(sizes)]])
        at, turn = at + len(parts[-1]), turn + 1
    return parts


@st.composite
def cases(draw: st.DrawFn) -> tuple[Needles, bytes]:
    """Needles that share beginnings, overlap and hold one another, and a text of their parts; any bytes."""
    letters = draw(st.sampled_from([b"ab", b"aB\0", b"a.*\\[", bytes(range(256))]))
    letter = st.sampled_from(list(letters))
    any_needle = st.lists(letter, min_size=8, max_size=20).map(bytes)
    found = draw(st.lists(any_needle, min_size=1, max_size=5))
    for _ in range(draw(st.integers(0, 4))):
        one = draw(st.sampled_from(found))
        found += [one + draw(any_needle), one[:8] + draw(any_needle), one[-5:] + draw(any_needle)]
    origins = st.lists(st.sampled_from(ORIGINS), min_size=1, max_size=3, unique_by=lambda origin: origin[0]).map(tuple)
    needles = {needle: draw(origins) for needle in found}
    piece = st.one_of(
        st.sampled_from(found),
        st.builds(lambda whole, end: whole[:end], st.sampled_from(found), st.integers(1, 19)),
        st.builds(lambda whole, start: whole[start:], st.sampled_from(found), st.integers(1, 19)),
        st.lists(letter, max_size=6).map(bytes),
    )
    return needles, b"".join(draw(st.lists(piece, max_size=14)))


@settings(max_examples=share(800), deadline=None)
@given(cases(), st.lists(st.integers(1, 50), min_size=1, max_size=8), st.sampled_from(WAYS))
def test_every_way_is_the_plain_one(case: tuple[Needles, bytes], sizes: list[int], way: Way) -> None:
    """I5: the same bytes, the same hits and the same places, however the text comes and however long it goes on."""
    needles, text = case
    with searched(way):
        masker = masker_of(needles)
        for _ in range(3):  # each time it may have gone over to another search
            assert streamed(masker, cut(text, sizes)) == masked(text, needles)
        assert masker.mask(text) == masked(text, needles).text


def secrets(count: int) -> dict[str, bytes]:
    rnd = random.Random(5)
    return {f"S{number}": base64.b64encode(rnd.randbytes(18 + number % 7)) for number in range(count)}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_split_at_every_offset_by_every_way(way: Way) -> None:
    """I5: a form of a secret, its neighbours, and two that share a beginning, cut in two at each place."""
    values = {"LONG": b"hunter22-prod-key/1", "SHORT": b"hunter22-prod", **secrets(4)}
    text = b"a hunter22-prod-key/1hunter22-prodhunter22-prod-kez " + b"hunter22-prod-key/1".hex().encode() + b" end"
    with searched(way):
        masker = Masker.build(values)
        for place in range(len(text) + 1):
            out = streamed(masker, [text[:place], text[place:]])
            assert out.text == b"a ***-kez *** end"
            assert out.hits == {("LONG", "as it is"): 1, ("SHORT", "as it is"): 2, ("LONG", "hex"): 1}


def found_with(masker: Masker) -> str:
    assert masker._heads is not None
    return type(masker._heads._find.__self__).__name__


def compiled(masker: Masker) -> None:
    """Wait for a scanner that is being compiled."""
    assert masker._heads is not None
    if isinstance(awaiting := masker._heads.find, partial):
        eventually(lambda: awaiting.args[0].over, 60, "the compilation is over")


@pytest.mark.parametrize("last", ["Scanner", "FasterAutomaton"], ids=["with the extra", "without"])
def test_a_flood_is_masked_the_same_from_its_first_byte_to_its_last(last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """I5: it goes over from what is built soonest to what reads fastest, and nobody who reads the output could tell."""
    assert scanner.hyperscan is not None, "the development environment has all extras"
    if last != "Scanner":
        monkeypatch.setattr(scanner, "hyperscan", None)
    values = secrets(40)
    masker = Masker.build(values)
    rnd = random.Random(6)
    names = list(values)
    clear, hidden, total = [], [], 0
    used = dict.fromkeys(names, 0)
    while total < 1_000_000:
        line = b"%x " % rnd.getrandbits(8 * rnd.randrange(1, 60)) + b"order customer rows written\n" * rnd.randrange(30)
        name = rnd.choice(names)
        used[name] += 1
        clear.append(line + values[name])
        hidden.append(line + b"***")
        total += len(clear[-1])
    ways = {found_with(masker)}
    stream, sent, text = masker.stream(), [], b"".join(clear) + b"\n"
    at = 0
    while at < len(text):
        size = rnd.choice((1, 7, 200, 4096, 65536))
        sent.append(stream.feed(text[at : at + size]))
        ways.add(found_with(masker))
        at += size
        if at > 700_000:
            compiled(masker)
    assert b"".join(sent) + stream.rest() == b"".join(hidden) + b"\n"
    assert stream.hits == {(name, "as it is"): count for name, count in used.items() if count}
    assert ways == {"_ByPlace", "Automaton", last}


def test_output_does_not_wait_for_a_scanner(monkeypatch: pytest.MonkeyPatch) -> None:
    """I5: it is compiled in a thread of its own, however long that takes; what came before goes on masking."""
    go_on, real = threading.Event(), scanner.scanner

    def slow(heads: list[bytes]) -> scanner.Scanner | None:
        assert go_on.wait(60)
        return real(heads)

    monkeypatch.setattr(scanner, "scanner", slow)
    with searched(SCANNED_SOON):
        masker = Masker.build({"TOKEN": b"s3cr3t-Token/42"})
        try:
            assert [masker.mask(b"<s3cr3t-Token/42>" * 9) for _ in range(4)] == [b"<***>" * 9] * 4
            assert found_with(masker) == "Automaton"
        finally:
            go_on.set()
        compiled(masker)
        assert masker.mask(b"<s3cr3t-Token/42>") == b"<***>"
        assert found_with(masker) == "Scanner"


class NoMore:
    """A thread, where there may be no more of them."""

    def __init__(self, **_: object) -> None:
        pass

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def short_of_memory(heads: list[bytes]) -> None:
    raise MemoryError


@pytest.mark.parametrize("short_of", ["threads", "memory"])
def test_without_room_for_a_scanner_automatons_go_on(short_of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """I5: what the machine has too little of costs speed alone."""
    if short_of == "threads":
        monkeypatch.setattr(threading, "Thread", NoMore)
    else:
        monkeypatch.setattr(scanner, "scanner", short_of_memory)
    with searched(SCANNED_SOON):
        masker = Masker.build({"TOKEN": b"s3cr3t-Token/42"})
        assert [masker.mask(b"<s3cr3t-Token/42>" * 9) for _ in range(4)] == [b"<***>" * 9] * 4
        compiled(masker)
        assert masker.mask(b"<s3cr3t-Token/42>") == b"<***>"
        assert found_with(masker) == "VectoredAutomaton"


@pytest.mark.parametrize("heads", [[b"ab\0cdefg", b"abcdefgh"], [b"\0" * 8, b"abcdefgh"]])
def test_a_secret_with_a_nul_is_not_given_to_a_scanner(heads: list[bytes]) -> None:
    """The package would take it to end there, and find its first bytes instead."""
    with searched(SCANNED):
        assert not scanner.is_worth_it(heads)
        assert scanner.is_worth_it([b"abcdefgh", b"bcdefghi"])


class Unable:
    """A package that compiles nothing on this processor."""

    class error(Exception):
        pass

    HS_MODE_VECTORED = 4

    def Database(self, **_: object) -> None:
        raise self.error


@pytest.mark.parametrize("package", [None, Unable()], ids=["not installed", "unable"])
def test_without_the_package_automatons_go_on(package: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra, and knows some processors only."""
    monkeypatch.setattr(scanner, "hyperscan", package)
    with searched(SCANNED):
        masker = Masker.build({"TOKEN": b"s3cr3t-Token/42"})
        assert [masker.mask(b"<s3cr3t-Token/42>") for _ in range(4)] == [b"<***>"] * 4
        assert found_with(masker) == "VectoredAutomaton"


def test_a_scanner_that_misses_a_head_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is seen to find each of them before a secret depends on it."""
    heads = [b"abcdefgh", b"bcdefghi"]
    assert scanner.scanner(heads) is not None
    real = scanner.Scanner.find
    monkeypatch.setattr(scanner.Scanner, "find", lambda self, data, start: real(self, data, start)[:-1])
    assert scanner.scanner(heads) is None
