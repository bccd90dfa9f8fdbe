"""The masker's judge: what must hold for any secrets, text, transforms and chunks.

The oracles are written against the promise and share nothing with the masker: one marks every byte of every
occurrence in the whole text at once; the other encodes with the standard library, and finds the base64
characters that a secret fixes by trying its neighbours.
"""

import base64
import html
import json
import shlex
import urllib.parse
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from executor.masking.masker import Masker
from tests.effort import share
from tests.executor.masking.ways import WAYS, Way, searched

CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=20)


def chunks(text: bytes, sizes: list[int]) -> list[bytes]:
    """`text` in chunks of these sizes, repeated as often as needed."""
    parts = []
    at = number = 0
    while at < len(text):
        size = sizes[number % len(sizes)]
        parts.append(text[at : at + size])
        at += size
        number += 1
    return parts


# The engine: exactly the right bytes, at exactly the right moment


def covered(text: bytes, needles: list[bytes]) -> list[bool]:
    """For each byte, whether it belongs to an occurrence of a needle."""
    marks = [False] * len(text)
    for needle in needles:
        start = text.find(needle)
        while start >= 0:
            marks[start : start + len(needle)] = [True] * len(needle)
            start = text.find(needle, start + 1)
    return marks


def rendered(text: bytes, marks: list[bool]) -> bytes:
    """`text` with each run of marked bytes replaced by one mask."""
    out = bytearray()
    for index, marked in enumerate(marks):
        if not marked:
            out.append(text[index])
        elif index == 0 or not marks[index - 1]:
            out += b"***"
    return bytes(out)


def undecided(text: bytes, needles: list[bytes]) -> int:
    """Length of the longest end of `text` that is the start of a needle and not the whole of it."""
    for length in range(min(len(text), max(map(len, needles))), 0, -1):
        if any(len(needle) > length and needle.startswith(text[-length:]) for needle in needles):
            return length
    return 0


