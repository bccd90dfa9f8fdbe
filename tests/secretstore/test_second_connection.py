"""A process that opens a second connection keeps the locks of its first."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlmodel import select

from secretstore.database import Database, migrate
from secretstore.models import Project

CHECKOUT = Path(__file__).resolve().parents[2]

WRITER = """
import sys
from secretstore.database import Database
from secretstore.models import Project
db = Database(sys.argv[1])
with db.writing() as session:
    session.add(Project(name=sys.argv[2], created_by="them", network="full", sandbox_min="process"))
db.close()
"""


@pytest.mark.long
def test_another_process_that_comes_and_goes_does_not_take_the_log_away(tmp_path: Path) -> None:
    """What others commit is seen, and what we commit is kept, after a second connection was opened here (I7)."""
    url = f"sqlite:///{tmp_path}/store/sealrun.db"
    db = Database(url)
    migrate(db)
    two_connections_at_once(db)

    for name in ("first", "second"):
        subprocess.run([sys.executable, "-c", WRITER, url, name], check=True, cwd=CHECKOUT)
        assert (tmp_path / "store/sealrun.db-wal").exists()
    with db.writing() as session:
        session.add(Project(name="ours", created_by="us", network="full", sandbox_min="process"))

    with db.reading() as session:
        assert set(session.exec(select(Project.name))) == {"first", "second", "ours"}
    db.close()
    assert kept(url) == {"first", "second", "ours"}


def two_connections_at_once(db: Database) -> None:
    """The pool opens another connection only while the first is in use."""

    def look() -> None:
        with db.reading() as session:
            session.exec(select(Project)).all()

    with db.reading():
        other = threading.Thread(target=look)
        other.start()
        other.join()


def kept(url: str) -> set[str]:
    """What a process that starts now finds."""
    code = """
import sys
import pytest
from sqlmodel import select
from secretstore.database import Database
from secretstore.models import Project
with Database(sys.argv[1]).reading() as session:
    print(*session.exec(select(Project.name)))
"""
    command = [sys.executable, "-c", code, url]
    found = subprocess.run(command, check=True, cwd=CHECKOUT, capture_output=True, text=True)
    return set(found.stdout.split())
