"""A warm process of the worker's own user, and runs that try to have it carry something out."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import eventually
from tests.rig import CHECKOUT, WEAKER, Rig, as_ordinary, file, ordinary_account, rig

pytestmark = pytest.mark.long

ATTACK = """
import os, socket, sys
folder = sys.argv[1]
def told(act):
    try:
        return act()
    except OSError as error:
        return type(error).__name__
print("listed", told(lambda: sorted(os.listdir(folder))))
print("word", told(lambda: open(folder + "/word").read()))
for path in sys.argv[2:]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        reached = told(lambda: connection.connect(path) or "connected")
        if reached == "connected":
            with open(os.devnull) as nothing:
                socket.send_fds(connection, [b"0" * 64], [nothing.fileno()] * 4)
            reached = "answered" if connection.recv(5) == b"ready" else "nothing"
        print("socket", reached)
"""


@pytest.fixture(params=[pytest.param("landlock"), pytest.param("namespace", marks=pytest.mark.long)], scope="module")
def shop(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A worker of an ordinary user, whose runs have its user id, at this rung."""
    with rig(account=ordinary_account()) as made:
        made.project("shop", {"API_KEY": b"hunter2-prod-key-5417"})
        worker = made.start_worker(launcher=WEAKER[request.param])
        if made.rung(worker) != request.param:
            pytest.skip(f"this machine gives no rung {request.param}")
        yield made


def test_a_run_gets_nothing_from_the_warm_process_of_its_user(shop: Rig) -> None:
    """I3: it can neither see the folder nor read the word, and what lets it connect hears nothing."""
    account = ordinary_account()
    words = as_ordinary(shop.folder, account) if account is not None else []
    command = [*words, "-m", "executor.cli", "runs", "list"]
    environ = {**shop.environ, "SEALRUN_WARM_SECONDS": "120", "PYTHONPATH": str(CHECKOUT)}
    subprocess.run(command, env=environ, cwd=shop.jobs, check=True, timeout=60, capture_output=True)
    folder = shop.home / "warm"
    sockets = eventually(
        lambda: [path for path in folder.glob("*") if path.is_socket() and _listens(path)], 40, "a warm process listens"
    )
    try:
        ended = shop.run(file(shop.job(ATTACK), str(folder), *map(str, sockets)))
    finally:
        for path in sockets:
            path.unlink()  # by which it ends

    assert ended.how == ("succeeded", None, 0), ended.stderr
    listed, word, reached = ended.stdout.splitlines()
    assert listed.split()[1] in ("PermissionError", "FileNotFoundError")
    assert word.split()[1] in ("PermissionError", "FileNotFoundError")
    assert reached.split()[1] in ("PermissionError", "FileNotFoundError", "nothing")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0
