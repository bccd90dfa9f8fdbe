"""The encoded forms of a value, against the tools that write them."""

import ast
import base64
import html
import json
import random
import shlex
import shutil
import string
import subprocess
import urllib.parse
from collections.abc import Callable

import pytest

from executor.masking.masker import Masker
from executor.masking.needles import needles_for

ODD_VALUES = [
    'it\'s "odd" & <b>',
    "back\\slash/and\ttab",
    "#start $HOME `id` !x {a,b} ~user",
    "~home=~x:~y;z|w",
    "żółć-ключ-鍵-🔑",
    "line one\nline two's\nend",
    "bell\x07esc\x1bdel\x7f",
    "100% + 2^3 = [8]?",
    "*(not) ^ a, glob*",
]


def patterns(value: str) -> frozenset[bytes]:
    """All that is looked for because of a value."""
    return frozenset(needles_for(value.encode()))


def test_base64_is_found_in_any_surroundings() -> None:
    """I5: in 20,000 random embeddings, both alphabets, the secret's own characters never pass."""
    rnd = random.Random(11)
    for _ in range(200):
        secret = rnd.randbytes(rnd.randrange(8, 48)).replace(b"*", b"-")
        masker = Masker.build({"SECRET": secret})
        if not needles_for(secret):
            continue
        for _ in range(100):
            before, after = rnd.randbytes(rnd.randrange(20)), rnd.randbytes(rnd.randrange(20))
            encode = rnd.choice([base64.b64encode, base64.urlsafe_b64encode])
            text = encode(before + secret + after)
            first = -(-8 * len(before) // 6)
            last = 8 * (len(before) + len(secret)) // 6
            assert masker.mask(text) == text[:first] + b"***" + text[last:]


@pytest.mark.parametrize("value", ODD_VALUES)
@pytest.mark.parametrize("quote", [urllib.parse.quote_plus, lambda text: urllib.parse.quote(text, safe="")])
def test_base64_of_a_percent_encoded_client(value: str, quote: Callable[[str], str]) -> None:
    """I5: as OAuth clients send their id and secret, whether the secret stored is the second or both."""
    sent = base64.b64encode(f"{quote('a client')}:{quote(value)}".encode())
    for stored in (value, f"a client:{value}"):
        out = Masker.build({"VALUE": stored.encode()}).mask(sent)
        assert b"***" in out and len(out) <= len(base64.b64encode(quote("a client").encode())) + 3 + 8


@pytest.mark.parametrize("value", [*ODD_VALUES, "A" * 50 + "b" * 100])
@pytest.mark.parametrize("options", [[], ["-w64"], ["-w0"]])
def test_base64_as_the_command_wraps_it(value: str, options: list[str]) -> None:
    """I5: `echo "$SECRET" | base64`, with its newline and its line breaks."""
    done = subprocess.run(["base64", *options], input=value.encode() + b"\n", capture_output=True, check=True)
    out = Masker.build({"VALUE": value.encode()}).mask(done.stdout)
    assert out.startswith(b"***")
    assert len(out.strip()) <= 3 + 4


@pytest.mark.parametrize("value", ODD_VALUES)
def test_percent_forms(value: str) -> None:
    """As Python, browsers and Go write it, with upper-case and lower-case digits."""
    raw = value.encode()
    forms = {
        urllib.parse.quote(value),
        urllib.parse.quote(value, safe=""),
        urllib.parse.quote_plus(value),
        urllib.parse.urlencode({"": value})[1:],
        urllib.parse.quote(value, safe="!*'()"),
        urllib.parse.quote(value, safe="!*'();/?:@&=+$,#"),
        urllib.parse.quote_plus(value, safe="*").replace("~", "%7E"),
        "".join(f"%{byte:02X}" for byte in raw),
        "".join(f"%{byte:02x}" for byte in raw),
    }
    assert {form.encode() for form in forms} - patterns(value) == set()


@pytest.mark.parametrize("value", ODD_VALUES)
def test_json_forms(value: str) -> None:
    """As Python, PHP and Go write it."""
    pure, wide = json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]
    go = wide.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    forms = {pure, wide, pure.replace("/", "\\/"), wide.replace("/", "\\/"), go}
    assert {form.encode() for form in forms} - patterns(value) == set()


