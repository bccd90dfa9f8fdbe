"""The shape of sealrun's own API tokens, which is known wherever a run prints one: `srn_`, a letter, and 36 characters.

30 of them are random, 6 are a CRC-32, so that a token that was cut or mistyped, or a word that only looks like one, is
told from a whole one without asking a database. The standard library only: processes that see plaintext import this.
"""

import re
import secrets
import zlib

PREFIX = "srn_"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM, CHECK = 30, 6
LENGTH = len(PREFIX) + 1 + RANDOM + CHECK

_SHAPE = re.compile(rb"srn_[a-z][0-9A-Za-z]{36}")


def new_token(kind: str) -> str:
    """Return a new token of a kind, a small letter; its random part has 178 bits."""
    body = kind + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM))
    return PREFIX + body + _check(body.encode())


def is_token(text: bytes) -> bool:
    """Tell whether this is a whole token, from the first character to the last."""
    return _SHAPE.fullmatch(text) is not None and text[-CHECK:] == _check(text[len(PREFIX) : -CHECK]).encode()


def _check(body: bytes) -> str:
    number, digits = zlib.crc32(body), ""
    for _ in range(CHECK):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
