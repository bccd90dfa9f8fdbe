"""The console script `sealrun`: through a warm process where there is one for this command, else cold.

Until it is known that a command goes cold, nothing but the standard library is imported.
"""

import os
import sys

from executor.cli.warm import circumstances

_NOUNS = ("run", "runs")
"""Commands that seal no value and ask for none."""


def main() -> None:
    """Carry a command out, and exit as it says."""
    home = _home()
    facts = None
    if home is not None:
        from executor.cli.warm import handover

        facts = handover.facts()
        if facts is not None:
            handover.hand_over(home, facts)  # which does not come back where it could
    from executor.cli import main as cold

    try:
        cold.main()
    except SystemExit:
        if home is not None and facts is not None:
            from executor.cli.warm import leaving

            leaving.leave(home, facts)
        raise


def _home() -> str | None:
    """The home whose warm process this command may use; None where it may not use any."""
    if sys.platform != "linux" or sys.argv[1:2] == [] or sys.argv[1] not in _NOUNS:
        return None
    try:
        from executor.cli.warm import place
    except ImportError:  # of another package of our store's name: whoever starts cold says so
        return None
    if "_SEALRUN_COMPLETE" in os.environ or circumstances.odd_variable(os.environ) or not place.wanted(os.environ):
        return None
    return place.home_of(os.environ)
