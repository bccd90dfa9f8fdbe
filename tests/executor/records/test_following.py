"""Following a run: what is written comes once and in order, whatever the database does meanwhile."""

import re
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlmodel import col

from executor import runs
from executor.cli.here import Here
from executor.cli.runs import _show
from executor.cli.shown import follow as cli_follow
from executor.cli.shown import screen
from executor.client import _Told
from executor.errors import UnknownRun
from executor.models import Run, Worker
from executor.operations.deployment import Deployment
from executor.records import following, history
from executor.records.following import looks
from executor.runs import Outcome, output, workers
from executor.schemas.output import Piece, Place, StoredPiece
from executor.schemas.run_operations import Look
from executor.settings import read_settings
from secretstore.audit import Actor
from secretstore.database import Database
from secretstore.errors import DatabaseUnavailable
from tests.conftest import server
from tests.executor.conftest import Bench
from tests.processes import eventually

AT = datetime(2026, 1, 2, tzinfo=UTC)


def here(db: Database) -> Here:
    return Here(Deployment(read_settings({}), db), Actor("ada@here", "cli"))


def piece(number: int) -> Piece:
    return Piece(number, "stdout", AT, b"%d " % number)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come at once after each other."""
    monkeypatch.setattr(following, "_AWAY_PAUSE", 0.01)


class File:
    """A SQLite file whose folder is exchanged, in one step, for one without it and back."""

    def __init__(self, db: Database) -> None:
        self._db = db
        file = Path(db.engine.url.database or "")
        self._folder, self._real, self._other = (
            file.parent,
            file.parent.with_name("real"),
            file.parent.with_name("other"),
        )
        db.close()
        self._folder.rename(self._real)
        (self._other / file.name).mkdir(parents=True)  # where no file can be made
        self._lead_to(self._real)

    def leave(self) -> None:
        self._lead_to(self._other)
        self._db.close()  # last: a connection made until now would go on with the file

    def return_(self) -> None:
        self._lead_to(self._real)

    def _lead_to(self, folder: Path) -> None:
        link = self._folder.with_name("link")
        link.symlink_to(folder)
        link.replace(self._folder)


class Server:
    """A PostgreSQL database that ends all sessions and takes no new ones, and then does again."""

    def __init__(self, db: Database) -> None:
        self._name = db.engine.url.database

    def leave(self) -> None:
        self._execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'")

    def return_(self) -> None:
        self._execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")

    def _execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(server("POSTGRES", "PostgreSQL"), autocommit=True) as connection:
            connection.execute(statement)


@pytest.mark.usefixtures("impatient")
def test_a_database_that_goes_away_is_waited_for(
    db: Database, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """I7: the follower says so once, and goes on from its place without loss or repetition."""
    lease = bench.running(db)
    output.append(db, lease, [piece(1), piece(2)])
    heard: list[bytes] = []
    words: list[str] = []
    place = File(db) if db.dialect == "sqlite" else Server(db)

    def said() -> str:
        words.append(capsys.readouterr().err)
        return "".join(words)

    def interfere() -> None:
        eventually(lambda: heard == [b"1 ", b"2 "], 20, "the beginning is heard")
        place.leave()
        eventually(lambda: said().count("does not answer; waiting for it") == 1, 20, "it is said")
        place.return_()
        output.append(db, lease, [piece(3)])
        runs.finish(db, lease, Outcome("succeeded"))

    meddler = threading.Thread(target=interfere)
    meddler.start()
    cli_follow.follow(here(db), lease.run_id, lambda one: heard.append(one.data))
    meddler.join()

    assert heard == [b"1 ", b"2 ", b"3 "]
    assert said().count("does not answer") == 1 and "the database answers again\n" in said()


@pytest.mark.usefixtures("impatient")
def test_patience_has_an_end(
    sqlite_db: Database, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that does not come back is an error."""
    run_id = bench.create(sqlite_db)
    sqlite_db.close()
    file = tmp_path / "store" / "sealrun.db"
    file.unlink()
    file.mkdir()
    monkeypatch.setattr(following, "PATIENCE", 0.05)
    found: Iterator[Look] = looks(sqlite_db, run_id)
    assert next(found).away
    with pytest.raises(DatabaseUnavailable):
        list(found)


def test_a_run_that_is_deleted_is_no_run_any_more(sqlite_db: Database) -> None:
    """Retention may take it from under a follower."""
    with pytest.raises(UnknownRun):
        list(looks(sqlite_db, "0" * 32))


def test_one_goes_on_from_a_place(db: Database, bench: Bench) -> None:
    """And reads to the end, however much there is."""
    lease = bench.running(db)
    output.append(db, lease, [piece(number) for number in range(1, 1203)])
    runs.finish(db, lease, Outcome("succeeded"))
    found = [one.sequence for look in looks(db, lease.run_id, Place(1, 2)) for one in look.pieces]
    assert found == list(range(3, 1203))


