"""The masker's engine and its three doors: streams, whole buffers, parsed JSON."""

import base64
import json
import math
import random
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ahocorasick_rs
import pytest

from executor.masking import automaton
from executor.masking import masker as masking
from executor.masking.masker import Masker, NestedTooDeep
from executor.masking.needles import AS_IT_IS, PART

TOKEN = b"s3cr3t-Token/42+x"


def exactly(needles: Iterable[bytes]) -> Masker:
    """A masker of these needles alone."""
    return Masker(dict.fromkeys(needles, ("TOKEN", AS_IT_IS)))


def through(masker: Masker, text: bytes, size: int) -> bytes:
    """What a stream makes of `text` in chunks of `size` bytes."""
    stream = masker.stream()
    chunks = [stream.feed(text[at : at + size]) for at in range(0, len(text), size)]
    return b"".join(chunks) + stream.finish()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 64, 10_000])
def test_a_secret_is_masked_wherever_chunks_end(size: int) -> None:
    """I5: no chunk boundary lets a secret or its ends through."""
    text = b"start " + TOKEN + b" middle " + TOKEN + TOKEN + b" end\n"
    assert through(Masker.build({"TOKEN": TOKEN}), text, size) == b"start *** middle *** end\n"


@pytest.mark.parametrize("size", [1, 5, 100])
def test_overlapping_secrets_leave_no_tail(size: int) -> None:
    """A secret that begins inside another one is masked to its own end."""
    masker = Masker.build({"A": b"abababab", "B": b"ababababc", "C": b"cdefgh12345"})
    assert through(masker, b"<ababababababc>", size) == b"<***>"
    assert through(masker, b"<ababababcdefgh12345>", size) == b"<***>"
    assert through(masker, b"<abababab>", size) == b"<***>"


@pytest.mark.parametrize("size", [1, 5, 100])
def test_a_secret_inside_another_does_not_end_its_mask(size: int) -> None:
    """The longer secret stays masked behind the end of the one inside it."""
    masker = exactly([b"outer-[inside01]-outer", b"[inside01]"])
    assert through(masker, b"<outer-[inside01]-outer> <[inside01]>", size) == b"<***> <***>"


@pytest.mark.parametrize("size", [1, 6, 100])
def test_a_secret_that_is_the_start_of_another_hides_neither(size: int) -> None:
    """The longer secret is masked whole, the shorter one also where the longer one breaks off."""
    masker = Masker.build({"SHORT": b"hunter22", "LONG": b"hunter22-prod-key"})
    assert through(masker, b"hunter22-prod-key\n", size) == b"***\n"
    assert through(masker, b"hunter22-prod-dog\n", size) == b"***-prod-dog\n"
    assert through(masker, b"hunter22\n", size) == b"***\n"


@pytest.mark.parametrize("size", [1, 3, 64])
def test_a_secret_that_overlaps_itself_becomes_one_mask(size: int) -> None:
    """Overlapping and touching matches become one mask, across chunks too."""
    masker = exactly([b"aabaabaa"])
    assert through(masker, b"-aabaabaabaabaa-", size) == b"-***-"
    assert through(masker, b"-aabaabaaaabaabaa-aabaabaa", size) == b"-***-***"


def test_many_needles_with_one_head_are_told_apart() -> None:
    """A thousand tokens of one vendor begin alike; each is found, at its full length, and nothing else is."""
    tokens = [b"sk-live-%d" % number for number in range(1000)]
    masker = exactly(tokens)
    assert masker.mask(b"sk-live-7 sk-live-77, sk-live-777; sk-live-x") == b"*** ***, ***; sk-live-x"


@pytest.mark.parametrize("count", [40, 400, 4_000, 40_000])
def test_any_number_of_secrets_is_found_in_a_large_text(count: int) -> None:
    """I5: few, many and very many needles are searched in different ways, with the same result."""
    rnd = random.Random(count)
    needles = [base64.b64encode(rnd.randbytes(12)) for _ in range(count)]
    shown = rnd.sample(needles, 30)
    lines = [b"%d %s\n" % (number, b"x" * rnd.randrange(300)) for number in range(1000)]
    places = sorted(rnd.sample(range(1000), 30))
    clear, hidden = list(lines), list(lines)
    for place, needle in zip(places, shown, strict=True):
        # The second one begins inside the first: the vectorised search does not report it.
        clear[place] = b"[" + needle + b"][" + needle[:5] + needle + b"]\n"
        hidden[place] = b"[***][" + needle[:5] + b"***]\n"
    masker = exactly(needles)
    assert masker.mask(b"".join(clear)) == b"".join(hidden)
    assert through(masker, b"".join(clear), 4096) == b"".join(hidden)


