"""What is shown to be let in, and what is kept of it."""

import secrets
from hashlib import sha256

_BYTES = 32


def new_opaque() -> str:
    """Return 256 random bits, as 43 characters that fit into a URL and a cookie."""
    return secrets.token_urlsafe(_BYTES)


def digest(shown: str) -> str:
    """Return what is kept of a random text: with so many bits nobody finds it by guessing, so SHA-256 will do.

    It is looked up by this in an index: how long that takes tells nothing about the text.
    """
    return sha256(shown.encode("utf-8", "surrogateescape")).hexdigest()
