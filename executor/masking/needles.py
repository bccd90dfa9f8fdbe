"""What the masker looks for: a value, its parts, and the forms in which tools print them.

Whoever sees a part of a value may have seen all that matters: the password in a URL, a member of a service account's
JSON, a line of a private key. Short parts and common words are left out: masking them would ruin the log and hide
little. `verdict` names them.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from executor.masking.encodings import LONG, encoded, is_long_binary

SHORTEST = 8  # bytes; "true", "prod" or "1234" are everywhere in a log
# Parts of one value, and their bytes together, that get encoded forms: a value may have thousands of lines, and each
# form of each takes memory. An RSA key of 8,192 bits is within both.
ENCODED_PARTS = 128
ENCODED_BYTES = 8 << 10
NESTING = 4  # for example a line of a member of a JSON text inside a JSON text
JSON_DEPTH = 64
NOTED = 5  # lines or members that a note lists

_JSON_BEGINS = b'{["'
_HEX_DIGITS = b"0123456789abcdefABCDEF"
_SCHEME = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-."

_COMMON = frozenset(
    b"""abcdefgh abcdefghi access_key administrator anonymous api-key api_key application application/json
    authorization authorized_user background changeme christmas client_id client_secret completed container
    credential credentials database default_user defaultdb description developer development disabled
    eu-central-1 eu-west-1 eu-west-2 eu-west-3 exception external_account instance internal localhost
    localhost:3306 localhost:5432 localhost:6379 127.0.0.1 127.0.0.1:3306 127.0.0.1:5432 127.0.0.1:6379
    localhost.localdomain 0.0.0.0:80 master_user memory_limit mysql_native_password not_found password
    password1 passw0rd permission postgres postgresql postgresql:// private_key production project_id
    public_key rabbitmq readonly readwrite redshift region_name registry repository root@localhost
    secret_key security sensitive service_account snowflake sqlalchemy staging_user superuser testtest
    timestamp token_uri undefined unlimited us-central1 us-east-1 us-east-2 us-west-1 us-west-2 username
    username1 verify-full verify_full version_1 warehouse workspace 11111111 12345678 123456789 1234567890
    00000000""".split()
)


@dataclass(frozen=True)
class Verdict:
    """Whether a value can be masked, and notes for the user that quote nothing of it."""

    maskable: bool
    notes: tuple[str, ...]


AS_IT_IS, PART = "as it is", "a part of it"
"""Forms that are no encoding; a part is a line, a member or a password."""


def needles_for(value: bytes) -> dict[bytes, str]:
    """Return everything that is masked because of one secret.

    Args:
        value: the secret, as the run gets it.

    Returns:
        Each needle with the name of its form. Needles are the value, also without outer white space and with each
        line ending; its lines, the string members of a JSON text, the password of a URL; and the encoded forms of all
        these. None is shorter than `SHORTEST` bytes; a value that is shorter has none.
    """
    bare = value.strip()
    if not is_maskable(value):
        return {}
    if _has_parts(bare):
        wholes, parts = _wholes(value), _masked(_parts(value))
    else:  # the common case
        wholes, parts = [value] if value == bare else [value, bare], []
    needles = dict.fromkeys(parts, PART) | dict.fromkeys(wholes, AS_IT_IS)
    for whole in wholes:
        if len(whole) <= LONG or whole is value:
            _add(needles, encoded(whole))
    for text in parts[: _encoded_count(parts)]:
        _add(needles, encoded(text))
    return needles


def _has_parts(bare: bytes) -> bool:
    """Tell whether a value may have lines, members or passwords: what has none of these characters has none."""
    # A line end, `:` or a backslash, or how JSON begins. Numbers: bytes are found in bytes more slowly.
    return 0x0A in bare or 0x0D in bare or 0x3A in bare or 0x5C in bare or bare[0] in _JSON_BEGINS


def _add(needles: dict[bytes, str], named: Iterable[tuple[str, Iterable[bytes]]]) -> None:
    add = needles.setdefault
    for name, forms in named:
        for form in forms:
            add(form, name)


def verdict(name: str, value: bytes) -> Verdict:
    """Tell whoever stores a value how far it can be masked.

    Args:
        name: the secret's name.
        value: the secret, as the run will get it.

    Returns:
        Whether it can be masked at all, and notes on what is not masked: lines by number, members by path.
    """
    if not is_maskable(value):
        return Verdict(False, (f"{name} has under {SHORTEST} bytes (without outer white space): it is not masked",))
    notes = []
    why = drawback(value)
    if why is not None:
        notes.append(f"{name} is {why}: *** replaces it everywhere in the output")
    if is_long_binary(value):
        notes.append(f"{name} is long and not UTF-8: of its encoded forms, only base64, hex and repr are masked")
    parts = list(_parts(value))
    left_out: dict[tuple[str, str], dict[str, None]] = {}
    for part in parts:
        why = _drawback(part.text)
        if why is not None and part.noted:
            left_out.setdefault((part.kind, why), {})[part.where] = None
    for (kind, why), places in left_out.items():
        notes.append(_left_out(name, kind, why, list(places)))
    masked = _masked(parts)
    count = _encoded_count(masked)
    if count < len(masked):
        notes.append(
            f"{name} has {len(masked)} lines and members: those after the first {count} are masked as they are,"
            " not in encoded forms"
        )
    return Verdict(True, tuple(notes))


def drawback(value: bytes) -> str | None:
    """Return why a value makes a bad needle, quoting nothing of it; None if it makes a good one."""
    return _drawback(value.strip())


def _left_out(name: str, kind: str, why: str, places: list[str]) -> str:
    if not any(places):
        return f"{kind} in {name} is {why}: it is not masked on its own"
    named, more = ", ".join(places[:NOTED]), len(places) - NOTED
    if more > 0:
        named += f" and {more} more"
    if len(places) == 1:
        return f"{kind} {named} of {name} is {why}: it is not masked on its own"
    return f"{kind}s {named} of {name} are {why}: they are not masked on their own"


def is_maskable(value: bytes) -> bool:
    """Whether the masker looks for a value at all: a shorter one would turn ordinary output into stars."""
    return len(value.strip()) >= SHORTEST


def _wholes(value: bytes) -> list[bytes]:
    """Return the value as it is, without outer white space, and with each line ending."""
    bare = value.strip()
    wholes = [value, bare]
    lines = _lines(bare)
    if len(lines) > 1:
        wholes += [ending.join(lines) for ending in (b"\n", b"\r\n", b"\r")]
    return list(dict.fromkeys(wholes))


def _masked(parts: Iterable["_Part"]) -> list[bytes]:
    return list(dict.fromkeys(part.text for part in parts if _drawback(part.text) is None))


def _encoded_count(parts: list[bytes]) -> int:
    """Return how many of the first parts get encoded forms."""
    left = ENCODED_BYTES
    for count, text in enumerate(parts[:ENCODED_PARTS]):
        left -= len(text)
        if left < 0:
            return count
    return min(len(parts), ENCODED_PARTS)


def _drawback(text: bytes) -> str | None:
    """Return why a part of a value makes no needle; None if it makes one."""
    if len(text) < SHORTEST:
        return f"under {SHORTEST} bytes"
    if text.lower() in _COMMON or _is_key_delimiter(text):
        return "too common"
    if len(set(text)) <= 2:
        return "made of one or two characters"
    return None


def _is_key_delimiter(text: bytes) -> bool:
    return text.startswith((b"-----BEGIN ", b"-----END ")) and not _is_multiline(text)


def _is_multiline(text: bytes) -> bool:
    return 0x0A in text or 0x0D in text


@dataclass(frozen=True)
class _Part:
    """A part of a value: what it is, where it is, and whether a note tells that it is not masked."""

    kind: str
    where: str
    text: bytes = field(repr=False)
    noted: bool = True


def _parts(value: bytes, inside: str = "", depth: int = 0) -> Iterator[_Part]:
    """Yield members first, then passwords, then lines: the first `ENCODED_PARTS` get all encoded forms."""
    if depth >= NESTING:
        return
    bare = value.strip()
    members = list(_members(bare))
    for path, member in members:
        if member.strip():
            yield _Part("member", path + inside, member.strip())
            yield from _parts(member, f" in {path}{inside}", depth + 1)
    if not members:
        yield from _passwords(bare, inside)
    lines = _lines(bare)
    if len(lines) == 1 and b"-----BEGIN " in bare:
        # A key whose line ends were escaped to fit on one line.
        lines = bare.replace(b"\\r", b"").split(b"\\n")
    if len(lines) == 1:
        return
    for number, line in enumerate(map(bytes.strip, lines), 1):
        if line:
            yield _Part("line", f"{number}{inside}", line, noted=not members and not _is_key_delimiter(line))
            if not members:
                yield from _parts(line, f" in line {number}{inside}", depth + 1)


def _passwords(text: bytes, inside: str) -> Iterator[_Part]:
    for user, password in _logins(text):
        for form in dict.fromkeys((password, _percent_decoded(password))):
            yield _Part("the password of the URL" + inside, "", form)
            if _drawback(form) is not None:  # at least mask both together, as in a Basic header
                yield _Part("login", "", user + b":" + form, noted=False)


def _lines(text: bytes) -> list[bytes]:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


def _logins(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield user and password of each URL on a line, even if the password has an unescaped `/`, `#` or `@`."""
    if _is_multiline(text) or b"://" not in text:
        return
    scheme, _, rest = text.partition(b"://")
    urls = [rest] if not scheme.translate(None, _SCHEME) else []  # the whole rest: a password may contain white space
    for word in text.split():
        urls += word.split(b"://")[1:]
    for url in dict.fromkeys(urls):
        authority = url
        for end in (b"/", b"?", b"#"):
            authority = authority.split(end, 1)[0]
        login, at, _ = (authority if b"@" in authority else url).rpartition(b"@")
        user, colon, password = login.partition(b":")
        if at and colon and password:
            yield user, password


