"""HEALTHCHECK of the worker image: 0 while the worker of this container is heard, else 1 with a sentence.

What is looked at is the worker's own heartbeat in the database, which is at most ten seconds old while it lives. So a
healthy worker runs and reaches its database. Whether it reaches the broker is not known here.
"""

import socket
import sys

from executor.database import open_database
from executor.runs.workers import SILENCE, list_workers
from executor.settings import read_here
from secretstore.errors import SealrunError


def main() -> str | None:
    """What is wrong; None where the worker is heard."""
    here = socket.gethostname()
    try:
        alive = list_workers(open_database(read_here()), alive_only=True)
    except SealrunError as error:
        return f"unhealthy: {error}"
    # The machine's own name, whatever SEALRUN_HOST says: a worker has it unless -n names another (so end it in @%h).
    if any(worker.name.endswith(f"@{here}") for worker in alive):
        return None
    return f"unhealthy: no heartbeat of a worker …@{here} for {SILENCE:g} seconds"


if __name__ == "__main__":
    sys.exit(main())
