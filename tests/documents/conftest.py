"""sealrun as the pages have it: the command line, with nothing configured and on Redis with PostgreSQL."""

import contextlib
import importlib
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from executor.database import open_database
from executor.settings import read_settings
from secretstore.database import Database
from tests.documents.index import Index
from tests.executor.cli.conftest import Cli, forked, made
from tests.processes import eventually

# A command is a fork of this process: what it would import is here already.
for _name in ("executor.celery_app", "kombu.transport.redis", "psycopg"):
    importlib.import_module(_name)


@dataclass
class Reader:
    """Somebody who types what a page says."""

    cli: Cli
    db: Database

    def __call__(self, line: str, folder: Path) -> tuple[str, int]:
        """What is seen, stdout and stderr as they come, and the exit code."""
        environ = dict(self.cli.environ)
        before, bar, command = line.rpartition(" | ")
        given = b""
        if bar:
            given = subprocess.run(["sh", "-c", before], capture_output=True, check=True, cwd=folder).stdout
        words = shlex.split(command)
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            environ[name] = value
        assert words[0] == "sealrun", line
        ended = forked(words[1:], given, folder, environ, merged=True)
        return ended.stdout.decode(errors="replace"), ended.returncode


@pytest.fixture(scope="session")
def index() -> Iterator[Index]:
    """A package index on this machine."""
    with Index() as one:
        yield one


@pytest.fixture(scope="module", params=["embedded", pytest.param("servers", marks=pytest.mark.long)])
def reader(request: pytest.FixtureRequest, index: Index) -> Iterator[Reader]:
    """A reader with a project `shop`, a worker that goes on, and the package index of this machine."""
    with contextlib.ExitStack() as ending:
        settings = {"SEALRUN_PACKAGE_INDEX": index.url}
        if request.param == "servers":
            database = request.getfixturevalue("postgres_database").replace("postgresql://", "postgresql+psycopg://", 1)
            settings |= {
                "SEALRUN_BROKER_URL": request.getfixturevalue("redis_database"),
                "SEALRUN_DATABASE_URL": database,
            }
        cli = ending.enter_context(made(**settings))
        if request.param == "servers":
            cli.ok("migrate")
        cli.ok("project", "create", "shop", "-e", "staging")
        ending.enter_context(working(cli))
        cli.environ["SEALRUN_PROJECT"] = "shop"
        db = open_database(read_settings(cli.environ))
        ending.callback(db.close)
        yield Reader(cli, db)


@contextlib.contextmanager
def working(cli: Cli) -> Iterator[None]:
    """A worker of this home, ended with the context."""
    log = cli.folder / "worker.log"
    with log.open("wb") as out:
        command = [
            sys.executable,
            "-m",
            "executor.cli",
            *(["up"] if "SEALRUN_BROKER_URL" not in cli.environ else ["worker"]),
        ]
        process = subprocess.Popen(
            command,
            cwd=cli.folder,
            env=cli.environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        eventually(lambda: bool(cli.workers()) or process.poll() is not None, 60, "the worker is ready")
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(40)
