"""What the documentation says is not recognised passes through: the sentence stays true, and goes when this does."""

import base64
import codecs
import json
import re
import subprocess
import textwrap
import unicodedata
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy
import yaml

from executor.masking.masker import MASK, Masker
from executor.masking.needles import needles_for
from tests.executor.masking.test_forms_of_tools import SPELLED, VALUES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "secrets.md"

TOKEN = "sk-live-Zx81token4value9of5forty6chars0ab"
ODD = "p\"w'd\\<é>&:/@ end-of-it"
LONG_WORDS = "correct horse battery staple " * 4 + "end"


def od(text: str) -> str:
    return subprocess.run(["od", "-tx1z"], input=text, capture_output=True, text=True, check=True).stdout


def wrapped_behind(text: str) -> str:
    return base64.encodebytes(b"dn: cn=somebody\nuserPassword: " + text.encode()).decode()


def json_of(text: str, times: int) -> str:
    for _ in range(times):
        text = json.dumps(text)
    return text


def percent(text: str, times: int) -> str:
    for _ in range(times):
        text = urllib.parse.quote(text, safe="")
    return text


def login(text: str) -> str:
    return sqlalchemy.URL.create("postgresql", "u", text, "h").render_as_string(hide_password=False)


BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(text: str) -> str:
    number, digits = int.from_bytes(text.encode()), ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    return digits


# What the page says, the value, and what makes of it what passes.
PASSES: list[tuple[str, str, Callable[[str], str]]] = [
    ("A part of a value", TOKEN, lambda text: text[:30] + "…"),
    ("`textwrap`", LONG_WORDS, lambda text: "\n".join(textwrap.wrap(text, 40))),
    ("a console", TOKEN, lambda text: text[:20] + "\n" + text[20:]),
    ("YAML", LONG_WORDS, lambda text: yaml.dump({"k": text})),
    ("quoted-printable", TOKEN * 3, lambda text: codecs.encode(b"x" * 20 + text.encode(), "quopri").decode()),
    ("base64 in lines behind other text", TOKEN, wrapped_behind),
    ("colour codes", TOKEN, lambda text: text[:3] + "\x1b[1;36m" + text[3:10] + "\x1b[0m" + text[10:]),
    ("JSON in JSON in JSON", ODD, lambda text: json_of(text, 3)),
    ("percent-encoding thrice", ODD, lambda text: percent(text, 3)),
    ("base64 of base64", TOKEN, lambda text: base64.b64encode(base64.b64encode(text.encode())).decode()),
    ("a login of SQLAlchemy's encoded", ODD, lambda text: urllib.parse.quote_plus(login(text))),
    ("base32", TOKEN, lambda text: base64.b32encode(text.encode()).decode()),
    ("base58", TOKEN, base58),
    ("base85", TOKEN, lambda text: base64.b85encode(text.encode()).decode()),
    ("ascii85", TOKEN, lambda text: base64.a85encode(text.encode()).decode()),
    ("uuencode", TOKEN, lambda text: codecs.encode(text.encode(), "uu").decode()),
    ("rot13", TOKEN, lambda text: codecs.encode(text, "rot13")),
    ("punycode", "żółć-ключ-鍵-ñ", lambda text: text.encode("punycode").decode()),
    ("`74:6f:6b`", "token-of-it", lambda text: text.encode().hex(":")),
    ("hex with separators", TOKEN, lambda text: text.encode().hex(" ")),
    ("`od`", TOKEN, od),
    ("lists of numbers", TOKEN, lambda text: repr(list(text.encode()))),
    (r"`\x74\x6f\x6b`", TOKEN, lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode())),
    ("`&#116;&#111;`", TOKEN, lambda text: "".join(f"&#{ord(char)};" for char in text)),
    ("UTF-16", TOKEN, lambda text: text.encode("utf-16-le").decode("latin-1")),
    ("also in base64", TOKEN, lambda text: base64.b64encode(text.encode("utf-16-le")).decode()),
    ("UTF-7", "żółć-ключ-鍵-ñ", lambda text: text.encode("utf-7").decode()),
    ("Latin-1", "clé-d'accès-sûr", lambda text: text.encode("latin-1").decode("utf-8", "surrogateescape")),
    ("another normal form", "clé-d'accès-sûr", lambda text: unicodedata.normalize("NFD", text)),
    ("`escapejs`", TOKEN, lambda text: text.replace("-", "\\u002D")),
    ("`re.escape`", TOKEN, re.escape),
    ("Markdown", "my_secret_value_1", lambda text: text.replace("_", "\\_")),
    ("`.properties`", "ab:cd=efgh!ij", lambda text: re.sub("([:=!])", r"\\\1", text)),
    ("`&eacute;`", "clé-daccès-sûr", lambda text: text.replace("é", "&eacute;").replace("è", "&egrave;")),
    ("other case", TOKEN, str.upper),
    ("other white space", LONG_WORDS, lambda text: text.replace(" ", "\u00a0")),
    ("groups of digits", "4111111111111111", lambda text: " ".join(text[at : at + 4] for at in range(0, 16, 4))),
]


@pytest.mark.parametrize(("said", "value", "write"), PASSES, ids=[said for said, _, _ in PASSES])
def test_what_is_not_recognised_is_said(said: str, value: str, write: Callable[[str], str]) -> None:
    """I9: it passes, and the page says so; where one of these is masked one day, the page has to change."""
    masker = Masker.build({"VALUE": value.encode()})
    assert masker.mask_text(value) == MASK.decode()
    assert MASK.decode() not in masker.mask_text(write(value))
    section = PAGE.read_text().split("Not recognised, of a value")[1].split("Masking guards")[0]
    assert said.lower() in " ".join(section.split()).lower()


def test_every_form_is_listed_by_its_name() -> None:
    """The page names each form as sealrun does, so that whoever reads a name finds what it means."""
    values = [*VALUES, *SPELLED, "A" * 60 + "b" * 60]
    names = {name for value in values for name in needles_for(value.encode()).values()}
    listed = PAGE.read_text().split("by the names that sealrun gives them")[1].split("Not masked, as")[0]
    beginnings = ("JSON of ", "repr of ", "HTML of ")  # listed as `JSON of …`
    assert {name for name in names if f"`{name}`" not in listed and not name.startswith(beginnings)} == set()
    assert len(names) > 25
