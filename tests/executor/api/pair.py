"""Two servers of one deployment, as two processes over one PostgreSQL database: what one learns the other knows."""

import contextlib
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx

from executor import database
from executor.api.routes import BASE
from executor.people import accounts
from secretstore.database import Database
from tests import databases
from tests.conftest import postgres_server
from tests.executor.api.conftest import OPERATOR, House, deployment_of
from tests.processes import eventually
from tests.servers import free_port

PASSWORD = "correct horse battery"


@dataclass
class Pair(House):
    """A deployment whose two servers are asked; both answer to the address of the first, as behind a proxy."""

    ports: tuple[int, ...] = ()
    folder: Path = Path()
    client: Any = None
    provider: Any = None
    """By which people log in: see `provider`."""
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def host(self) -> str:
        """What a request's `Host` has to be."""
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def origin(self) -> str:
        """What browsers take the server for."""
        return f"http://{self.host}"

    @property
    def own(self) -> dict[str, str]:
        """The headers of what a page of the server's own sends."""
        return {"origin": self.origin, "sec-fetch-site": "same-origin"}

    def send(self, method: str, path: str, to: int = 0, **more: Any) -> httpx.Response:
        """Send a request to one of the two; a cookie goes only where it is given."""
        headers = {"host": self.host} | dict(more.pop("headers", {}))
        url = f"http://127.0.0.1:{self.ports[to]}{path}"
        answer = self.client.request(method, url, headers=headers, **more)
        self.client.cookies.clear()
        return answer

    def ask(self, method: str, path: str, token: str | None = None, to: int = 0, **more: Any) -> httpx.Response:
        """Send a request to the API of one of the two."""
        known = {"authorization": f"Bearer {token}"} if token is not None else {}
        return self.send(method, BASE + path, to, headers=known | dict(more.pop("headers", {})), **more)

    def archive(self, *files: tuple[str, bytes], heads: Iterable[tarfile.TarInfo] = ()) -> tuple[bytes, str]:
        """A source as it is sent, with members that no packer of ours makes, if any; and its digest."""
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for head in heads:
                archive.addfile(head, io.BytesIO(bytes(head.size)) if head.isreg() else None)
            for name, content in files:
                head = tarfile.TarInfo(name)
                head.size = len(content)
                archive.addfile(head, io.BytesIO(content))
            end = archive.offset
        body = made.getvalue()[:end] + bytes(1024)  # without what tarfile fills a tape's block with
        return body, hashlib.sha256(body).hexdigest()

    def person(self, name: str, admin: bool = False) -> str:
        """The cookie of a new person who has logged in."""
        accounts.create(self.at.db, name, password=PASSWORD, admin=admin, actor=OPERATOR)
        return self.cookie(self.log_in(name))

    def log_in(self, name: str, password: str = PASSWORD, to: int = 0, **more: str) -> httpx.Response:
        """Log in with a password."""
        return self.send("POST", "/log-in", to, headers=self.own, data={"name": name, "password": password, **more})

    def cookie(self, answer: httpx.Response) -> str:
        """What an answer sets, as it is sent."""
        return answer.headers["set-cookie"].partition(";")[0]

    def said(self) -> str:
        """All that both have written so far."""
        return "".join(file.read_text(errors="replace") for file in self.folder.glob("server-*.log"))


@contextlib.contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Pair]:
    """Both servers, ready, until the end. `settings` go to both."""
    with databases.migrated("postgresql", folder, postgres_server, database.migrate) as url:
        at = deployment_of(Database(url), folder / "home")
        pair = Pair(at, ports=(free_port(), free_port()), folder=folder)
        with contextlib.ExitStack() as started, httpx.Client(timeout=60, verify=False, trust_env=False) as client:
            pair.client = client
            started.callback(at.close)
            for number, port in enumerate(pair.ports):
                process = _start(pair, number, port, url, settings)
                pair.processes.append(process)
                started.callback(_end, process)
            for number in range(len(pair.ports)):
                eventually(lambda number=number: _is_ready(pair, number), 300, lambda: f"a server: {pair.said()}")
            yield pair


def _start(pair: Pair, number: int, port: int, url: str, settings: dict[str, str]) -> "subprocess.Popen[bytes]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SEALRUN_")}
    environ |= {
        "SEALRUN_HOME": str(pair.folder / "home"),
        "SEALRUN_DATABASE_URL": url,
        "SEALRUN_BROKER_URL": "redis://127.0.0.1:6379/9",
        "SEALRUN_LISTEN": f"127.0.0.1:{port}",
        "SEALRUN_PUBLIC_URL": pair.origin,
        **settings,
    }
    with (pair.folder / f"server-{number}.log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "executor.cli", "serve"], env=environ, stdout=log, stderr=log)


def _is_ready(pair: Pair, number: int) -> bool:
    assert pair.processes[number].poll() is None, pair.said()
    try:
        return pair.ask("GET", "/health/ready", to=number).status_code == 200
    except httpx.TransportError:
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
