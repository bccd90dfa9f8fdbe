"""How much is tried of what has no end: a quarter every day, all of it by `scripts/test --all`."""

import os

FULL = os.environ.get("SEALRUN_TEST_ALL") == "1"


def share(count: int) -> int:
    """So many of `count` examples or runs."""
    return count if FULL else -(-count // 4)
