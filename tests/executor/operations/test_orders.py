"""Orders: what is sent to where the database is. Who sends one is not believed."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlmodel import Session, col, select, update

from executor.errors import Forbidden, KeyTaken, RequestUnclear, RequirementsRefused, SourceRefused, SourceUnavailable
from executor.models import Attempt, Result, Run, SourceBundle, SourceUpload
from executor.operations import connections, probing, projects, runs, secrets
from executor.operations.deployment import Deployment
from executor.operations.rights import RIGHTS
from executor.people.principal import Grant, KnownActor, Principal
from executor.runs import Outcome, finish
from executor.schemas.asking import asked
from executor.schemas.connections import ConnectionNamed, NewConnection, ProbeRun
from executor.schemas.order import Order, Orders, Upload, Wanted
from executor.schemas.projects import NewProject
from executor.schemas.run_operations import Again, ThoseRuns
from executor.schemas.run_request import RunRequest
from executor.schemas.secrets import NewSecret
from executor.schemas.target import Target
from executor.settings import read_settings
from executor.source import bundles, packing
from executor.source.packing import Packed
from executor.submission.files import Files
from executor.submission.ordering import Stage, of_request, with_source
from secretstore import vault
from secretstore.audit import Actor
from secretstore.database import Database
from secretstore.errors import InUse, NameRefused, SealrunError, UnknownSecret, ValueRefused
from secretstore.timestamps import utc_now
from tests.executor.conftest import Bench

ADA, BOB = Actor("ada", "api"), Actor("bob", "api")


@pytest.fixture
def at(sqlite_db: Database, tmp_path: Path) -> Iterator[Deployment]:
    """The project `shop`, with a secret, and a broker that nobody listens to."""
    environ = {"SEALRUN_HOME": str(tmp_path / "home"), "SEALRUN_BROKER_URL": "redis://127.0.0.1:1/0"}
    made = Deployment(read_settings(environ), sqlite_db)
    vars(made)["broker"] = Celery(broker="memory://")
    projects.create(made, ADA, NewProject(name="shop", environments=("staging",)))
    secrets.set_(made, ADA, NewSecret(project="shop", environments=("default",), name="KEY", value=b"correct-horse"))
    yield made


@pytest.fixture
def packed(tmp_path: Path) -> Packed:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/job.py").write_text("def load(day):\n    return day\n")
    return packing.pack(packing.listing(tmp_path / "jobs", 1 << 20))


def sent(packed: Packed, **other: Any) -> Upload:
    said = {"project": "shop", "environment": "default", "digest": packed.digest, "size": packed.size}
    return Upload(**said | other)


def upload(at: Deployment, packed: Packed, who: Actor = ADA) -> str:
    with tempfile.TemporaryFile() as file:
        file.write(packed.tar)
        file.flush()
        return runs.upload(at, who, sent(packed), file).digest


def order(bundle: str | None = "0" * 64, **other: Any) -> Order:
    target = {"kind": "function", "path": "job.py", "function": "load", "args": [], "text": {"day": "1"}, "json": {}}
    plain = {"project": "shop", "environment": "default", "target": target, "source_root": "/jobs", "bundle": bundle}
    return asked(Order, **plain | other)


def row(at: Deployment, run_id: str) -> Run:
    with at.db.reading() as session:
        found = session.get(Run, run_id)
    assert found is not None
    return found


class TestFromARequest:
    def test_an_order_makes_the_run_that_its_request_makes(
        self, at: Deployment, packed: Packed, tmp_path: Path
    ) -> None:
        """By way of JSON, and with all that can be asked for."""
        request = RunRequest(
            target=Target("function", path="job.py", name="load"),
            text={"day": "2026-03-01"},
            project="shop",
            environment="default",
            folder=tmp_path / "jobs",
            secrets=["KEY"],
            variables={"MODE": "fast"},
            timeout=60,
            packages=["requests==2.32.3"],
            setup_secrets=["KEY"],
            retries=2,
            retry_on=["lost"],
            memory="512M",
            network="none",
            collect=["*.db"],
            bundle=True,
            python="3.12",
        )
        files = Files(request, at.settings)
        made = of_request(at.settings, request, files)
        assert made.order is not None and not made.refusals
        document = json.loads(json.dumps(with_source(made.order, files, upload(at, packed)).model_dump()))
        ordered = runs.submit(at, ADA, Order(**document))
        direct = runs.accept(at, ADA, runs.prepare(at, ADA, request))
        first, second = (
            row(at, one.run_id).model_dump(exclude={"id", "created_at", "rung_at"}) for one in (ordered, direct)
        )
        assert first == second
        assert first["bundle"] == packed.digest and first["memory_bytes"] == 512 << 20

    def test_what_refuses_it_is_told_in_one_order(self, at: Deployment, tmp_path: Path) -> None:
        """What files say stands between what the database says, as if one had looked at all of it."""
        request = RunRequest(
            target=Target("file", path="gone.py"),
            project="shop",
            environment="default",
            folder=tmp_path,
            secrets=["NONE", "KEY"],
            variables={"KEY": "x"},
            timeout=-1,
            memory="64T",
        )
        made = of_request(at.settings, request)
        assert [stage for stage, _ in made.refusals] == [Stage.BOUNDS, Stage.FILES]
        found = runs.look_up(at, ADA, made.wanted)
        assert [(one.stage, one.refused.code) for one in found.refusals] == [(0, "unknown_secret"), (4, "name_refused")]
        assert isinstance(found.refusals[0].refused.error, UnknownSecret)
        with pytest.raises(UnknownSecret):
            runs.prepare(at, ADA, request)


class TestUpload:
    def test_a_digest_gives_nobody_a_source_that_others_sent(self, at: Deployment, packed: Packed) -> None:
        """It is kept once; each who runs it has sent all of it. Whether it is there is not told."""
        upload(at, packed)
        with pytest.raises(SourceUnavailable) as others:
            runs.submit(at, BOB, order(packed.digest))
        with pytest.raises(SourceUnavailable) as nobodys:
            runs.submit(at, BOB, order("1" * 64))
        assert others.value.hint == nobodys.value.hint
        assert str(others.value).replace(packed.digest[:12], "") == str(nobodys.value).replace("1" * 12, "")
        upload(at, packed, BOB)
        assert runs.submit(at, BOB, order(packed.digest)).new
        with at.db.reading() as session:
            assert len(session.exec(select(SourceBundle)).all()) == 1
            assert {one.by for one in session.exec(select(SourceUpload))} == {"ada", "bob"}

    def test_another_project_has_to_be_sent_it_too(self, at: Deployment, packed: Packed) -> None:
        """A digest joins uploads within a project alone."""
        projects.create(at, ADA, NewProject(name="toys"))
        upload(at, packed)
        with pytest.raises(SourceUnavailable):
            runs.submit(at, ADA, order(packed.digest, project="toys"))

    @pytest.mark.parametrize("how", ["cut", "longer", "other", "no archive", "too large"])
    def test_what_is_not_what_was_said_is_not_kept(self, at: Deployment, packed: Packed, how: str) -> None:
        """Nothing of it stays, and nothing can be run of it."""
        whole = bytes(packed.tar)
        said, content = sent(packed), whole
        if how == "cut":
            content = whole[:-512]
        elif how == "longer":
            content = whole + bytes(512)
        elif how == "other":
            content = whole.replace(b"return day", b"return 666")
        elif how == "no archive":
            content = b"x" * 4096
            said = sent(packed, digest=hashlib.sha256(content).hexdigest(), size=len(content))
        else:
            said = sent(packed, size=1 << 40)
        with tempfile.TemporaryFile() as file, pytest.raises(SourceRefused):
            file.write(content)
            file.flush()
            runs.upload(at, ADA, said, file)
        with at.db.reading() as session:
            assert session.exec(select(SourceBundle)).all() == []

    def test_who_sent_it_goes_with_it(self, at: Deployment, packed: Packed) -> None:
        """A source that is deleted has to be sent anew."""
        upload(at, packed)
        with at.db.writing() as session:
            session.exec(update(SourceBundle).values(used_at=at.db.after(-2 * bundles.KEPT)))
        assert bundles.delete_unused(at.db) == 1
        with pytest.raises(SourceUnavailable):
            runs.submit(at, ADA, order(packed.digest))
        with at.db.reading() as session:
            assert session.exec(select(SourceUpload)).all() == []


def function(**other: Any) -> dict[str, Any]:
    plain = {"kind": "function", "path": "job.py", "function": "load", "args": [], "text": {}, "json": {}}
    return plain | other


WITH = {"kind": "list", "files": {}, "entry": None, "with": ["x"], "requires_python": None, "hashed": False}


@pytest.mark.parametrize(
    ("other", "error"),
    [
        ({"bundle": None}, RequestUnclear),
        ({"host": "mill"}, RequestUnclear),
        ({"python": "/usr/bin/python3"}, RequestUnclear),
        ({"python_version": "3.12; rm"}, RequestUnclear),
        ({"target": function(path="../../etc/passwd")}, RequestUnclear),
        ({"target": function(path="/etc/passwd")}, RequestUnclear),
        ({"target": {"kind": "command", "argv": ["x"], "programs": ["/bin/x"]}}, RequestUnclear),
        ({"target": {"kind": "command", "argv": ["a\0b"]}}, RequestUnclear),
        ({"source_root": "/a\0b"}, RequestUnclear),
        ({"variables": {"A": "a\0b"}}, ValueRefused),
        ({"variables": {"LD_PRELOAD": "x"}}, NameRefused),
        ({"variables": {"KEY": "x"}}, NameRefused),
        ({"secrets": ["NONE"]}, UnknownSecret),
        ({"setup_secrets": ["KEY"]}, RequirementsRefused),
        ({"timeout": -1.0}, RequestUnclear),
        ({"retries": 99}, RequestUnclear),
        ({"retry_on": ["lost"]}, RequestUnclear),
        ({"collect": ["../x"]}, RequestUnclear),
        ({"narrowed": {"memory_bytes": 1}}, RequestUnclear),
        ({"idempotency_key": "a\nb"}, RequestUnclear),
        ({"requirements": WITH | {"with": ["https://x/y.whl\n--index-url http://evil"]}}, RequirementsRefused),
        ({"requirements": WITH | {"with": ["./local"]}}, RequirementsRefused),
        ({"requirements": WITH | {"with": ["x @ https://u:p@h/x.whl"]}}, RequirementsRefused),
        ({"requirements": WITH | {"files": {"../../x": ""}}}, RequirementsRefused),
        ({"requirements": WITH | {"kind": "requirements", "entry": "gone.txt"}}, RequirementsRefused),
        ({"package": {"name": None, "version": "1", "folders": ["../.."], "entry_points": {}}}, RequestUnclear),
        ({"target": function(text={"day": "x" * (33 << 20)})}, RequestUnclear),
        ({"secrets": ["KEY"] * 10_001}, RequestUnclear),
    ],
    ids=lambda one: str(one)[:60] if isinstance(one, dict) else one.__name__,
)
def test_what_no_sender_of_ours_sends_is_refused(
    at: Deployment, packed: Packed, other: dict[str, Any], error: type[SealrunError]
) -> None:
    """In a sentence; no run is made of it, and no value is repeated."""
    bundle = upload(at, packed)
    with pytest.raises(error):
        runs.submit(at, ADA, order(**{"bundle": bundle} | other))
    with at.db.reading() as session:
        assert session.exec(select(Run)).all() == []


@pytest.mark.parametrize(
    "other",
    [
        {"target": {"kind": "shell", "text": "x"}},
        {"timeout": float("nan")},
        {"target": function(extra=1)},
        {"target": function(args=[{"text": "a", "json": 1}])},
        {"target": {"kind": "command", "argv": []}},
        {"target": function(sources={"lake": "lake"})},
        {"sources": {"lake": "lake"}},
        {"bundle": "../../x"},
        {"project_id": "p1"},
        {"queue": "gpu"},
        {"probe": {"connection": "c", "changed": "2026-01-01"}},
        {"retries": "2"},
        {"narrowed": {"network": "public"}},
        {"narrowed": {"rung_min": "process"}},
        {"requirements": WITH | {"kind": "shell"}},
    ],
    ids=str,
)
def test_what_has_another_form_is_no_order(other: dict[str, Any]) -> None:
    """What is looked up beside the database has no field in it."""
    with pytest.raises(RequestUnclear):
        order(**other)


def test_a_folder_of_a_machine_takes_managing_its_place(at: Deployment, bench: Bench) -> None:
    """Who comes through a server and may only use it, neither runs from one nor repeats a run that did."""
    asked = order(None, host="mill")
    assert RIGHTS["runs.submit"].verbs_for(asked) == ("use", "manage")
    assert RIGHTS["runs.submit_many"].verbs_for(Orders(items=[order(), asked])) == ("use", "manage")
    assert RIGHTS["runs.submit"].verbs_for(order()) == ("use",)
    assert runs.submit(at, ADA, asked).new  # who has the database has the rights of its operator
    place = vault.get_environment(at.db, "shop", "default")
    fields = {"project_id": place.project_id, "environment_id": place.id, "host": "mill"}
    lease = replace(bench, offer=replace(bench.offer, host="mill")).running(at.db, **fields)
    finish(at.db, lease, Outcome("failed", "exit_code", exit_code=1))

    def known(role: str) -> KnownActor:
        grant = Grant.of(role, place.project_id, place.id)
        return Principal("service", "s1", role, (grant,)).as_actor("api")

    with pytest.raises(Forbidden, match="manage"):
        runs.retry(at, known("developer"), Again(run=lease.run_id))
    assert runs.retry(at, known("maintainer"), Again(run=lease.run_id)).new


class TestMany:
    def test_all_of_them_or_none(self, at: Deployment, packed: Packed) -> None:
        """What is wrong with one says which, and none is accepted."""
        upload(at, packed)
        good = order(packed.digest)
        with pytest.raises(UnknownSecret, match=r"^items\[1\]: "):
            runs.submit_many(at, ADA, Orders(items=[good, order(packed.digest, secrets=["NONE"])]))
        with at.db.reading() as session:
            assert session.exec(select(Run)).all() == []
        assert len({one.run_id for one in runs.submit_many(at, ADA, Orders(items=[good, good]))}) == 2
        assert runs.submit_many(at, ADA, Orders(items=[])) == []
        with pytest.raises(RequestUnclear, match="10,001 runs are submitted at once"):
            runs.submit_many(at, ADA, Orders(items=[good] * 10_001))

    def test_a_key_is_a_runs_own(self, at: Deployment, packed: Packed) -> None:
        """The same order again is the same run; another under its key is refused."""
        upload(at, packed)
        asked = order(packed.digest, idempotency_key="nightly")
        first = runs.submit(at, ADA, asked)
        assert runs.submit(at, ADA, asked) == first.__class__(first.run_id, rung=True, new=False)
        with pytest.raises(KeyTaken):
            runs.submit(at, ADA, asked.model_copy(update={"variables": {"A": "1"}}))


class TestRetry:
    def over(self, at: Deployment, bench: Bench, **fields: Any) -> str:
        place = row(at, runs.submit(at, ADA, order(fields.pop("bundle"))).run_id)
        known = {name: getattr(place, name) for name in ("project_id", "environment_id", "bundle", "target")}
        lease = bench.running(at.db, **known | {"host": None, "variables": {"A": "1"}, "timeout": 60.0} | fields)
        finish(at.db, lease, Outcome("failed", "exit_code", exit_code=1))
        return lease.run_id

    def test_it_is_as_it_was_but_for_what_is_given(self, at: Deployment, bench: Bench, packed: Packed) -> None:
        """What is given is checked as of a new run, and another's source needs no upload to run again."""
        run_id = self.over(at, bench, bundle=upload(at, packed))
        same = row(at, runs.retry(at, BOB, Again(run=run_id)).run_id)
        assert (same.retry_of, same.bundle, same.timeout, same.variables) == (run_id, packed.digest, 60.0, {"A": "1"})
        changed = Again(run=run_id, timeout=None, variables={"B": "2"}, text={}, values={"day": 5}, secrets=["KEY"])
        again = row(at, runs.retry(at, BOB, changed).run_id)
        assert (again.retry_of, again.timeout, again.variables, again.secret_names) == (
            run_id,
            None,
            {"B": "2"},
            ["KEY"],
        )
        assert (again.target["text"], again.target["json"], again.created_by) == ({}, {"day": 5}, "bob")
        for given, error in (
            ({"secrets": ["NONE"]}, UnknownSecret),
            ({"variables": {"LD_PRELOAD": "x"}}, NameRefused),
            ({"argv": ["x"]}, RequestUnclear),
            ({"narrowed": {"cpus": 0.0}}, RequestUnclear),
        ):
            with pytest.raises(error):
                runs.retry(at, BOB, Again(run=run_id, **given))

    def test_a_run_that_is_not_over_is_not_tried_anew(self, at: Deployment, bench: Bench, packed: Packed) -> None:
        """It may still do what the new one would do."""
        upload(at, packed)
        with pytest.raises(InUse):
            runs.retry(at, ADA, Again(run=runs.submit(at, ADA, order(packed.digest)).run_id, timeout=1.0))