@st.composite
def engine_cases(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Needles full of repetition and overlap, and a text pieced together from their parts."""
    letters = draw(st.sampled_from([b"ab", b"abc", b"a*", b"ab\n\xff"]))
    needle = st.lists(st.sampled_from(list(letters)), min_size=8, max_size=14).map(bytes)
    needles = draw(st.lists(needle, min_size=1, max_size=4))
    if draw(st.booleans()):
        first = needles[0]
        needles.append(first + draw(st.sampled_from([b"b", b"ab", first, first[:5]])))
        needles.append(first[3:] + draw(needle))
    piece = st.one_of(
        st.sampled_from(needles),
        st.builds(lambda whole, end: whole[:end], st.sampled_from(needles), st.integers(1, 13)),
        st.builds(lambda whole, start: whole[start:], st.sampled_from(needles), st.integers(1, 13)),
        st.lists(st.sampled_from([*letters, 0x2D]), max_size=6).map(bytes),
    )
    return needles, b"".join(draw(st.lists(piece, max_size=10)))


@settings(max_examples=share(1200), deadline=None)
@given(engine_cases(), CUTS, st.sampled_from(WAYS))
def test_each_chunk_sends_all_that_is_decided_and_nothing_else(
    case: tuple[list[bytes], bytes], sizes: list[int], way: Way
) -> None:
    """I5: after each chunk, what was sent is the masked text up to what may still become a match."""
    with searched(way):
        check_engine(*case, sizes)


def check_engine(needles: list[bytes], text: bytes, sizes: list[int]) -> None:
    """Compare a stream, a whole buffer and a search with what brute force finds."""
    masker = Masker(dict.fromkeys(needles, ("", "")))
    stream = masker.stream()
    sent = b""
    seen = b""
    for chunk in chunks(text, sizes):
        sent += stream.feed(chunk)
        seen += chunk
        decided = len(seen) - undecided(seen, needles)
        assert sent == rendered(seen[:decided], covered(seen, needles)[:decided])
    marks = covered(text, needles)
    held = undecided(text, needles)
    if held >= 4:
        marks[-held:] = [True] * held
    assert sent + stream.finish() == rendered(text, marks)
    assert masker.mask(text) == rendered(text, covered(text, needles))
    assert masker.finds(chunks(text, sizes)) == any(covered(text, needles))


# The promise: no secret in the output, raw or in any listed form


def fixed_base64(secret: bytes) -> list[bytes]:
    """The base64 characters that `secret` fixes, at each of three alignments, in both alphabets."""
    forms = []
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            texts = [
                encode(bytes([left]) * before + secret + bytes([right]) * 3)
                for left, right in product((0x00, 0x55, 0xAA, 0xFF), repeat=2)
            ]
            same = [index for index, column in enumerate(zip(*texts, strict=True)) if len(set(column)) == 1]
            if before == 0:
                forms.append(texts[0][: same[-1] + 1])
            else:
                forms.append(texts[0][same[0] : same[-1] + 1])
    return forms


def listed_forms(secret: bytes) -> set[bytes]:
    """The secret in every form that the documentation lists."""
    forms = {secret, secret.hex().encode(), secret.hex().upper().encode(), *fixed_base64(secret)}
    for quoted in (
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
    ):
        forms.add(quoted.encode())
        forms.add(lower_percent(quoted).encode())
    forms.add(repr(secret)[2:-1].encode())
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return forms
    forms.add(json.dumps(text)[1:-1].encode())
    forms.add(json.dumps(text, ensure_ascii=False)[1:-1].encode())
    forms.add(json.dumps(text)[1:-1].replace("/", "\\/").encode())
    forms.add(repr(text)[1:-1].encode())
    quoted = shlex.quote(text)
    forms.add((quoted[1:-1] if quoted != text else quoted).encode())
    forms |= {form.encode() for form in forms_in_two_steps(text)}
    return forms


def forms_in_two_steps(text: str) -> set[str]:
    """Markup, doubled quotes, and one form in another."""
    found = {html.escape(text), html.escape(text, quote=False)}
    found |= {form.encode("ascii", "xmlcharrefreplace").decode() for form in (*found, text)}
    found |= {text.replace('"', '""'), text.replace("'", "''")}
    for rule in (urllib.parse.quote, urllib.parse.quote_plus):
        found |= {rule(rule(text, safe=""), safe=""), rule(json.dumps(text)[1:-1], safe="")}
    for inner in (json.dumps(text)[1:-1], repr(text)[1:-1], html.escape(text)):
        found |= {json.dumps(inner)[1:-1], repr(inner)[1:-1], html.escape(inner)}
    return found


def lower_percent(quoted: str) -> str:
    """Percent-encoding with lower-case digits."""
    first, *rest = quoted.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)])


# No `*`, so that no secret can arise by itself around a mask; neither `|` nor control characters, so that
# noise made of these is in no secret and no form of one.
NOISE = "|\x01\x02"
PRINTABLE = st.sampled_from([chr(code) for code in range(32, 127) if chr(code) not in "*|"])
ASCII_SECRETS = st.text(PRINTABLE, min_size=8, max_size=40).map(str.encode)
TEXT_SECRETS = st.text(
    st.characters(exclude_characters="*|\x01\x02", exclude_categories=["Cs"]), min_size=8, max_size=30
).map(str.encode)
RAW_SECRETS = st.binary(min_size=8, max_size=40).map(lambda raw: raw.translate(None, b"*|\x01\x02"))


@st.composite
def promise_cases(draw: st.DrawFn, secret: st.SearchStrategy[bytes]) -> tuple[list[bytes], bytes]:
    """Secrets, some part of one another, and a text that shows them in every listed way amid noise."""
    strip = secret.filter(lambda value: len(value.strip()) >= 8)
    secrets = draw(st.lists(strip, min_size=1, max_size=3))
    first = secrets[0]
    kin = st.sampled_from([first + b"-prod-key", first[2:] + b"tail-of-it", first + first[:4]])
    secrets += [value for value in draw(st.lists(kin, max_size=2)) if len(value.strip()) >= 8]
    pieces = []
    for _ in range(draw(st.integers(1, 6))):
        pieces.append(draw(st.text(st.sampled_from(NOISE), max_size=5)).encode())
        shown = draw(st.sampled_from(secrets))
        form = draw(st.sampled_from(sorted(listed_forms(shown))))
        left, right = draw(st.binary(max_size=5)), draw(st.binary(max_size=5))
        embedded = base64.b64encode(left + shown + right)
        wrapped = json.dumps({"log": [shown.decode("latin-1")]}).encode()
        pieces.append(draw(st.sampled_from([form, shown, embedded, shown + form, wrapped, form[:-1], form[1:]])))
    pieces.append(draw(st.text(st.sampled_from(NOISE), max_size=5)).encode())
    return secrets, b"".join(pieces)


def check_promise(secrets: list[bytes], text: bytes, sizes: list[int]) -> bytes:
    """Mask `text` in chunks and look for every listed form of every secret in what comes out."""
    masker = Masker.build({f"SECRET_{number}": value for number, value in enumerate(secrets)})
    stream = masker.stream()
    out = b"".join([stream.feed(chunk) for chunk in chunks(text, sizes)]) + stream.finish()
    for secret in secrets:
        for form in listed_forms(secret):
            assert form not in out
            assert form not in masker.mask(text)
    if any(form in text for secret in secrets for form in listed_forms(secret)):
        assert masker.finds(chunks(text, sizes))
    return out


@settings(max_examples=share(400), deadline=None)
@given(promise_cases(ASCII_SECRETS), CUTS)
def test_no_secret_comes_out_and_all_noise_does(case: tuple[list[bytes], bytes], sizes: list[int]) -> None:
    """I5: no listed form of a printable secret passes, and what is no part of one is there, in order."""
    secrets, text = case
    out = check_promise(secrets, text, sizes)
    noise = NOISE.encode()
    everything_else = bytes(set(range(256)) - set(noise))
    assert out.translate(None, everything_else) == text.translate(None, everything_else)


@settings(max_examples=share(200), deadline=None)
@given(promise_cases(TEXT_SECRETS), CUTS)
def test_no_secret_of_any_characters_comes_out(case: tuple[list[bytes], bytes], sizes: list[int]) -> None:
    """I5: the same for any Unicode text, line endings, quotes and control characters included."""
    check_promise(*case, sizes)


@settings(max_examples=share(200), deadline=None)
@given(promise_cases(RAW_SECRETS), CUTS)
def test_no_secret_of_any_bytes_comes_out(case: tuple[list[bytes], bytes], sizes: list[int]) -> None:
    """I5: the same for any bytes, UTF-8 or not."""
    check_promise(*case, sizes)


@settings(max_examples=share(200), deadline=None)
@given(
    st.lists(ASCII_SECRETS, min_size=1, max_size=4),
    st.lists(st.integers(0x80, 0xFF) | st.sampled_from(NOISE.encode()), max_size=200).map(bytes),
    CUTS,
)
def test_text_without_secrets_comes_out_unchanged(secrets: list[bytes], text: bytes, sizes: list[int]) -> None:
    """A text that shares no byte with any form of a secret passes as it is, each chunk at once."""
    stream = Masker.build({f"S{number}": value for number, value in enumerate(secrets)}).stream()
    for chunk in chunks(text, sizes):
        assert stream.feed(chunk) == chunk
    assert stream.finish() == b""
