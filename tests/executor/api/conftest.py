"""The API of a deployment with two projects, asked by people and service accounts of every role."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient

from executor import database, runs
from executor.api.application import Origin, create_application
from executor.api.routes import BASE
from executor.models import RunSpec
from executor.operations import projects
from executor.operations.deployment import Deployment
from executor.people import accounts, memberships, tokens
from executor.people.principal import INSTALLATION, Place, operator
from executor.runs import Lease, Offer, Outcome, output
from executor.runs.grant import Given
from executor.schemas.output import Piece
from executor.schemas.projects import NewProject
from executor.settings import read_settings
from secretstore import vault
from secretstore.audit import Actor
from secretstore.database import Database, utc_now
from tests.databases import sqlite_file

if TYPE_CHECKING:
    from tests.executor.api.pair import Pair

OPERATOR = Actor("ada", "cli")
HOST = "sealrun.test"
ORIGIN = Origin(f"https://{HOST}", frozenset({HOST}))


@dataclass
class House:
    """A deployment whose API is asked."""

    at: Deployment
    client: TestClient
    made: dict[tuple[str, Place], str] = field(default_factory=dict)

    def place(self, project: str | None = None, environment: str | None = None) -> Place:
        """A place by its names."""
        if project is None:
            return INSTALLATION
        if environment is None:
            return Place(vault.get_project(self.at.db, project).id, project)
        found = vault.get_environment(self.at.db, project, environment)
        return Place(found.project_id, project, found.id, environment)

    def token(self, role: str, project: str | None = None, environment: str | None = None) -> str:
        """A token of a service account that has a role at a place, and of nothing else."""
        at = self.place(project, environment)
        if (role, at) not in self.made:
            by, name = operator("ada"), f"{role}-{len(self.made)}"
            accounts.create(self.at.db, name, service=True, actor=OPERATOR)
            memberships.give(self.at.db, name, role, at, actor=OPERATOR, by=by)
            new = tokens.create(self.at.db, name, "t", role, at, actor=OPERATOR, by=by)
            self.made[role, at] = new.token
        return self.made[role, at]

    def run(self, project: str, environment: str) -> str:
        """The id of a run that waits."""
        found = vault.get_environment(self.at.db, project, environment)
        spec = RunSpec(
            project_id=found.project_id,
            project=project,
            environment_id=found.id,
            environment=environment,
            target={"kind": "command", "argv": ["true"]},
            source_root="/srv",
            host="elsewhere",
        )
        return runs.accept(self.at.db, spec, "ada").run_id

    def ran(self, project: str, environment: str, *pieces: bytes, over: bool = True) -> tuple[str, Lease]:
        """A run that has printed these pieces, and left a file, as its worker would have it; it is over, or goes on."""
        run = self.run(project, environment)
        claimed = runs.claim(self.at.db, run, Offer("w1", "elsewhere", ("sealrun",), "landlock"), 600)
        assert claimed is not None, "nobody else claims it"
        lease = claimed[1]
        runs.pass_gate(self.at.db, lease, lambda _: Given.as_variables(None), rung="landlock", controls={})
        self.prints(lease, 1, *pieces)
        left = [output.file(lease, "report.csv", 3), output.file_piece(lease, "report.csv", 0, b"a,b")]
        output.append(self.at.db, lease, [], left)
        if over:
            runs.finish(self.at.db, lease, Outcome("succeeded", result=[1]))
        return run, lease

    def prints(self, lease: Lease, first: int, *pieces: bytes) -> None:
        """A run prints pieces, numbered from `first` on."""
        made = [Piece(number, "stdout", utc_now(), data) for number, data in enumerate(pieces, first)]
        output.append(self.at.db, lease, made)

    def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        """Send a request to the API."""
        headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        return self.client.request(method, BASE + path, headers={**headers, **more.pop("headers", {})}, **more)


def deployment_of(db: Database, home: Path) -> Deployment:
    """A deployment with the projects `shop` and `bank`, each with `default` and `staging`."""
    at = _opened(db, home)
    for name in ("shop", "bank"):
        projects.create(at, OPERATOR, NewProject(name=name, environments=("staging",)))
    return at


def _opened(db: Database, home: Path) -> Deployment:
    url = db.engine.url.render_as_string(hide_password=False)
    environ = {"SEALRUN_HOME": str(home), "SEALRUN_DATABASE_URL": url, "SEALRUN_BROKER_URL": "redis://127.0.0.1:6379/9"}
    return Deployment(read_settings(environ), db)


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home and the database of such a deployment, which each test copies: to make key pairs takes seconds."""
    folder = tmp_path_factory.mktemp("furnished")
    deployment_of(_database(folder), folder / "home").close()
    return folder


def _database(folder: Path) -> Database:
    return Database(f"sqlite:///{sqlite_file(folder / 'store' / 'sealrun.db', database.migrate)}")


@pytest.fixture
def house(furnished: Path, tmp_path: Path) -> Iterator[House]:
    """A deployment of this test's own. What depends on the kind of database is tried below the API."""
    shutil.copytree(furnished, tmp_path / "house")
    at = _opened(Database(f"sqlite:///{tmp_path}/house/store/sealrun.db"), tmp_path / "house" / "home")
    with TestClient(create_application(at, ORIGIN), base_url=ORIGIN.url) as client:
        yield House(at, client)
    at.close()


@pytest.fixture(scope="session")
def pair() -> Iterator["Pair"]:
    """Two real servers over one database, for every test of this process: what a test makes has names of its own."""
    from tests.executor.api.pair import serving  # which is about this house, too
    from tests.executor.api.provider import CLIENT_ID, CLIENT_SECRET, providing

    with tempfile.TemporaryDirectory(prefix="sealrun-test-") as folder, providing() as provider:
        oidc = {
            "ISSUER": provider.issuer,
            "CLIENT_ID": CLIENT_ID,
            "CLIENT_SECRET": CLIENT_SECRET,
        }
        with serving(Path(folder), **{f"SEALRUN_OIDC_{name}": value for name, value in oidc.items()}) as served:
            served.provider = provider
            yield served
