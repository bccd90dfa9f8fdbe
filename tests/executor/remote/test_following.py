"""A run as it goes, from a server: nothing is lost or comes twice, also while the server is away; and files."""

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from executor.errors import WaitRefused
from executor.models import LogChunk
from executor.operations import runs, workers
from executor.operations.deployment import Deployment
from executor.remote import following, looking
from executor.remote.server import Server
from executor.runs import Lease, Outcome, finish
from executor.schemas.output import Place
from executor.schemas.run_operations import Download, OutputOf, ThatAttempt, ThatRun
from executor.settings import Settings
from secretstore import vault
from secretstore.audit import Actor
from secretstore.errors import DatabaseUnavailable, SealrunError
from tests.executor.conftest import Bench
from tests.processes import eventually
from tests.serving import Served, stranger

ADA = Actor("ada", "cli")


@pytest.fixture
def lease(at: Deployment, bench: Bench) -> Lease:
    """Of a run that is past its gate."""
    place = _place(at)
    return bench.running(at.db, **place)


def _place(at: Deployment) -> dict[str, str]:
    found = vault.get_environment(at.db, "shop", "default")
    return {"project_id": found.project_id, "environment_id": found.id}


def say(at: Deployment, lease: Lease, sequence: int, data: bytes, stream: str = "stdout") -> None:
    with at.db.writing() as session:
        session.add(
            LogChunk(run_id=lease.run_id, attempt=1, sequence=sequence, stream=stream, at=datetime.now(UTC), data=data)
        )


class Follower:
    """Somebody who follows a run, in a thread."""

    def __init__(self, server: Server, asked: OutputOf) -> None:
        self.heard: list[bytes] = []
        self.away = 0
        self.state = ""
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._follow, args=(server, asked), daemon=True)
        self._thread.start()

    def _follow(self, server: Server, asked: OutputOf) -> None:
        try:
            for look in server.ask(ADA, runs.follow, asked):
                self.heard += [piece.data for piece in look.pieces]
                self.away += look.away
                self.state = look.state
        except SealrunError as error:
            self.error = error

    def ended(self) -> list[bytes]:
        self._thread.join(30)
        assert not self._thread.is_alive() and self.error is None, self.error
        return self.heard


def test_output_comes_as_it_is_written_until_the_run_is_over(at: Deployment, server: Server, lease: Lease) -> None:
    """Of all streams, or of those that are asked for; from the beginning, or behind a place."""
    say(at, lease, 1, b"one \xff\n")
    everything = Follower(server, OutputOf(run=lease.run_id))
    errors = Follower(server, OutputOf(run=lease.run_id, streams=["stderr"]))
    later = Follower(server, OutputOf(run=lease.run_id, after=Place(1, 1)))
    eventually(lambda: everything.heard, 20, "the first piece is heard")
    say(at, lease, 2, b"two\n", "stderr")
    eventually(lambda: len(everything.heard) == 2, 20, "the second is heard while the run goes on")
    assert everything.state == "running"
    finish(at.db, lease, Outcome("succeeded"))
    assert (everything.ended(), everything.state) == ([b"one \xff\n", b"two\n"], "succeeded")
    assert (errors.ended(), later.ended()) == ([b"two\n"], [b"two\n"])
    assert [piece.data for piece in server.ask(ADA, runs.logs, OutputOf(run=lease.run_id))] == [b"one \xff\n", b"two\n"]


