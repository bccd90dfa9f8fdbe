"""Lengths of time as a person writes them: `90`, `5m`, `1h30m`, `90d`."""

import re

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})"
# Each unit at most once, the longest first.
_WRITTEN = re.compile("".join(f"(?:{_NUMBER}{unit})?" for unit in _UNITS))

FORM = "90, 5m, 1h30m or 90d"
"""How one is written, for a refusal; the units are w, d, h, m and s."""


def forms(unit: str) -> str:
    """Some that suit a setting in this unit: a number alone is in it."""
    return "90, 12w or 1.5d" if unit == "d" else FORM


def seconds(text: str, unit: str = "s") -> float:
    """The seconds of a length of time; a number alone is in `unit`.

    Raises:
        ValueError: it is none. It is not quoted.
    """
    if re.fullmatch(_NUMBER, text):
        text += unit
    written = _WRITTEN.fullmatch(text)
    if written is None or not text:
        raise ValueError("it is no length of time")
    return sum(float(number) * of for number, of in zip(written.groups(), _UNITS.values(), strict=True) if number)
