"""Key pairs that somebody says are the right ones, by `--pin`."""

from collections.abc import Sequence

from executor.errors import Misuse
from secretstore.pin import GivenPin


def given_pins(typed: Sequence[str] | None) -> tuple[GivenPin, ...]:
    """What was typed after each `--pin`.

    Raises:
        Misuse: one is no pin; it is not quoted, since anything may have been pasted there.
    """
    try:
        return tuple(GivenPin.parse(one, "--pin gives") for one in typed or ())
    except ValueError as why:
        raise Misuse("--pin takes [ENV=]PIN: {why}", why=why) from None