def test_what_the_set_up_said_goes_to_stderr(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """As bytes, escape codes included; dimmed on a terminal alone. Only the run's stdout is our stdout."""
    write = cli_follow.to_streams(sys.stdout.buffer)
    for stream in ("setup", "stdout", "stderr"):
        write(StoredPiece(1, stream, AT, f"\x1b[1m{stream}\x1b[0m\n".encode(), 1))
    out, said = capfdbinary.readouterr()
    assert out == b"\x1b[1mstdout\x1b[0m\n"
    assert said == b"\x1b[1msetup\x1b[0m\n\x1b[1mstderr\x1b[0m\n"


def test_a_character_in_two_pieces_is_in_the_later_ones_text() -> None:
    """Of its own stream and attempt; what is no text is replaced."""
    told = _Told()
    pieces = [(b"a\xc3", "stdout", 1), (b"\xc3", "stderr", 1), (b"\xa9b", "stdout", 1), (b"\xffz", "stdout", 2)]
    texts = [told(StoredPiece(1, stream, AT, data, attempt)).text for data, stream, attempt in pieces]
    assert texts == ["a", "", "éb", "\ufffdz"]


def test_a_retry_is_told_once(sqlite_db: Database, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """With the attempt that failed, and when the next one is; of a run that is over there is nothing to tell."""
    run_id = bench.create(sqlite_db, retries=1, retry_on=["exit_code"])

    class Workers:
        """What they do about the run each time that the follower finds it waiting."""

        outcomes = iter([Outcome("failed", "exit_code", exit_code=3), None, Outcome("succeeded", exit_code=0)])

        def look(self) -> None:
            if outcome := next(self.outcomes):
                bench.due(sqlite_db, run_id)
                lease = bench.claim(sqlite_db, run_id)
                bench.through(sqlite_db, lease)
                runs.finish(sqlite_db, lease, outcome)

        def over(self) -> None:
            pass

    cli_follow.follow(here(sqlite_db), run_id, lambda _: None, Workers())

    assert re.fullmatch(r"attempt 1 failed; retry 1 of 1 in \d s\n", capsys.readouterr().err)
    cli_follow.follow(here(sqlite_db), run_id, lambda _: None)
    assert capsys.readouterr().err == ""


def test_a_run_whose_worker_is_gone_is_told_apart(
    db: Database, bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease has run out and nobody settles it: lists, `runs show` and who follows say so, these once.

    Its heartbeat may be fresh enough to count for one of a worker that lives.
    """
    held, lost = bench.running(db), bench.running(db)
    workers.appear(db, bench.offer, 1, 1)
    with db.writing() as session:
        session.exec(update(Worker).values(seen_at=db.after(-5)))
        session.exec(update(Run).where(col(Run.id) == lost.run_id).values(lease_until=db.after(-1)))

    said = history.show(db, lost.run_id).lost_to
    assert said is not None and f"its worker {bench.offer.worker} was last seen at 20" in said
    assert said.endswith("; another worker will settle it (start one: sealrun worker)")
    assert history.show(db, held.run_id).lost_to is None
    assert {one.id: one.lost_to for one in history.list_runs(db)} == {held.run_id: None, lost.run_id: said}
    _show(history.show(db, lost.run_id))
    assert said in capsys.readouterr().out

    look, before = following.looks(db, lost.run_id), capsys.readouterr()
    assert [next(look).lost_to for _ in range(3)] == [said] * 3 and before.err == ""
    appear = workers.appear(db, bench.offer, 1, 1)
    assert str(history.show(db, lost.run_id).lost_to).endswith("; a worker will settle it")
    workers.leave(db, appear)

    real = screen.say

    def say_and_settle(text: str, *styles: str) -> None:
        real(text, *styles)
        threading.Timer(0.5, lambda: runs.end_lost(db)).start()  # a few looks later

    monkeypatch.setattr(cli_follow.screen, "say", say_and_settle)
    cli_follow.follow(here(db), lost.run_id, lambda _: None)
    assert capsys.readouterr().err.count("its lease ran out at") == 1


def test_who_follows_is_told_why_output_waits(db: Database, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, however often it does; it is over with the run."""
    lease = bench.running(db)
    runs.renew(db, lease, "its output waits")
    watched: Iterator[Look] = looks(db, lease.run_id)
    assert next(watched).held_up == "its output waits"
    heard: list[bytes] = []

    def write(one: StoredPiece) -> None:
        heard.append(one.data)
        if len(heard) == 1:
            runs.renew(db, lease)
            runs.renew(db, lease, "its output waits")
        output.append(db, lease, [piece(2)]) if len(heard) == 1 else runs.finish(db, lease, Outcome("succeeded"))

    output.append(db, lease, [piece(1)])
    cli_follow.follow(here(db), lease.run_id, write)
    assert capsys.readouterr().err == "its output waits\n"
    assert (heard, list(watched)[-1].held_up) == ([b"1 ", b"2 "], None)