class TestProbe:
    def source(self, at: Deployment, bucket: str = "b") -> ConnectionNamed:
        settings = {"bucket": bucket, "credentials": {"$secret": "KEY"}}
        made = NewConnection(
            project="shop",
            environments=("default",),
            role="source",
            name="lake",
            kind="s3",
            settings=settings,
            replace=True,
        )
        connections.create(at, ADA, made)
        return ConnectionNamed(project="shop", environment="default", role="source", name="lake")

    def ended(self, at: Deployment, run_id: str, result: Any) -> None:
        """As its worker would leave it."""
        with at.db.writing() as session:
            session.exec(update(Run).where(col(Run.id) == run_id).values(state="succeeded", attempt=1))
            _attempt(session, run_id)
            session.add(Result(run_id=run_id, attempt=1, result=result))

    def test_what_is_kept_is_what_its_run_says(self, at: Deployment) -> None:
        """Once it is over; of settings that were replaced meanwhile nothing is kept."""
        named = self.source(at)
        begun = probing.begin(at, ADA, named)
        assert begun.run is not None and row(at, begun.run.run_id).followed
        of_it = ProbeRun(**dict(named), run=begun.run.run_id)
        with pytest.raises(InUse):
            probing.record(at, ADA, of_it)
        self.ended(at, begun.run.run_id, {"ok": True, "seconds": 0.5, "said": "listed s3://b"})
        tested = probing.record(at, ADA, of_it)
        assert (tested.ok, tested.seconds, tested.said, tested.kept) == (True, 0.5, "listed s3://b", True)
        self.source(at, "other")
        assert not probing.record(at, ADA, of_it).kept
        assert connections.get(at, ADA, named).test_outcome is None

    def test_no_other_run_tells_of_a_connection(self, at: Deployment, packed: Packed) -> None:
        """A run of somebody's own, be it a repetition of the test's, is none."""
        named = self.source(at)
        forged = runs.submit(at, ADA, order(upload(at, packed))).run_id
        self.ended(at, forged, {"ok": True, "seconds": 0.5, "said": "fine"})
        begun = probing.begin(at, ADA, named)
        assert begun.run is not None
        self.ended(at, begun.run.run_id, {"ok": True, "seconds": 0.5, "said": "fine"})
        again = runs.retry(at, ADA, Again(run=begun.run.run_id)).run_id
        self.ended(at, again, {"ok": True, "seconds": 0.5, "said": "fine"})
        for run_id in (forged, again):
            with pytest.raises(RequestUnclear, match="is no test of source lake"):
                probing.record(at, ADA, ProbeRun(**dict(named), run=run_id))


def _attempt(session: Session, run_id: str) -> None:
    session.add(Attempt(run_id=run_id, number=1, fencing_token=1, worker="w1", claimed_at=utc_now(), state="succeeded"))


def test_what_a_run_wants_is_looked_up_and_nothing_is_done(at: Deployment) -> None:
    """Nothing refuses it: there is nothing to tell."""
    wanted = Wanted(project="shop", environment="default", secrets=["KEY"], narrowed={"network": "none"})
    assert runs.look_up(at, ADA, wanted).refusals == ()
    assert runs.list_(at, ADA, ThoseRuns()) == []
