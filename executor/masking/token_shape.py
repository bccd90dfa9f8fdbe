"""The shape of sealrun's own API tokens, which is known wherever a run prints one: `srn_`, a letter, and 36 characters.

30 of them are random, 6 are a CRC-32, so that a token that was cut or mistyped, or a word that only looks like one, is
told from a whole one without asking a database. Processes that see plaintext import this.
"""

import re
import zlib

from ahocorasick_rs import BytesAhoCorasick

PREFIX = b"srn_"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM, CHECK = 30, 6
LENGTH = len(PREFIX) + 1 + RANDOM + CHECK

_SHAPE = re.compile(rb"srn_[a-z][0-9A-Za-z]{36}")
_BEGINNING = re.compile(rb"srn_(?:[a-z][0-9A-Za-z]{0,36})?")
# Of one pattern it is a vectorised search, at ten times the speed of bytes.find: every run's output goes through it.
_SEARCH = BytesAhoCorasick([PREFIX])
_SHORT_TEXT = 2_048  # bytes; below that, bytes.find costs less than the call


def whole(kind: str, random: str) -> str:
    """Return the token of a kind, a small letter, and of `RANDOM` random characters of `ALPHABET`."""
    return PREFIX.decode() + kind + random + _check((kind + random).encode())


def is_token(text: bytes) -> bool:
    """Tell whether this is a whole token, from the first character to the last."""
    return _SHAPE.fullmatch(text) is not None and text[-CHECK:] == _check(text[len(PREFIX) : -CHECK]).encode()


def may_be_token(text: bytes) -> bool:
    """Tell whether this may be the beginning of a token, as far as it goes."""
    return _BEGINNING.fullmatch(text) is not None


def places(text: bytes, start: int) -> list[int] | None:
    """Return where `srn_` stands in a text, from a place on; None if it does not, as nearly always."""
    if len(text) < _SHORT_TEXT:
        if text.find(PREFIX, start) < 0:
            return None
        return [at for at in range(start, len(text) - 3) if text.startswith(PREFIX, at)]
    part = memoryview(text)[start:] if start else text
    found = _SEARCH.find_matches_as_indexes(part)
    return [start + place for _, place, _ in found] if found else None


def beginning(text: bytes) -> int:
    """Return how many of the last bytes of a text are the beginning of `srn_`, but not all of it."""
    return next((length for length in (3, 2, 1) if text.endswith(PREFIX[:length])), 0)


def _check(body: bytes) -> str:
    number, digits = zlib.crc32(body), ""
    for _ in range(CHECK):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