@pytest.mark.parametrize("value", ODD_VALUES)
@pytest.mark.parametrize("around", ["%s", '"%s', "'%s", "\"'%s", "\n%s"])
def test_python_forms(value: str, around: str) -> None:
    """As `repr` writes it in any text: which quotes it escapes depends on the rest of the text."""
    text = around % value
    start = around.index("%s")
    masker = Masker.build({"VALUE": value.encode()})
    for written in (repr(text), ascii(text), repr(text.encode()), repr({"key": [text]})):
        out = masker.mask(written.encode())
        assert b"***" in out
        assert len(out) <= len(repr(around[:start]).encode()) + len("{'key': [b'***']}") + 1
        assert ast.literal_eval(written)


@pytest.mark.parametrize("value", ODD_VALUES)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize(
    "script",
    [
        'printf %q "$VALUE"',
        'printf %s "${VALUE@Q}"',
        "export -p | grep -A9 -a VALUE=",
        "set | grep -A9 -a ^VALUE=",
        ': "$VALUE"; set -x; : "$VALUE"',
        'printf %q "x=$VALUE"',
    ],
)
def test_shell_forms(value: str, locale: str, script: str) -> None:
    """As bash shows it where people print an environment or trace a script."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on this machine")
    done = subprocess.run(
        [bash, "-c", script],
        env={"VALUE": value, "LC_ALL": locale, "PATH": "/usr/bin:/bin"},
        capture_output=True,
    )
    written = done.stdout + done.stderr
    out = Masker.build({"VALUE": value.encode()}).mask(written)
    assert b"***" in out
    for part in value.replace("'", " ").replace("\\", " ").split():
        if len(part) > 3 and part.isalpha():
            assert part.encode() not in out


@pytest.mark.parametrize("value", ODD_VALUES)
def test_shlex_and_dash_forms(value: str) -> None:
    """As `shlex.quote` and Debian's `sh` show it."""
    assert shlex.quote(value)[1:-1].encode() in patterns(value)
    done = subprocess.run(
        ["sh", "-c", "export -p | grep -A9 -a VALUE="],
        env={"VALUE": value, "PATH": "/usr/bin:/bin"},
        capture_output=True,
    )
    out = Masker.build({"VALUE": value.encode()}).mask(done.stdout)
    assert b"***" in out
    assert len(out) < len("export VALUE='***'\nexport PATH=/usr/bin:/bin\nexport PWD=") + 300
    assert value.split()[0].encode() not in out


def test_a_value_that_is_not_utf_8() -> None:
    """As Python holds it, with a surrogate for each odd byte."""
    value = b"\xff\xfe-token-\xe9"
    text = value.decode("utf-8", "surrogateescape")
    found = needles_for(value).keys()
    assert {json.dumps(text)[1:-1].encode(), repr(text)[1:-1].encode(), repr(value)[2:-1].encode()} <= found


def test_plain_values_have_few_needles() -> None:
    """A token of letters and digits is the same in most forms: the automaton stays small."""
    assert len(needles_for((string.ascii_letters + string.digits).encode()[5:37])) <= 12


@pytest.mark.parametrize("value", ODD_VALUES)
def test_a_page_shows_it_in_no_form(value: str) -> None:
    """I5: as text and as an attribute, as Python's html, Django and jinja, PHP, and browsers write entities."""
    escaped = html.escape(value, quote=False)
    pages = {escaped, html.escape(value), escaped.replace('"', "&#34;").replace("'", "&#39;")}
    pages |= {escaped.replace('"', "&quot;").replace("'", "&#039;"), escaped.replace('"', "&quot;")}
    masker = Masker.build({"ODD": value.encode()})
    for page in pages:
        assert masker.mask(f"<b>{page}</b>".encode()) == b"<b>***</b>"
