"""One of several processes that write to one database: `writer.py URL SECONDS NAME`; prints what it stored.

It starts when its standard input ends, so that all begin together, and holds no key of any kind.
"""

import json
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from secretstore import vault
from secretstore.database import Database
from secretstore.errors import RollbackRefused
from secretstore.pins import Pins


def main(url: str, seconds: float, name: str) -> None:
    db, actor = Database(url), vault.Actor(name, "test")
    pins = Pins(Path(tempfile.mkdtemp(prefix="sealrun-writer-")) / "known_keys", url)
    stored, slowest, rolled_back = {name: 0, "SHARED": 0, "VARIABLE": 0}, 0.0, 0
    # Half of the writers name the two environments the other way round: they must not wait for each other for ever.
    places = ["default", "staging"] if int(name[-1]) % 2 else ["staging", "default"]
    sys.stdin.read()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        value = f"{name} value {stored[name]}".encode()
        stored[name] = vault.put(db, "shop", "default", name, value, actor=actor, pins=pins).version
        shared = [vault.NewSecret(place, "SHARED", value) for place in places]
        stored["SHARED"] += len(vault.store(db, "shop", shared, actor=actor, pins=pins)) // 2
        with suppress(RollbackRefused):  # it is at the oldest that is kept: others roll it back as well
            vault.rollback(db, "shop", "default", "SHARED", actor=actor)
            rolled_back += 1
        vault.set_variable(db, "shop", "default", f"{name}_VARIABLE", str(stored[name]), actor=actor)
        stored["VARIABLE"] += 1
        vault.list_secrets(db, "shop")
        slowest = max(slowest, time.monotonic() - began)
    print(json.dumps({"stored": stored, "rolled_back": rolled_back, "slowest": slowest}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])
