"""The server holds no plaintext while it serves what others store, run and follow."""

import base64
import os
import secrets
import threading

import pytest

from secretstore import vault
from tests.leaks.canaries import Canaries
from tests.leaks.evidence import Search, memory
from tests.processes import arguments, environ, eventually
from tests.rig import ACTOR, PATIENCE, file, rig
from tests.server_process import serving

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the memory of hardened processes can be read by root alone")

CODE = """
import os, sys, time
print(*os.environ["PLAIN"], sep="")
print(os.environ["PLAIN"], os.environ["ACCOUNT"], os.environ["MARK"])
sys.stdout.flush()
while not os.path.exists(os.environ["TMPDIR"] + "/go"): time.sleep(0.02)
raise ValueError(os.environ["PLAIN"])
"""


def test_i1_its_memory_while_secrets_are_set_runs_print_and_logs_are_followed() -> None:
    """In no form, then and after; what it did pass on, a mark that the run printed beside them, is found in it."""
    canaries, mark = Canaries(), f"mark-{secrets.token_hex(12)}"
    search = Search(canaries.needles())
    with rig() as made:
        made.keep_broker()
        made.project("shop", canaries.values())
        made.start_worker()
        with serving(made) as server:
            job = made.job(CODE, "worst.py")
            run = made.submit(file(job), variables={"MARK": mark})
            followed: list[str] = []

            def follow() -> None:
                with server.client.stream("GET", f"/runs/{run}/events") as answer:
                    followed.extend(answer.iter_lines())

            follower = threading.Thread(target=follow)
            follower.start()
            eventually(lambda: sum("event: output" in line for line in list(followed)), PATIENCE, "output is followed")
            vault.put(made.db, "shop", "default", "PLAIN", canaries.plain.encode(), actor=ACTOR, pins=made.pins)
            asked = ("/projects/shop/secrets", f"/runs/{run}", f"/runs/{run}/logs", "/projects/shop/audit")
            for path in asked:
                assert server.client.get(path).status_code == 200
            during = search.within("server, during", memory(server.pid))
            made.let_go(run)
            made.ended(run)
            follower.join(PATIENCE)
            assert any("event: end" in line for line in followed)
            for path in asked:
                assert server.client.get(path).status_code == 200
            pieces = server.client.get(f"/runs/{run}/logs").json()["items"]
            assert mark in b"".join(base64.b64decode(piece["data"]) for piece in pieces).decode()
            after = search.within("server, after", memory(server.pid))
            marked = Search({("mark", "raw"): mark.encode()}).within("", memory(server.pid, ("[heap]", "")))
            shown = search.within("argv", [arguments(server.pid), repr(environ(server.pid)).encode()])
        assert marked
        assert sorted(during | after | shown, key=repr) == []
