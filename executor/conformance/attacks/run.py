"""The run that attacks: `python -m attacks.run PLAN NAMES…`; a line of JSON each, and an exit code of its own."""

from __future__ import annotations

import json
import os
import sys

from . import bombs, calls, files, others, sockets  # noqa: F401  # they put themselves into the list
from .kit import ATTACKS, tell, tried

OWN_CODE = 7
"""What the run ends with, whatever it forged."""


def main() -> None:
    """Try those that are named, in that order."""
    with open(sys.argv[1]) as file:
        plan = json.load(file)
    plan["supervisor"] = os.getppid()
    tell({"process": os.getpid(), "uid": os.getuid()})
    for name in sys.argv[2:]:
        tell({"begins": name})
        tell(tried(name, plan) if name in ATTACKS else {"attack": name, "got": None, "said": "no such attack"})
    os._exit(OWN_CODE)


if __name__ == "__main__":
    main()
