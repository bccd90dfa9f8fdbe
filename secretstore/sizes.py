"""Sizes as a person writes them: `512M`, `2G`, `1.5GiB`; a K has 1,024 bytes, whichever way it is written."""

import re

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_WRITTEN = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s?(?:([KMGT])(?:iB)?)?", re.IGNORECASE | re.ASCII)

FORM = "512M, 2G or 1.5GiB"
"""How one is written, for a refusal; the units are K, M, G and T, and a number alone is bytes."""


def size(text: str) -> int:
    """The bytes of a size.

    Raises:
        ValueError: it is none. It is not quoted.
    """
    written = _WRITTEN.fullmatch(text.strip())
    if written is None:
        raise ValueError("it is no size")
    number, unit = written.groups()
    return int(float(number) * _UNITS[(unit or "").upper()])


def as_text(count: int) -> str:
    """So many bytes, in the largest unit that leaves a whole number: `2G`, `1536M`."""
    for unit in "TGMK":
        if count and count % _UNITS[unit] == 0:
            return f"{count // _UNITS[unit]}{unit}"
    return f"{count:,} bytes"
