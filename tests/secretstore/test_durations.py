"""Lengths of time as a person writes them."""

import pytest

from secretstore import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        (".5", 0.5),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("90d", 90 * 86400),
        ("2w1d", 15 * 86400),
        ("1h1s", 3601),
        ("0", 0),
        ("0s", 0),
    ],
)
def test_a_time_is_a_number_or_has_units(text: str, seconds: float) -> None:
    """Each unit once, the longest first; a number alone is seconds."""
    assert durations.seconds(text) == seconds


def test_a_number_alone_is_in_the_unit_that_was_always_meant() -> None:
    """As a setting in days has it."""
    assert durations.seconds("30", "d") == durations.seconds("30d") == durations.seconds("720h", "d")


@pytest.mark.parametrize(
    "text", ["", "m", "5 m", "30m1h", "5m5m", "-5m", "1e3", "nan", "inf", "5M", "5min", "\uff15m", "9" * 400, "1h30"]
)
def test_anything_else_is_no_time(text: str) -> None:
    """`1h30` too: half of those who write it mean minutes."""
    with pytest.raises(ValueError, match="no length of time"):
        durations.seconds(text)
