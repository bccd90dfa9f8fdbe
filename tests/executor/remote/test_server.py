"""A server asked for operations: answers and errors as a database gives them, and nothing sent where it should not."""

import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from executor.errors import (
    NotLoggedIn,
    OperatorsOnly,
    ServerAway,
    ServerUnusable,
    TargetUnusable,
    UnknownRun,
)
from executor.models import Run, SourceBundle
from executor.operations import (
    connections,
    doctor,
    environments,
    explanation,
    importing,
    keys,
    projects,
    runs,
    secrets,
    variables,
    workers,
)
from executor.operations.deployment import Deployment
from executor.remote import routed
from executor.remote.server import Server
from executor.schemas.connections import Connections, NewConnection
from executor.schemas.explanation import Explain
from executor.schemas.importing import Import, Pair, Reading
from executor.schemas.keys import KeyTrust
from executor.schemas.places import InEnvironments, InProject, Named
from executor.schemas.run_operations import ThatAttempt, ThatRun, ThoseRuns
from executor.schemas.run_request import RunRequest
from executor.schemas.secrets import NewSecret
from executor.schemas.target import Target
from executor.schemas.variables import NewVariable
from executor.schemas.workers import Those
from executor.settings import Settings
from secretstore.audit import Actor
from secretstore.errors import KeyUnknown, NameRefused, UnknownEnvironment, UnknownProject, UnknownSecret
from tests.serving import Served, stranger

ADA = Actor("ada", "cli")


def request(folder: Path, **asked: Any) -> RunRequest:
    target = Target("function", path="job.py", name="load")
    plain: dict[str, Any] = {"target": target, "project": "shop", "environment": "default", "folder": folder}
    return RunRequest(**plain | {"text": {"day": "1"}} | asked)


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "job.py").write_text("def load(day):\n    return day\n")
    return folder


class TestTheSameAnswers:
    def test_what_is_listed_and_shown(self, at: Deployment, server: Server) -> None:
        """Of each noun; views are those that the database gives."""
        place = {"project": "shop", "environments": ("default",)}
        server.ask(ADA, variables.set_, NewVariable(**place, name="MODE", value="fast, ja: ü"))
        settings = {"bucket": "b", "credentials": {"$secret": "KEY"}}
        server.ask(
            ADA, connections.create, NewConnection(**place, role="source", name="lake", kind="s3", settings=settings)
        )
        asked: tuple[tuple[Any, ...], ...] = (
            (projects.list_,),
            (secrets.list_, InProject(project="shop")),
            (secrets.history, Named(project="shop", environment="default", name="KEY")),
            (variables.list_, InProject(project="shop")),
            (connections.list_, Connections(project="shop", role="source")),
            (keys.list_, InProject(project="shop")),
            (runs.list_, ThoseRuns()),
            (workers.list_, Those(every=True)),
            (environments.require, InEnvironments(project="shop", environments=("staging",))),
        )
        for operation, *given in asked:
            direct, told = at.ask(ADA, operation, *given), server.ask(ADA, operation, *given)
            assert told == (direct if direct is None else type(told)(direct)), operation

    def test_errors_are_of_the_same_class_with_the_same_words(self, at: Deployment, server: Server) -> None:
        """So that exit codes and hints are."""
        asked: tuple[tuple[Any, Any, type[Exception]], ...] = (
            (secrets.history, Named(project="shop", environment="default", name="NOPE"), UnknownSecret),
            (runs.show, ThatAttempt(run="0" * 32), UnknownRun),
            (
                variables.set_,
                NewVariable(project="shop", environments=("default",), name="PATH", value="x"),
                NameRefused,
            ),
        )
        for operation, given, error in asked:
            with pytest.raises(error) as direct:
                at.ask(ADA, operation, given)
            with pytest.raises(error) as told:
                server.ask(ADA, operation, given)
            assert type(direct.value) is type(told.value) and str(direct.value) == str(told.value)
            assert direct.value.hint == told.value.hint and direct.value.exit_code == told.value.exit_code
        with pytest.raises(UnknownEnvironment):  # which there are is not told to who may not see them
            server.ask(ADA, secrets.list_, InProject(project="shop", environment="nope"))

    def test_what_has_no_route_is_an_operators(self, server: Server) -> None:
        """It is refused here, in a sentence that says where it is done."""
        with pytest.raises(OperatorsOnly, match="is for who operates sealrun"):
            server.ask(ADA, doctor.dangling)