def test_a_prompt_without_a_newline_goes_through_at_once() -> None:
    """Only what may still become a match waits."""
    stream = Masker.build({"TOKEN": TOKEN}).stream()
    assert stream.feed(b"Password: ") == b"Password: "
    assert stream.feed(b"again? ") == b"again? "
    assert stream.feed(b"hm " + TOKEN[:5]) == b"hm "
    assert stream.feed(b"!") == TOKEN[:5] + b"!"


def test_a_match_that_may_not_grow_is_sent_at_once() -> None:
    """A complete secret is not held back when no longer one begins with it."""
    stream = exactly([b"hunter22", b"swordfish"]).stream()
    assert stream.feed(b"hunter22") == b"***"
    assert stream.feed(b"hunter22") == b""  # it touches the mask before it: one mask stands for both
    assert stream.feed(b" ") == b" "


@pytest.mark.parametrize(
    ("tail", "shown"), [(b"s3c", b"s3c"), (b"s3cr", b"***"), (TOKEN[:-1], b"***"), (b"s3cX", b"s3cX")]
)
def test_a_held_tail_of_four_bytes_or_more_is_masked_at_the_end(tail: bytes, shown: bytes) -> None:
    """The start of a secret that breaks off with the stream is not printed."""
    stream = exactly([TOKEN]).stream()
    assert stream.feed(b"last: " + tail) + stream.finish() == b"last: " + shown


def test_a_tail_that_touches_a_mask_adds_none() -> None:
    """What is masked at the end joins the mask before it."""
    stream = exactly([TOKEN]).stream()
    assert stream.feed(TOKEN + TOKEN[:6]) + stream.finish() == b"***"


def test_a_whole_buffer_shows_its_tail() -> None:
    """A buffer is known to be whole, so the start of a secret at its end is no broken-off secret."""
    masker = exactly([TOKEN, b"hunter22", b"hunter22-prod-key"])
    assert masker.mask(b"x " + TOKEN[:6]) == b"x " + TOKEN[:6]
    assert masker.mask(b"x hunter22-prod") == b"x ***-prod"
    assert masker.mask(b"x" * masking.BLOCK + b" hunter22-prod") == b"x" * masking.BLOCK + b" ***-prod"


def test_streams_do_not_share_what_they_hold() -> None:
    """The half of a secret on stdout does not meet the half on stderr."""
    masker = exactly([b"hunter22-prod-key"])
    out, err = masker.stream(), masker.stream()
    assert out.feed(b"hunter22") == b""
    assert err.feed(b"-prod-key\n") == b"-prod-key\n"
    assert out.feed(b"-prod-key\n") == b"***\n"


def test_without_secrets_all_passes_untouched() -> None:
    """A run without secrets pays for no search: the very same bytes come back."""
    masker = Masker.build({})
    data = b"hello \xff"
    assert masker.stream().feed(data) is data
    assert masker.mask(data) is data
    assert masker.stream().finish() == b""
    assert masker.mask_json({"a": [1, "x"]}) == {"a": [1, "x"]}
    assert not masker.finds([data])


