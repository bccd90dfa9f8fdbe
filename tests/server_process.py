"""`sealrun serve` beside a rig, and a client that has a token for all of it."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2 as httpx

from executor.people import accounts, memberships, tokens
from executor.people.principal import INSTALLATION, operator
from executor.submission.standby import own_command
from tests.processes import eventually
from tests.rig import ACTOR, PATIENCE, Rig


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    pid: int
    client: httpx.Client


@contextlib.contextmanager
def serving(made: Rig, **environ: str) -> Iterator[Served]:
    """Start a server of the rig's settings, with a token of a service account that may do everything."""
    by = operator("tester")
    name = f"server-{len(os.listdir(made.folder))}"
    accounts.create(made.db, name, service=True, actor=ACTOR)
    memberships.give(made.db, name, "admin", INSTALLATION, actor=ACTOR, by=by)
    token = tokens.create(made.db, name, "t", "admin", INSTALLATION, actor=ACTOR, by=by).token
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        known = {**made.environ, "PYTHONPATH": str(made.tree), "SEALRUN_LISTEN": address, **environ}
        log = made.folder / f"{name}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                own_command("serve", "--listen-fd", str(taken.fileno())),
                cwd=made.folder, env=known, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                pass_fds=[taken.fileno()], start_new_session=True,
            )  # fmt: skip
    client = httpx.Client(
        base_url=f"http://{address}/api/v1", headers={"authorization": f"Bearer {token}"}, timeout=PATIENCE
    )

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        return client.get("/health/ready").status_code == 200

    try:
        eventually(ready, PATIENCE, "the server answers")
        yield Served(process.pid, client)
    finally:
        client.close()
        process.terminate()
        assert process.wait(PATIENCE) == 0, log.read_text()
