"""A deployment with a project, on SQLite and on PostgreSQL, and somebody who is not this machine's user."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from executor.operations import projects, secrets, variables
from executor.operations.deployment import Deployment
from executor.schemas.projects import NewProject
from executor.schemas.secrets import NewSecret, SetSecret
from executor.schemas.variables import NewVariable
from executor.settings import read_settings
from secretstore import audit_reading
from secretstore.audit import Actor
from secretstore.database import Database
from secretstore.views import EventView

WHO = Actor("ada@elsewhere", "a door")


@dataclass(frozen=True)
class Shop:
    """The project `shop`, with the environments `default` and `staging`."""

    at: Deployment

    @property
    def key_file(self) -> Path:
        return self.at.settings.store.home / "keys" / "local.key"

    def seal(self, name: str, value: bytes = b"correct-horse-battery") -> SetSecret:
        asked = NewSecret(project="shop", environments=("default",), name=name, value=value)
        return secrets.set_(self.at, WHO, asked)

    def set_variable(self, name: str, value: str) -> None:
        asked = NewVariable(project="shop", environments=("default",), name=name, value=value)
        variables.set_(self.at, WHO, asked)

    def events(self) -> list[EventView]:
        return audit_reading.list_events(self.at.db, "shop")


@pytest.fixture
def at(db: Database, tmp_path: Path) -> Deployment:
    """A deployment without a project."""
    url = db.engine.url.render_as_string(hide_password=False)
    settings = read_settings({"SEALRUN_HOME": str(tmp_path / "home"), "SEALRUN_DATABASE_URL": url})
    return Deployment(settings, db)


@pytest.fixture
def shop(at: Deployment) -> Shop:
    """The project, made by whoever asked."""
    projects.create(at, WHO, NewProject(name="shop", environments=("staging",)))
    return Shop(at)