def test_a_server_that_goes_away_is_waited_for(
    at: Deployment, house: Served, server: Server, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written meanwhile comes once it is back, and nothing comes twice."""
    monkeypatch.setattr(following, "_AWAY_PAUSE", 0.05)
    say(at, lease, 1, b"one")
    follower = Follower(server, OutputOf(run=lease.run_id))
    waiting = Follower(server, OutputOf(run=lease.run_id, streams=()))
    eventually(lambda: follower.heard, 20, "the first piece is heard")
    house.stop()
    try:
        eventually(lambda: follower.away and waiting.away, 30, "both say that the server is away")
        say(at, lease, 2, b"two")
    finally:
        house.start()
    eventually(lambda: len(follower.heard) == 2, 30, "what was written meanwhile is heard")
    say(at, lease, 3, b"three")
    finish(at.db, lease, Outcome("succeeded"))
    assert follower.ended() == [b"one", b"two", b"three"]
    assert waiting.ended() == [] and waiting.state == "succeeded"


def test_who_waits_so_long_and_no_longer(server: Server, lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the end of a run, and for a server that is away."""
    for streams in (None, ()):
        looks = list(
            server.ask(ADA, runs.follow, OutputOf(run=lease.run_id, streams=streams), until=time.monotonic() + 0.3)
        )
        assert looks and looks[-1].state in ("", "running")  # where it is slow nothing is known yet
    monkeypatch.setattr(following, "PATIENCE", 0.2)
    monkeypatch.setattr(following, "_AWAY_PAUSE", 0.05)
    gone = Server(server.settings, "http://127.0.0.1:1", "srn_t" + "0" * 36)
    for streams in (None, ()):
        with pytest.raises(DatabaseUnavailable):
            list(gone.ask(ADA, runs.follow, OutputOf(run=lease.run_id, streams=streams)))


def test_a_stream_that_tells_nonsense_is_a_sentence(here: Settings) -> None:
    """And what breaks off is asked for again from where it stopped."""
    said: list[str] = []

    def answer(method: str, path: str, body: bytes) -> Any:
        said.append(path)
        told = {
            "place": "1:1" if len(said) == 1 else "x",
            "stream": "stdout",
            "at": "2026-01-01T00:00:00Z",
            "data": "eA==",
        }
        return 200, {"content-type": "text/event-stream"}, f"event: output\ndata: {json.dumps(told)}\n\n".encode()

    with stranger(answer) as other:
        follow = Server(here, other.url, "srn_t" + "0" * 36).ask(ADA, runs.follow, OutputOf(run="a" * 32))
        heard = []
        with pytest.raises(Exception, match="tells of output in another form"):
            heard += [piece.data for look in follow for piece in look.pieces]
        assert said[0].endswith("after=0%3A0") and said[1].endswith("after=1%3A1")


@pytest.mark.parametrize("path", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "link/out.txt", "a\0b", ""])
def test_a_file_leaves_the_folder_whatever_the_server_says_of_its_path(
    here: Settings, tmp_path: Path, path: str, at: Deployment, server: Server, lease: Lease
) -> None:
    """A path that leads elsewhere is judged on this side, too."""
    view = server.ask(ADA, runs.show, ThatAttempt(run=lease.run_id))
    told = TypeAdapter(type(view)).dump_python(view, mode="json")
    told["outputs"] = [{"path": path, "size": 4, "withheld": None}, {"path": "fine.txt", "size": 4, "withheld": None}]
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")

    def answer(method: str, asked: str, body: bytes) -> Any:
        return (200, {}, b"evil") if "/outputs/" in asked else told

    with stranger(answer) as other:
        found = Server(here, other.url, "srn_t" + "0" * 36).ask(
            ADA, runs.download, Download(run="a" * 32, folder=folder)
        )
    assert found.written == (folder / "fine.txt",)
    assert sorted(one.name for one in tmp_path.rglob("*.txt")) == ["fine.txt"] and not Path("/tmp/out.txt").exists()


def test_a_task_does_not_wait_in_the_slot_that_its_run_may_need(
    server: Server, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose slot it is, is known on this side; the run's queue is asked for."""
    server.ask(ADA, workers.check_may_wait, ThatRun(run=lease.run_id))
    monkeypatch.setattr(looking, "queues_of_this_slot", lambda: ("sealrun",))
    with pytest.raises(WaitRefused):
        server.ask(ADA, workers.check_may_wait, ThatRun(run=lease.run_id))
