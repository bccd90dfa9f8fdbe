"""One of several processes that write to one database: `writer.py URL SECONDS NAME`; prints what it stored.

It starts when its standard input ends, so that all begin together, and holds no key of any kind.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from secretstore import vault
from secretstore.database import Database


def main(url: str, seconds: float, name: str) -> None:
    db, actor = Database(url), vault.Actor(name, "test")
    stored, slowest = {name: 0, "SHARED": 0, "VARIABLE": 0}, 0.0
    sys.stdin.read()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        value = f"{name} value {stored[name]}".encode()
        stored[name] = vault.put(db, "shop", "default", name, value, actor=actor).version
        vault.put(db, "shop", "default", "SHARED", value, actor=actor)
        stored["SHARED"] += 1
        vault.set_variable(db, "shop", "default", f"{name}_VARIABLE", str(stored[name]), actor=actor)
        stored["VARIABLE"] += 1
        vault.list_secrets(db, "shop")
        slowest = max(slowest, time.monotonic() - began)
    print(json.dumps({"stored": stored, "slowest": slowest}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])
