"""sealrun's own API tokens: masked in whatever a run prints, whatever its secrets are."""

import random

import pytest

from executor.masking.masker import OWN_TOKEN, Masker
from executor.masking.token_shape import LENGTH, is_token
from executor.people.tokens import new_token

TOKENS = [new_token(kind).encode() for kind in "psc"]
FAR = b"x" * 5000


@pytest.mark.parametrize("values", [{}, {"KEY": b"hunter2-prod-key"}, {str(n): b"secret-%04d" % n for n in range(300)}])
def test_a_token_is_masked_however_the_output_is_cut(values: dict[str, bytes]) -> None:
    """Invariant I5: at every place of a chunk's end, in short and long texts, beside each other and beside secrets."""
    masker = Masker.build(values)
    first, second, third = TOKENS
    text = b"a " + first + b" srn_ " + FAR + second + third + b" srn_p" + b" hunter2-prod-key " + first[:-1] + b"\n"
    near = len(text) - 200
    cuts = [*range(LENGTH + 12), *range(near, len(text))]
    told = [masker.mask(text)]
    for cut in cuts:
        stream = masker.stream()
        told.append(stream.feed(text[:cut]) + stream.feed(text[cut:]) + stream.rest())
    stream = masker.stream()
    told.append(b"".join(stream.feed(bytes((byte,))) for byte in text) + stream.rest())
    key = b"***" if "KEY" in values else b"hunter2-prod-key"
    wanted = b"a *** srn_ " + FAR + b"*** srn_p " + key + b" " + first[:-1] + b"\n"
    assert set(told) == {wanted}


def test_what_only_looks_like_a_token_is_shown() -> None:
    """One that was changed, or cut, or a word of a program's: its check does not fit."""
    masker = Masker.build({})
    token = TOKENS[0].decode()
    swapped = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]
    assert not is_token(swapped.encode())
    for shown in (swapped, token[:-1], "srn_" * 20, "srn_p" + "0" * 35, "SRN_" + token[4:], "srn:aws:x"):
        assert masker.mask_text(f"<{shown}>") == f"<{shown}>"
    assert masker.mask_text(f"<{token}>") == "<***>"


def test_the_beginning_of_a_token_at_the_end_of_a_stream_is_masked() -> None:
    """As of a secret's: whether the rest went elsewhere nobody knows."""
    stream = Masker.build({}).stream()
    assert stream.feed(b"token: " + TOKENS[0][:20]) + stream.finish() == b"token: ***"
    stream = Masker.build({}).stream()
    assert stream.feed(b"yes") + stream.finish() == b"yes"


def test_a_token_in_results_keys_and_files_is_masked_and_counted() -> None:
    """All of a run's ways out go by one masker; how often it was is told under words, not under a secret's name."""
    hits: dict[tuple[str, str], int] = {}
    masker = Masker.build({"KEY": b"hunter2-prod-key"}).counting(hits)
    token = TOKENS[0].decode()
    assert masker.mask_json({token: [token, 1]}) == {"***": ["***", 1]}
    assert masker.finds([b"x" * 100, token[:9].encode(), token[9:].encode()])
    assert hits == {OWN_TOKEN: 3}


def test_a_token_that_is_a_secret_too_is_the_secret() -> None:
    """Somebody stores the token of another project: it is told under its name."""
    hits: dict[tuple[str, str], int] = {}
    masker = Masker.build({"CI_TOKEN": TOKENS[0]}).counting(hits)
    assert masker.mask(b"<" + TOKENS[0] + b">") == b"<***>"
    assert {name for name, _ in hits} == {"CI_TOKEN"}


def test_tokens_and_secrets_that_overlap_are_hidden_whole() -> None:
    """Invariant I5: random secrets that are parts of a token, in random chunks; no byte of either is left."""
    random.seed(20260101)
    for _ in range(200):
        token = random.choice(TOKENS)
        at = random.randrange(LENGTH - 12)
        secret = (b"before--" + token[: at + 9]) if random.random() < 0.5 else token[at:] + b"--behind"
        text = b"<" + (secret + token[at + 9 :] if secret.startswith(b"before") else token[:at] + secret) + b">"
        masker = Masker.build({"S": secret})
        stream, out, place = masker.stream(), b"", 0
        while place < len(text):
            step = random.randrange(1, 30)
            out += stream.feed(text[place : place + step])
            place += step
        assert out + stream.rest() == b"<***>"
