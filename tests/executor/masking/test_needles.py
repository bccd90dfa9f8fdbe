"""What is derived from a value, what is left out of it, and what its owner is told."""

import json

import pytest

from executor.masking.masker import Masker
from executor.masking.needles import ENCODED_PARTS, SHORTEST, needles_for, verdict

KEY = b"""-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASC
BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj
ab12
-----END PRIVATE KEY-----
"""


def masked(value: bytes, text: bytes) -> bytes:
    """`text` as it leaves a run whose one secret is `value`."""
    return Masker.build({"VALUE": value}).mask(text)


# What is derived


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_a_multi_line_value_is_masked_with_any_line_ending(ending: bytes) -> None:
    """I5: the whole is one mask, short lines included, whatever line ending a tool wrote."""
    text = b"<" + ending.join(KEY.strip().split(b"\n")) + b">"
    assert masked(KEY, text) == b"<***>"
    assert masked(KEY.replace(b"\n", b"\r\n"), text) == b"<***>"


def test_each_line_is_masked_alone() -> None:
    """I5: a log that puts something before each line, or shows one line, hides it all the same."""
    text = b"1: MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n2: BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n3: ab12\n"
    assert masked(KEY, text) == b"1: ***\n2: ***\n3: ab12\n"
    assert masked(KEY, b"-----BEGIN PRIVATE KEY-----\n") == b"-----BEGIN PRIVATE KEY-----\n"


def test_an_indented_line_is_masked_without_its_indentation() -> None:
    """White space around a line is no part of it."""
    assert masked(b"first-line\n    indented-line  \n", b"[indented-line]") == b"[***]"


def test_outer_white_space_is_no_part_of_a_value() -> None:
    """A value stored with a final newline is masked where a program stripped it."""
    assert masked(b"  swordfish\n", b"'swordfish'") == b"'***'"


def test_an_escaped_key_is_masked_with_real_line_endings() -> None:
    """A key squeezed on one line with `\\n` is printed with real ones by whoever uses it."""
    escaped = KEY.strip().replace(b"\n", b"\\n")
    assert masked(escaped, b"> MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n") == b"> ***\n"


