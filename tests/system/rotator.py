"""Rotates an environment again and again, each time in a fork that may be killed: `rotator.py PROJECT`.

A line of JSON on stdin says when the fork is killed: `{"step": [WORD, N]}` by itself, when it tells that for the N-th
time; `{"after": SECONDS}`; `{}` never; `{"twice": true}` has two at once. A line on stdout says how it ended, and how
long it took. It has no thread and no open database, so that a fork is a process like any other.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from executor.keys.rotation import rotate
from executor.settings import read_here
from secretstore import vault
from secretstore.database import Database
from secretstore.errors import RotationOvertaken
from secretstore.pins import Pins

OVERTAKEN = 3


def main(project: str) -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.monotonic()
        pids = [fork(project, asked.get("step")) for _ in range(2 if asked.get("twice") else 1)]
        if "after" in asked:
            time.sleep(asked["after"])
            os.kill(pids[0], signal.SIGKILL)
        ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps({"ended": sorted(ended), "seconds": time.monotonic() - began}), flush=True)


def fork(project: str, step: list[object] | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    words: list[str] = []

    def tell(word: str, _: int) -> None:
        words.append(word)
        if [word, words.count(word)] == step:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        settings = read_here()
        db = Database(settings.store.database_url)
        pins = Pins(settings.store.home / "known_keys", db.url_shown)
        rotate(settings, db, project, "default", actor=vault.Actor("rotator", "test"), pins=pins, tell=tell)
        code = 0
    except RotationOvertaken:
        code = OVERTAKEN
    except BaseException as error:  # noqa: BLE001  # ends in _exit
        print(repr(error), file=sys.stderr, flush=True)
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