class TestSubmitting:
    def test_a_run_is_what_it_would_be_beside_the_database(
        self, at: Deployment, server: Server, jobs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """But for who asks, and its source, which is sent."""
        monkeypatch.chdir(jobs)
        asked = request(jobs, variables={"A": "1"}, secrets=["KEY"], memory="1G", retries=1)
        prepared = server.ask(ADA, runs.prepare, asked)
        accepted = server.ask(ADA, runs.accept, prepared.followed())  # type: ignore[arg-type]
        direct = at.ask(ADA, runs.accept, at.ask(ADA, runs.prepare, asked.model_copy(update={"bundle": True})))
        with at.db.reading() as session:
            first, second = session.get(Run, accepted.run_id), session.get(Run, direct.run_id)
        assert first is not None and second is not None
        assert (first.created_by, first.followed) == ("robot", True)
        own = {"id", "created_at", "rung_at", "created_by", "followed", "door"}
        assert first.model_dump(exclude=own) == second.model_dump(exclude=own)

    def test_what_files_and_the_place_refuse_comes_together(self, server: Server, at: Deployment, jobs: Path) -> None:
        """The first reason is the one that the direct door gives; and nothing is sent of what is refused."""
        with at.db.reading() as session:
            before = len(session.exec(select(SourceBundle)).all())
        (jobs / "more.txt").write_text("never sent")
        with pytest.raises(UnknownSecret):
            server.ask(ADA, runs.prepare, request(jobs, secrets=["NOPE"], timeout=-1))
        with pytest.raises(TargetUnusable):
            server.ask(ADA, runs.prepare, request(jobs, target=Target("file", path="gone.py"), text={}))
        with pytest.raises(UnknownProject):
            server.ask(ADA, runs.prepare, request(jobs, project="nope"))
        with at.db.reading() as session:
            assert len(session.exec(select(SourceBundle)).all()) == before

    def test_an_answer_that_is_lost_is_asked_for_again_and_there_is_one_run(
        self, at: Deployment, server: Server, jobs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server has accepted it, and knows the second request for the first."""
        ours, lost = Server.opened, [1]

        @contextmanager
        def losing(self: Server, method: str, path: str, **more: Any) -> Iterator[Any]:
            with ours(self, method, path, **more) as response:
                if path.endswith("/runs") and lost:
                    response.read()
                    lost.clear()
                    raise ServerAway(server=self.origin, why="the answer is lost")
                yield response

        prepared = server.ask(ADA, runs.prepare, request(jobs))
        before = {run.id for run in at.ask(ADA, runs.list_, ThoseRuns(limit=1000))}
        monkeypatch.setattr(Server, "opened", losing)
        accepted = server.ask(ADA, runs.accept, prepared)
        after = {run.id for run in at.ask(ADA, runs.list_, ThoseRuns(limit=1000))}
        assert not lost and after - before == {accepted.run_id}

    def test_several_are_one_transaction(self, server: Server, at: Deployment, jobs: Path) -> None:
        """What is wrong with one says which."""
        asked = [request(jobs, text={"day": str(day)}) for day in range(3)]
        accepted = server.ask(ADA, runs.accept_all, server.ask(ADA, runs.prepare_all, asked))
        assert len({one.run_id for one in accepted}) == 3
        wrong = [*asked, request(jobs, secrets=["NOPE"])]
        with pytest.raises(UnknownSecret, match=r"^items\[3\]: "):
            server.ask(ADA, runs.accept_all, server.ask(ADA, runs.prepare_all, wrong))
        assert server.ask(ADA, runs.accept_all, []) == []

    def test_what_a_run_would_see(self, at: Deployment, server: Server, jobs: Path) -> None:
        """Names of the place, and what this machine's files say."""
        asked = Explain(run=request(jobs, variables={"A": "1"}), layers=(("--env", {"A": "1"}),))
        direct = at.ask(ADA, explanation.explain, asked.model_copy(update={"run": request(jobs, bundle=True)}))
        assert server.ask(ADA, explanation.explain, asked) == direct
        assert direct.source_root == str(jobs)

    def test_a_run_that_is_not_over_is_cancelled_and_not_repeated(self, server: Server, jobs: Path) -> None:
        """By its id, or the beginning of one."""
        run = server.ask(ADA, runs.accept, server.ask(ADA, runs.prepare, request(jobs))).run_id
        assert server.ask(ADA, runs.state, ThatRun(run=run[:12])) == "pending"
        assert server.ask(ADA, runs.cancel, ThatRun(run=run)).cancelled
        again = server.ask(ADA, runs.accept, server.ask(ADA, runs.prepare_again, ThatRun(run=run)))
        assert server.ask(ADA, runs.show, ThatAttempt(run=again.run_id)).retry_of == run


class TestTheWay:
    def test_no_token_and_a_wrong_one(self, house: Served, here: Settings) -> None:
        """Without one nothing is asked; one that is not taken is said with what to do."""
        with pytest.raises(NotLoggedIn, match="you are not logged in"):
            Server(here, house.url, None).ask(ADA, projects.list_)
        with pytest.raises(NotLoggedIn, match="does not take the token") as told:
            Server(here, house.url, "srn_t" + "0" * 36).ask(ADA, projects.list_)
        assert told.value.hint == f"log in again: sealrun login {house.url}"

    def test_no_redirect_carries_a_token(self, here: Settings) -> None:
        """Wherever it leads; what is there hears nothing."""
        with stranger(lambda *_: []) as elsewhere:
            moved = (307, {"location": f"{elsewhere.url}/api/v1/projects"}, b"")
            with stranger(lambda *_: moved) as first, pytest.raises(ServerUnusable, match="it sends elsewhere"):
                Server(here, first.url, "srn_t" + "0" * 36).ask(ADA, projects.list_)
            assert elsewhere.asked == []

    @pytest.mark.parametrize(
        "answer",
        [
            {"items": [{"id": 5}]},
            {"items": "no list"},
            [],
            (200, {}, b"<html>hello"),
            (500, {}, b"oops"),
            (404, {"content-type": "application/problem+json"}, b'{"code": ["x"]}'),
            (418, {}, b'{"code": 1, "detail": {"a": 1}}'),
            (200, {}, b"[" * 100_000),
        ],
        ids=str,
    )
    def test_what_is_no_server_of_ours_is_a_sentence(self, here: Settings, answer: Any) -> None:
        """Whatever it answers."""
        with stranger(lambda *_: answer) as other, pytest.raises(Exception) as told:
            Server(here, other.url, "srn_t" + "0" * 36).ask(ADA, projects.list_)
        assert type(told.value).__module__.startswith(("executor.errors", "secretstore.errors"))

    def test_what_may_have_arrived_is_sent_once(self, here: Settings) -> None:
        """Unless it is a question, or has a key by which the server knows it again."""

        def cut(method: str, path: str, body: bytes) -> Any:
            raise ConnectionAbortedError

        with stranger(cut) as other:
            asked = Server(here, other.url, "srn_t" + "0" * 36)
            for tries, act in (
                (3, lambda: asked.ask(ADA, projects.list_)),
                (1, lambda: asked.ask(ADA, runs.cancel, ThatRun(run="0" * 32))),
            ):
                other.asked.clear()
                with pytest.raises(ServerAway):
                    act()
                assert len(other.asked) == tries

    def test_bytes_are_no_part_of_a_request(self, server: Server) -> None:
        """A secret's value is bytes: nothing that goes by the table of routes can have it."""
        with pytest.raises(TypeError, match="is sent no bytes"):
            routed.plain({"a": [{"value": b"hunter2"}]})
        with pytest.raises(TypeError, match="is sent no bytes"):
            routed.plain(NewSecret(project="shop", environments=("default",), name="X", value=b"hunter2-prod"))

    def test_a_fork_has_connections_of_its_own(self, server: Server) -> None:
        """Both sides go on asking."""
        before = server.ask(ADA, projects.list_)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if server.ask(ADA, projects.list_) == before else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert server.ask(ADA, projects.list_) == before


class TestSealing:
    """A value goes over the wire sealed, to a key pair that somebody has compared."""

    CANARY = b"canary-of-a-value-that-is-sealed-here"

    def trusted(self, server: Server) -> None:
        (pair,) = server.ask(ADA, keys.list_, InProject(project="shop", environment="default"))
        asked = KeyTrust(project="shop", environment="default", fingerprint=pair.fingerprint)
        assert server.ask(ADA, keys.trust, asked).now.fingerprint == pair.fingerprint

    def test_nothing_is_sealed_to_a_key_pair_that_nobody_knows(self, at: Deployment, server: Server) -> None:
        """The fingerprint is told, and nothing was stored."""
        with pytest.raises(KeyUnknown):
            server.ask(
                ADA, secrets.set_, NewSecret(project="shop", environments=("default",), name="X", value=self.CANARY)
            )
        assert "X" not in [one.name for one in at.ask(ADA, secrets.list_, InProject(project="shop"))]

    def test_no_byte_of_a_value_is_sent(
        self, at: Deployment, house: Served, here: Settings, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """I1: neither of a secret, nor of those of a file that is imported; what is stored is that value, sealed."""
        sent: list[bytes] = []
        ours = Server.request

        def watched(self: Server, method: str, path: str, **more: Any) -> bytes:
            sent.append(repr((method, path, more)).encode())
            return ours(self, method, path, **more)

        monkeypatch.setattr(Server, "request", watched)
        server = Server(here, house.url, token)
        self.trusted(server)
        new = NewSecret(project="shop", environments=("default",), name="SEALED", value=self.CANARY)
        done = server.ask(ADA, secrets.set_, new)
        assert [(one.name, one.version, one.created_by) for one in done.secrets] == [("SEALED", 1, "robot")]
        pairs = (Pair("IMPORTED_TOKEN", self.CANARY.decode(), "line 1"), Pair("PLAIN", "8080", "line 2"))
        read = Import(project="shop", environment="default", reading=Reading(pairs, ()))
        plan = server.ask(ADA, importing.plan, read)
        assert [one.kind for one in plan.shown.entries] == ["secret", "variable"]
        server.ask(ADA, importing.carry_out, plan)
        names = [one.name for one in at.ask(ADA, secrets.list_, InProject(project="shop"))]
        assert {"SEALED", "IMPORTED_TOKEN"} <= {*names}
        assert "PLAIN" in [one.name for one in at.ask(ADA, variables.list_, InProject(project="shop"))]
        everything = b"".join(sent)
        for part in (self.CANARY, self.CANARY[:12], b64encode(self.CANARY)[:16], self.CANARY.hex()[:24].encode()):
            assert part not in everything