def long_value(size: int = 64 << 10) -> bytes:
    """A reproducible value without a newline that repeats its own beginning inside."""
    letters = random.Random(7).choices(b"abcdefghijklmnopqrstuvwxyz0123456789", k=size)
    return bytes(letters[: size // 2]) + bytes(letters[: size - size // 2 - 1]) + b"!"


@pytest.mark.parametrize("cut", [1, 5, 6, 7, 8, 9, 63, 64, 65, 4095, 32767, 32768, 32769, 65534, 65535])
def test_a_value_of_64_kib_is_masked_wherever_it_is_split(cut: int) -> None:
    """The automaton knows a few bytes of a long value; the rest is compared, in whatever parts it comes."""
    value = long_value()
    stream = Masker.build({"LONG": value}).stream()
    sent = stream.feed(b"<" + value[:cut]) + stream.feed(value[cut:]) + stream.feed(b">")
    assert sent + stream.finish() == b"<***>"


def test_a_value_of_64_kib_is_masked_byte_by_byte() -> None:
    """I5: the longest value in the smallest chunks."""
    value = long_value()
    assert through(exactly([value]), b"<" + value + b">", 1) == b"<***>"


def test_a_long_value_that_breaks_off_is_let_go_at_once() -> None:
    """A long start is shown as soon as it is no secret: what is held is what may still become one."""
    value = long_value()
    stream = exactly([value]).stream()
    assert stream.feed(b"<" + value[:40_000]) == b"<"
    assert stream.feed(b"?") == value[:40_000] + b"?"
    assert stream.feed(value[:40_000]) == b""
    assert stream.feed(value[:100]) == value[:40_000]
    # Its second half repeats the first, so where the whole breaks off, the end may still be the start again.
    assert stream.feed(value[100:65_535] + b"?") == value[:65_535] + b"?"
    assert stream.feed(value[:32_768] + value[:32_768]) == value[:32_768]


def test_a_long_value_of_one_repeated_byte_is_masked() -> None:
    """A match may begin at each of thousands of places; all of them together are one mask."""
    masker = exactly([b"a" * 40_000])
    assert through(masker, b"<" + b"a" * 70_000 + b">", 4096) == b"<***>"
    assert through(masker, b"<" + b"a" * 39_999 + b">", 4096) == b"<" + b"a" * 39_999 + b">"


class CountingAutomaton:
    """The real automaton, with a count of the bytes it reads and the patterns it was given."""

    read = 0
    longest_pattern = 0

    def __init__(self, patterns: list[bytes], *options: Any, **named: Any) -> None:
        CountingAutomaton.longest_pattern = max(map(len, patterns))
        self._real = ahocorasick_rs.BytesAhoCorasick(patterns, *options, **named)

    def find_matches_as_indexes(self, data: bytes, overlapping: bool = False) -> list[tuple[int, int, int]]:
        CountingAutomaton.read += len(data)
        return self._real.find_matches_as_indexes(data, overlapping=overlapping)


def test_the_automaton_reads_each_byte_a_few_times_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held back is not searched anew with every byte that arrives: it may be 64 KiB."""
    monkeypatch.setattr(automaton, "BytesAhoCorasick", CountingAutomaton)
    monkeypatch.setattr(CountingAutomaton, "read", 0)
    value = long_value()
    assert through(exactly([value]), value, 1) == b"***"
    assert 0 < CountingAutomaton.read < 10 * len(value)


def test_patterns_in_the_automaton_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """An automaton over a 64 KiB pattern takes hundreds of megabytes."""
    monkeypatch.setattr(automaton, "BytesAhoCorasick", CountingAutomaton)
    Masker.build({"LONG": long_value(), "TOKEN": TOKEN})
    assert 0 < CountingAutomaton.longest_pattern <= 64


def test_dense_matches_in_a_large_buffer_are_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte may begin a match, and the matches of one search take a hundred times its bytes."""
    sizes: list[int] = []
    original = CountingAutomaton.find_matches_as_indexes

    def noted(self: CountingAutomaton, data: bytes, overlapping: bool = False) -> list[tuple[int, int, int]]:
        sizes.append(len(data))
        return original(self, data, overlapping)

    monkeypatch.setattr(automaton, "BytesAhoCorasick", CountingAutomaton)
    monkeypatch.setattr(CountingAutomaton, "find_matches_as_indexes", noted)
    masker = exactly([b"aaaaaaaa"])
    assert masker.mask(b"a" * 300_000) == b"***"
    assert masker.stream().feed(b"a" * 300_000) == b"***"
    assert max(sizes) <= masking.BLOCK + 8


def test_ordinary_text_comes_out_unchanged() -> None:
    """Megabytes of real text hold none of ten random secrets, and nothing in it is touched."""
    rnd = random.Random(3)
    masker = Masker.build({f"S{number}": base64.b64encode(rnd.randbytes(24)) for number in range(10)})
    library = Path(sysconfig.get_paths()["stdlib"])
    for name in ("typing.py", "argparse.py", "subprocess.py", "_pydecimal.py"):
        text = (library / name).read_bytes() + b"\n"
        assert through(masker, text, 4096) == text


def test_a_needle_under_eight_bytes_is_refused() -> None:
    """A short needle would be a hole in the automaton's assumptions and in the log."""
    with pytest.raises(ValueError, match="fewer than 8 bytes") as caught:
        exactly([b"hunter2"])
    assert "hunter2" not in str(caught.value)


def test_nothing_of_a_masker_is_shown() -> None:
    """I10: neither a masker nor a stream that holds half a secret shows it when printed."""
    masker = exactly([TOKEN])
    stream = masker.stream()
    stream.feed(TOKEN[:9])
    assert TOKEN[:5].decode() not in repr(masker) + str(masker) + repr(stream) + str(stream)
    assert not hasattr(masker, "__dict__") and not hasattr(stream, "__dict__")


# Text


@pytest.mark.parametrize("text", ["", "plain", "żółć — 12", "🔑 ok"])
def test_text_without_secrets_is_unchanged(text: str) -> None:
    """Every character survives the way through bytes."""
    assert exactly([TOKEN]).mask_text(text) == text


def test_text_with_surrogates_is_masked_too() -> None:
    """A value that is not UTF-8 stands in Python text as surrogates and is found; others do no harm."""
    value = b"\xff\xfepassword\xe9"
    masker = Masker.build({"RAW": value, "TOKEN": TOKEN})
    assert masker.mask_text("x " + value.decode("utf-8", "surrogateescape") + " y") == "x *** y"
    assert masker.mask_text("\ud800 " + TOKEN.decode()) == "\ufffd ***"
    for other in ("\ud800", "\udfff", "\udc7f", "\ud83d", "\udd11\udcff"):
        assert "***" in masker.mask_text(other + " " + value.decode("utf-8", "surrogateescape") + other)


# JSON


def test_strings_keys_and_numbers_are_masked_anew() -> None:
    """Results and problems leave a run through this, whatever place in them holds a secret."""
    masker = Masker.build({"TOKEN": TOKEN, "PIN": b"1234567890", "PRICE": b"12345.6789"})
    token = TOKEN.decode()
    value = {
        "plain": [1, 2.5, True, None, "ok"],
        token: {"deep": [f"see {token}!", base64.b64encode(TOKEN).decode()]},
        "whole": 1234567890,
        "inside": 99123456789012,
        "negative": -1234567890,
        "real": 12345.6789,
        "exact": 1234567890.0,
    }
    assert masker.mask_json(value) == {
        "plain": [1, 2.5, True, None, "ok"],
        "***": {"deep": ["see ***!", "***" + base64.b64encode(TOKEN)[-2:].decode()]},
        "whole": "***",
        "inside": "***",
        "negative": "***",
        "real": "***",
        "exact": "***",
    }


def test_keys_that_become_equal_are_numbered() -> None:
    """Masking two keys loses neither member."""
    masker = exactly([b"hunter22", b"swordfish"])
    assert masker.mask_json({"hunter22": 1, "swordfish": 2, "*** (2)": 3}) == {
        "***": 1,
        "*** (2)": 2,
        "*** (2) (2)": 3,
    }


def test_numbers_that_python_cannot_write_are_masked() -> None:
    """A number beyond Python's limit of digits is masked rather than an error; infinities pass."""
    masker = exactly([TOKEN])
    assert masker.mask_json([10**5000, math.inf, 1e300]) == ["***", math.inf, 1e300]


def test_depth_is_limited() -> None:
    """A result nested without end is refused before it exhausts the stack."""
    masker = exactly([TOKEN])
    deep = json.loads("[" * 70 + "]" * 70)
    with pytest.raises(NestedTooDeep, match="nested more deeply"):
        masker.mask_json(deep)
    assert masker.mask_json(deep, depth=70) == deep
    with pytest.raises(NestedTooDeep):
        Masker.build({}).mask_json(deep)


@pytest.mark.long
def test_numbering_many_equal_keys_takes_steps_in_proportion() -> None:
    """A run chooses the keys of its result, and its supervisor hears nothing while it masks them."""
    masker, keys = Masker.build({"A": b"hunter22"}), 1_000
    document = {"hunter22" * number: 0 for number in range(1, keys + 1)}  # what touches becomes one mask
    steps = 0

    def count(frame: Any, event: str, _: Any) -> Any:
        nonlocal steps
        steps += event == "line" and frame.f_code.co_name == "_unused"
        return count if frame.f_code.co_name in ("mask_json", "_unused") else None

    before = sys.gettrace()
    sys.settrace(count)
    try:
        masked = masker.mask_json(document)
    finally:
        sys.settrace(before)
    assert masked == {"***": 0} | {f"*** ({number})": 0 for number in range(2, keys + 1)}
    assert 0 < steps <= 10 * keys


def test_what_json_does_not_have_is_refused_without_being_shown() -> None:
    """I10: the error names the type and not the object."""
    with pytest.raises(TypeError, match="JSON has no bytes") as caught:
        exactly([TOKEN]).mask_json({"a": TOKEN})
    assert "s3cr3t" not in str(caught.value)


# Files


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_file_that_holds_a_secret_is_found_out(size: int) -> None:
    """I5: an output file is withheld for a secret in any listed form, across chunks."""
    masker = Masker.build({"TOKEN": TOKEN, "SHORT": b"hunter22", "LONG": b"hunter22-prod-key"})
    for held in (TOKEN, TOKEN.hex().encode(), b"hunter22", b"hunter22-prod"):
        text = b"x" * 100 + held
        assert masker.finds(text[at : at + size] for at in range(0, len(text), size))
    text = b"x" * 100 + TOKEN[:-1]
    assert not masker.finds(text[at : at + size] for at in range(0, len(text), size))


def test_a_search_stops_at_the_first_secret() -> None:
    """Nothing is read behind the first find."""
    chunks = iter([b"..." + TOKEN + b"...", b"never read"])
    assert exactly([TOKEN]).finds(chunks)
    assert next(chunks) == b"never read"


def test_a_stream_tells_whose_needles_it_saw_and_in_which_form() -> None:
    """Each as often as it was there, however the chunks were cut; nothing of a value is in it."""
    masker = Masker.build({"TOKEN": TOKEN, "OTHER": b"another-secret"})
    text = TOKEN + b" " + TOKEN.hex().encode() + b" " + TOKEN + b" " + base64.b64encode(TOKEN)
    for size in (1, 7, 10_000):
        stream = masker.stream()
        for at in range(0, len(text), size):
            stream.feed(text[at : at + size])
        stream.finish()
        assert stream.hits == {("TOKEN", AS_IT_IS): 2, ("TOKEN", "hex"): 1, ("TOKEN", "base64"): 1}


def test_a_part_within_its_own_secret_is_no_hit_of_its_own() -> None:
    """A key that is printed whole was printed once, and not once more for each line; a part that stands alone counts.

    Another secret that lies within one is seen with it, and one value under two names is both.
    """
    url = b"postgres://app:pass-of-the-app@db/shop"
    masker = Masker.build({"URL": url, "PASSWORD": b"pass-of-the-app", "COPY": url})
    text = url + b" pass-of-the-app " + base64.b64encode(url)
    for size in (1, 9, 10_000):
        stream = masker.stream()
        masked = b"".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size)) + stream.rest()
        assert masked == b"*** *** ***A="
        assert {origin: stream.hits[origin] for origin in stream.hits if origin[0] != "PASSWORD"} == {
            **dict.fromkeys((("URL", AS_IT_IS), ("COPY", AS_IT_IS)), 1),
            **dict.fromkeys((("URL", PART), ("COPY", PART)), 1),
            **dict.fromkeys((("URL", "base64"), ("COPY", "base64")), 1),
        }
        assert stream.hits["PASSWORD", AS_IT_IS] == 2


