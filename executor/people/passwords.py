"""Passwords of people whom no issuer vouches for: Argon2id, with parameters that have names."""

import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from executor.errors import PasswordRefused

SHORTEST, LONGEST = 12, 256
"""Characters. No rule asks for digits or signs: length is what helps, and such rules make people choose worse ones."""

# The second recommendation of RFC 9106, section 4, for where 2 GiB a log-in are too much.
MEMORY_KIB, PASSES, LANES = 64 << 10, 3, 4
_HASHER = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, hash_len=32, salt_len=16)


def hashed(password: str, name: str = "") -> str:
    """Return what is kept of a new password.

    Args:
        name: whose it is: it may not be the password.

    Raises:
        PasswordRefused: it is too short, too long, or the name.
    """
    password = _same(password)
    if len(password) < SHORTEST:
        raise PasswordRefused(why=f"it has fewer than {SHORTEST} characters")
    if len(password) > LONGEST:
        raise PasswordRefused(why=f"it has more than {LONGEST} characters")
    if len(set(password)) <= 2 or (name and password.casefold().strip("0123456789.!-_ ") == name.casefold()):
        raise PasswordRefused(why="it is the first that anyone would try")
    return _HASHER.hash(password)


def fits(kept: str | None, password: str) -> bool:
    """Tell whether a password is the one that is kept. Without one it takes as long, and is none.

    So neither the answer nor the time that it takes tells whether there is such a person.
    """
    try:
        _HASHER.verify(kept or _nobodys(), _same(password)[: LONGEST + 1])
    except (VerificationError, InvalidHashError):
        return False
    return kept is not None


def is_outdated(kept: str) -> bool:
    """Tell whether a password was kept with other parameters than today's."""
    return _HASHER.check_needs_rehash(kept)


def rehashed(password: str) -> str:
    """Return what is kept of a password that fits, with today's parameters, be it shorter than today's may be."""
    return _HASHER.hash(_same(password))


@cache
def _nobodys() -> str:
    """What an unknown person's password is compared with; made once, and never anybody's."""
    return _HASHER.hash("nobody has this password")


def _same(password: str) -> str:
    """The same text however a keyboard composes it: NIST SP 800-63B, section 3.1.1.2."""
    return unicodedata.normalize("NFKC", password)