SERVICE_ACCOUNT = {
    "type": "service_account",
    "id": "a1b2",
    "private_key": KEY.decode(),
    "nested": [{"deep": {"token": 'quo"ted-żółw'}}],
    "inner": json.dumps({"secret": "inside-inside"}),
    "url": "amqp://app:rabbit-pass@mq/vhost",
    "number": 1234567890,
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_string_members_of_a_json_value_are_masked(indent: int | None, ensure_ascii: bool) -> None:
    """I5: what a program takes out of a JSON value is masked at any depth, and so are its parts."""
    value = json.dumps(SERVICE_ACCOUNT, indent=indent, ensure_ascii=ensure_ascii).encode()
    for text in (
        'quo"ted-żółw',
        json.dumps('quo"ted-żółw')[1:-1],
        "inside-inside",
        "rabbit-pass",
        "BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj",
        b"inside-inside".hex(),
        KEY.decode().strip(),
    ):
        assert masked(value, f"<{text}>".encode()) == b"<***>"
    for text in ("service_account", "a1b2", "1234567890", "private_key"):
        assert masked(value, f"<{text}>".encode()) == f"<{text}>".encode()


def test_members_of_the_same_name_are_all_masked() -> None:
    """A JSON text may repeat a name; no member is lost to the last one."""
    assert masked(b'{"a": "first-token", "a": "other-token"}', b"first-token other-token") == b"*** ***"


def test_a_json_string_is_masked_without_its_quotes() -> None:
    """A value stored as a JSON string hides what is in it."""
    assert masked(rb'"quoted-\u017c-token"', "quoted-ż-token".encode()) == b"***"


@pytest.mark.parametrize("value", [b"[" * 3000, b'{"a": ' + b"9" * 5000 + b', "b": "token-in-it"}', b"{not json}"])
def test_odd_json_is_a_value_like_any_other(value: bytes) -> None:
    """Nesting without end, endless digits and mere braces are no error."""
    assert masked(value, b"<" + value + b">") == b"<***>"
    assert verdict("ODD", value).maskable


@pytest.mark.parametrize(
    ("url", "password"),
    [
        (b"postgresql://app:pa55word-x@db.example:5432/shop?sslmode=require", b"pa55word-x"),
        (b"redis://:only-a-password@cache:6379/0", b"only-a-password"),
        (b"postgresql+psycopg://app:with%40at%2Fslash@db/shop", b"with@at/slash"),
        (b"postgresql+psycopg://app:with%40at%2Fslash@db/shop", b"with%40at%2Fslash"),
        (b"mysql://app:un/escaped#pass@db/shop", b"un/escaped#pass"),
        (b"mysql://app:two@at-signs@db/shop", b"two@at-signs"),
        (b"https://user:100%-sure-it%zz@host", b"100%-sure-it%zz"),
        (b"see https://ci:build-token@host/x\nand more", b"build-token"),
        (b"primary=a://u:first-word@h backup=a://u:other-word@h", b"other-word"),
    ],
)
def test_the_password_of_a_url_is_masked(url: bytes, password: bytes) -> None:
    """I5: raw and percent-decoded, alone and encoded."""
    assert masked(url, b"<" + password + b">") == b"<***>"
    assert masked(url, password.hex().encode()) == b"***"
    assert masked(url, b"db.example") == b"db.example"


def test_a_short_password_is_masked_beside_its_user() -> None:
    """A password that is too short or common alone is masked as a login, and in a Basic header."""
    url = b"postgresql://postgres:postgres@db/shop"
    assert masked(url, b"postgres:postgres") == b"***"
    assert masked(url, b"postgres is up") == b"postgres is up"
    assert masked(url, b"Basic cG9zdGdyZXM6cG9zdGdyZXM=") == b"Basic ***M="


def test_urls_without_a_password_add_nothing() -> None:
    """A port or a path is no password."""
    for url in (b"https://host.example:8443/path/longer", b"https://user@host.example/"):
        assert masked(url, b"8443/path/longer user@host.example") == b"8443/path/longer user@host.example"


# What is left out


@pytest.mark.parametrize("value", [b"", b"hunter2", b"   short7   ", b"\n" * 20, b" \t\r\n" * 5])
def test_a_value_under_eight_bytes_has_no_needles(value: bytes) -> None:
    """I9: it cannot be masked, and the verdict says so."""
    assert needles_for(value) == {}
    answer = verdict("SHORT", value)
    assert not answer.maskable
    assert answer.notes == ("SHORT has under 8 bytes (without outer white space): it is not masked",)


@pytest.mark.parametrize(
    "value",
    [
        b"12345678",
        KEY,
        json.dumps(SERVICE_ACCOUNT, indent=1).encode(),
        b"postgresql://u:pw@db/%61",
        b'["a", "", "  ", "\\n"]',
        "żółw-żółw".encode(),
        bytes(range(1, 256)),
        b"\r\n\r\n--------\r\na\r\n",
    ],
)
def test_no_needle_is_under_eight_bytes(value: bytes) -> None:
    """Shorter ones would mask words that stand everywhere."""
    patterns = needles_for(value).keys()
    assert value in patterns
    assert min(map(len, patterns)) >= SHORTEST


def test_a_value_of_thousands_of_lines_gets_few_encoded_forms() -> None:
    """Every line is masked as it stands; encoded forms stop where memory would, and the owner is told."""
    lines = [b"line-number-%05d" % number for number in range(3000)]
    value = b"\n".join(lines)
    patterns = needles_for(value).keys()
    assert set(lines) <= patterns
    assert lines[ENCODED_PARTS - 1].hex().encode() in patterns
    assert lines[ENCODED_PARTS].hex().encode() not in patterns
    assert verdict("LIST", value).notes == (
        "LIST has 3000 lines and members: those after the first 128 are masked as they are, not in encoded forms",
    )


# What the owner is told


def test_an_ordinary_value_needs_no_note() -> None:
    """Nothing is said where all is masked."""
    assert verdict("TOKEN", b"Zx81-token-value") == verdict("TOKEN", b"https://u:pass-word-1@host")
    assert verdict("TOKEN", b"Zx81-token-value").notes == ()
    assert verdict("TOKEN", b"Zx81-token-value").maskable


def test_short_lines_are_named_by_number() -> None:
    """I9: the verdict says which lines of a value are not masked alone; delimiters of keys need no word."""
    assert verdict("KEY", KEY).notes == ("line 4 of KEY is under 8 bytes: it is not masked on its own",)
    many = verdict("MANY", b"a long first line\n" + b"\n".join(b"x%d" % number for number in range(9)))
    assert many.notes == ("lines 2, 3, 4, 5, 6 and 4 more of MANY are under 8 bytes: they are not masked on their own",)


def test_short_and_common_members_are_named_by_path() -> None:
    """I9: members too, but no key that may itself be a token, and no line of pretty-printed JSON."""
    value = json.dumps({"user": "bob", "list": ["long-enough", {"sk-1234": "x"}], "db": "Postgres"}, indent=1)
    notes = verdict("JSON", value.encode()).notes
    assert sorted(notes) == [
        "member $.db of JSON is too common: it is not masked on its own",
        "members $.list[1].<key 1>, $.user of JSON are under 8 bytes: they are not masked on their own",
    ]


def test_a_short_password_is_named() -> None:
    """I9: the password of a URL, where it is one."""
    assert verdict("DATABASE_URL", b"postgresql://app:pw@db/shop").notes == (
        "the password of the URL in DATABASE_URL is under 8 bytes: it is not masked on its own",
    )
    nested = verdict("CONFIG", b'{"url": "postgresql://app:pw@db/shop"}')
    assert nested.notes == ("the password of the URL in $.url in CONFIG is under 8 bytes: it is not masked on its own",)


@pytest.mark.parametrize(
    ("value", "why"), [(b"Production\n", "too common"), (b"0101010101", "made of one or two characters")]
)
def test_a_value_that_would_ruin_the_log_is_masked_with_a_warning(value: bytes, why: str) -> None:
    """A whole value is always masked; its owner hears what that does to the log."""
    assert masked(value, b"<" + value.strip() + b">") == b"<***>"
    assert verdict("STAGE", value).notes == (f"STAGE is {why}: *** replaces it everywhere in the output",)


def test_a_long_value_that_is_no_text_is_told() -> None:
    """I9: only the forms that binary values are printed in are looked for, and the owner is told."""
    value = bytes(range(1, 256)) * 40
    assert any("long and not UTF-8" in note for note in verdict("BLOB", value).notes)
    assert masked(value, value.hex().encode()) == b"***"


@pytest.mark.parametrize("value", [KEY, json.dumps(SERVICE_ACCOUNT).encode(), b"https://u:pw77@h/", b"hunter2"])
def test_notes_and_masker_show_nothing_of_the_value(value: bytes) -> None:
    """I10: neither a sentence nor a repr quotes a value or a part of it."""
    shown = repr(verdict("NAME", value)) + repr(Masker.build({"NAME": value}))
    for part in ("MIIE", "ab12", "a1b2", "żółw", "inside", "rabbit", "pw77", "hunter"):
        assert part not in shown