def test_the_first_hits_have_their_place_in_what_comes_out() -> None:
    """Where the mask is, and not where the secret was: the two together would tell how long it is."""
    masker = Masker.build({"TOKEN": TOKEN, "OTHER": b"another-secret"})
    text = b"ab " + TOKEN + TOKEN + b" c " + TOKEN.hex().encode() + b"\n" * 70_000 + b"another-secret" + TOKEN
    for size in (1, 9, 1 << 20):
        stream = masker.stream()
        masked = b"".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size)) + stream.rest()
        assert stream.first == {
            ("TOKEN", AS_IT_IS): 3,
            ("TOKEN", "hex"): 9,
            ("OTHER", AS_IT_IS): len(masked) - 3,
        }
        assert all(masked.startswith(b"***", place) for place in stream.first.values())


def test_what_is_masked_in_between_is_counted_where_it_is_wanted() -> None:
    """Texts, keys and numbers of a result, each of which has a stream of its own inside; the masker itself keeps none.

    What is derived of a secret is named only where the secret has no such needle.
    """
    values = {"TOKEN": TOKEN, "PIN": b"1234567890123"}
    masker = Masker.build(values, {"source lake key": TOKEN, "source lake session": b"short-lived-1"})
    hits: dict[tuple[str, str], int] = {}
    counting = masker.counting(hits)
    shown = TOKEN.decode()
    counting.mask_json({shown: [f"{shown} {shown}", 1234567890123, "short-lived-1"]})
    counting.mask_text(shown)
    counting.mask_beginning(shown + "...")
    assert hits == {("TOKEN", AS_IT_IS): 5, ("PIN", AS_IT_IS): 1, ("source lake session", AS_IT_IS): 1}
    masker.mask_text(shown)
    assert masker.finds([TOKEN]) and hits["TOKEN", AS_IT_IS] == 5
