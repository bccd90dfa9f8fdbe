"""A deployment, and a server of it, which is asked as from another machine: with a home of its own and a token."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from executor import database
from executor.operations import projects, secrets
from executor.operations.deployment import Deployment
from executor.remote.server import Server
from executor.schemas.projects import NewProject
from executor.schemas.secrets import NewSecret
from executor.settings import Settings, read_settings
from tests.databases import sqlite_file
from tests.serving import OPERATOR, Served, served, token_of


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The project `shop` with a secret; nobody listens to its broker."""
    folder = tmp_path_factory.mktemp("house")
    url = f"sqlite:///{sqlite_file(folder / 'store' / 'sealrun.db', database.migrate)}"
    environ = {"SEALRUN_HOME": str(folder / "home"), "SEALRUN_DATABASE_URL": url}
    made = Deployment.open(read_settings(environ | {"SEALRUN_BROKER_URL": "redis://127.0.0.1:1/0"}))
    vars(made)["broker"] = Celery(broker="memory://")
    projects.create(made, OPERATOR, NewProject(name="shop", environments=("staging",)))
    secrets.set_(
        made, OPERATOR, NewSecret(project="shop", environments=("default",), name="KEY", value=b"correct-horse")
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def house(at: Deployment) -> Iterator[Served]:
    """Its server."""
    with served(at) as server:
        yield server


@pytest.fixture(scope="module")
def token(at: Deployment) -> str:
    """Of a service account that is an admin."""
    return token_of(at, "robot")


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    """The settings of another machine: no database, no broker."""
    return read_settings({"SEALRUN_HOME": str(tmp_path / "elsewhere")})


@pytest.fixture
def server(house: Served, token: str, here: Settings) -> Iterator[Server]:
    """The server, as it is asked from there."""
    asked = Server(here, house.url, token)
    yield asked
    asked.close()
