"""A database with all tables on SQLite and PostgreSQL, runs to put into it, and an ordinary user to run code as."""

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from executor import database, runs
from executor.models import Run, RunSpec
from executor.runs import Lease, Offer
from executor.runs.grant import Given
from secretstore.bundle import SealedBundle, SealedItem
from secretstore.database import Database
from tests.conftest import database_for, postgres_server
from tests.databases import migrated, sqlite_file
from tests.executor.run_process import deep_folder, execute, program, pytest_generate_tests, root

__all__ = ["deep_folder", "execute", "program", "pytest_generate_tests", "root"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of this test's own, once of each kind; without tables unless the test takes `db`."""
    with database_for(request, tmp_path, database.migrate) as url:
        yield url


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A database with the tables of both packages."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_db(tmp_path: Path) -> Iterator[Database]:
    """The same on SQLite alone, for what does not depend on the kind of database."""
    opened = Database(f"sqlite:///{sqlite_file(tmp_path / 'store' / 'sealrun.db', database.migrate)}")
    yield opened
    opened.close()


@dataclass(frozen=True)
class Bench:
    """What the tests do to runs again and again."""

    offer: Offer = field(default_factory=lambda: Offer("w1", "here", ("sealrun",), "landlock"))

    def spec(self, **fields: Any) -> RunSpec:
        """What a submitter may ask for; fields as given, the others plain."""
        plain: dict[str, Any] = {
            "project_id": "p1",
            "project": "shop",
            "environment_id": "e1",
            "environment": "default",
            "target": {"kind": "command", "argv": ["true"]},
            "source_root": "/srv/shop",
            "host": "here",
        }
        return RunSpec(**(plain | fields))

    def create(self, db: Database, **fields: Any) -> str:
        """A pending run."""
        return runs.accept(db, self.spec(**fields), "ada@here").run_id

    def claim(self, db: Database, run_id: str, seconds: float = 30, offer: Offer | None = None) -> Lease:
        """Its lease; the claim has to succeed."""
        claimed = runs.claim(db, run_id, offer or self.offer, seconds)
        assert claimed is not None, "the run could not be claimed"
        return claimed[1]

    def due(self, db: Database, run_id: str) -> None:
        """The delay before its retry is over."""
        with db.writing() as session:
            session.exec(update(Run).where(Run.id == run_id).values(not_before=db.after(-0.001)))

    def through(self, db: Database, lease: Lease, bundle: SealedBundle | None = None) -> SealedBundle | None:
        """Through the gate."""
        given = Given.as_variables(bundle)
        return runs.pass_gate(db, lease, lambda _: given, rung="landlock", controls={"landlock_abi": 7}).bundle

    def running(self, db: Database, seconds: float = 30, **fields: Any) -> Lease:
        """The lease of a new run that is past its gate; `seconds` below 0: run out already."""
        lease = self.claim(db, self.create(db, **fields))
        self.through(db, lease)
        if seconds != 30:
            runs.renew(db, Lease(lease.run_id, lease.attempt, lease.token, seconds))
        return lease

    def bundle(self, *names: str) -> SealedBundle:
        """A bundle of these names; its bytes are nobody's ciphertext."""
        items = tuple(
            SealedItem(secret_id=f"s-{name}", name=name, version=number, sealed=b"sealed")
            for number, name in enumerate(names, 1)
        )
        return SealedBundle("shop", "p1", "default", "e1", 1, "f1", "local:0", b"wrapped", items)


@pytest.fixture
def bench() -> Bench:
    """The worker's offer, and short words for what happens to runs."""
    return Bench()


OrdinaryUser = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def ordinary_python() -> Iterator[Path]:
    """An interpreter of our version that every user may execute, with our packages."""
    here = Path(sys.executable)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if open_to_all(here.resolve()) and open_to_all(Path(sys.prefix, "lib")) and open_to_all(ROOT / "executor"):
        yield here
        return
    base = next((found for folder in ("/usr/bin", "/usr/local/bin") if (found := Path(folder, version)).exists()), None)
    if base is None:
        pytest.skip(f"{here} is closed to other users, and there is no {version} in /usr to take instead")
    if not (open_to_all(ROOT / "executor") and open_to_all(Path(sysconfig.get_path("purelib")))):
        pytest.skip("the code under test is closed to other users")
    place = Path(tempfile.mkdtemp(prefix="sealrun-test-", dir="/tmp"))
    place.chmod(0o755)
    try:
        made = subprocess.run([base, "-m", "venv", "--without-pip", place / "venv"], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"{base} makes no virtual environment: {made.stderr[-200:]}")
        packages = place / f"venv/lib/{version}/site-packages/ours.pth"
        packages.write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
        yield place / "venv/bin/python"
    finally:
        shutil.rmtree(place)


@pytest.fixture
def as_ordinary_user(ordinary_python: Path, open_folder: Path) -> OrdinaryUser:
    """Runs a piece of code in an interpreter of its own without root's rights; its arguments are `sys.argv[1:]`."""

    def run(code: str, *arguments: object, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
        account: dict[str, Any] = {"user": 60600, "group": 60600, "extra_groups": []} if os.geteuid() == 0 else {}
        return subprocess.run(
            [ordinary_python, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=open_folder,
            env={"HOME": str(open_folder), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            timeout=timeout,
            check=False,
            **account,
        )

    return run


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder outside pytest's own, which belongs to the ordinary user and which everybody may enter."""
    folder = Path(tempfile.mkdtemp(prefix="sealrun-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(folder, 60600, 60600)
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", folder], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def open_to_all(path: Path) -> bool:
    """Whether every user may get to a file and read it."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in path.resolve().parents) and bool(
        path.stat().st_mode & stat.S_IROTH
    )


@pytest.fixture(scope="module")
def shared_postgres() -> Iterator[tuple[Database, Bench]]:
    """One migrated PostgreSQL database for a whole module, where tests do not disturb each other."""
    with migrated("postgresql", Path(), postgres_server, database.migrate) as url:
        db = Database(url)
        yield db, Bench()
        db.close()