def _percent_decoded(text: bytes) -> bytes:
    first, *rest = text.split(b"%")
    decoded = [first]
    for piece in rest:
        if len(piece) > 1 and not piece[:2].translate(None, _HEX_DIGITS):
            decoded.append(bytes((int(piece[:2], 16),)) + piece[2:])
        else:
            decoded.append(b"%" + piece)
    return b"".join(decoded)


class _Object(list[tuple[str, object]]):
    """A JSON object that keeps members with the same name."""


def _members(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield path and UTF-8 text of each string in a JSON text; nothing if it is not JSON."""
    if not text or text[0] not in _JSON_BEGINS:
        return
    try:
        document = json.loads(
            text.decode(), object_pairs_hook=_Object, parse_int=_skip, parse_float=_skip, strict=False
        )
    except (ValueError, RecursionError):  # ValueError: not JSON, not UTF-8
        return
    waiting = [("$", document, 0)]
    while waiting:
        path, node, depth = waiting.pop()
        if isinstance(node, str):
            yield path, node.encode("utf-8", "surrogatepass")
        elif depth >= JSON_DEPTH:
            continue
        elif isinstance(node, _Object):
            for number, (key, child) in enumerate(node, 1):
                step = f".{key}" if _is_shown(key) else f".<key {number}>"
                waiting.append((path + step, child, depth + 1))
        elif isinstance(node, list):
            waiting += [(f"{path}[{index}]", child, depth + 1) for index, child in enumerate(node)]


def _skip(_: str) -> None:
    """Ignore numbers: they make no needles, and parsing a very long one fails."""


def _is_shown(key: str) -> bool:
    """Tell whether a note may quote a key: only if it reads like a name, so that no note quotes a token."""
    return len(key) <= 32 and key.isascii() and key.replace("_", "").replace("-", "").isalpha()
