"""Sizes as a person writes them."""

import pytest

from secretstore import sizes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("512", 512),
        ("512M", 512 << 20),
        ("2g", 2 << 30),
        ("1.5GiB", 3 << 29),
        ("64 K", 64 << 10),
        ("1T", 1 << 40),
    ],
)
def test_a_size_is_a_number_or_has_a_unit(text: str, count: int) -> None:
    """A K has 1,024 bytes, as `docker run --memory` and systemd have it."""
    assert sizes.size(text) == count


@pytest.mark.parametrize("text", ["", "M", "2GB", "-1G", "1e3", "nan", "inf", "2P", "\uff12G", "9" * 400, "1G1M"])
def test_anything_else_is_no_size(text: str) -> None:
    """`GB` too: half of those who write it mean a thousand millions."""
    with pytest.raises(ValueError, match="no size"):
        sizes.size(text)


@pytest.mark.parametrize(("count", "text"), [(2 << 30, "2G"), (3 << 29, "1536M"), (5, "5 bytes"), (0, "0 bytes")])
def test_it_is_told_in_the_largest_unit_that_fits(count: int, text: str) -> None:
    """What is told can be typed again."""
    assert sizes.as_text(count) == text
