"""Signed plans: what a server signs at acceptance, and which rows a worker that insists on them does not carry out."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text, update

from executor import runs
from executor.boundary.plans import Signer, SigningKey
from executor.errors import PlanRefused
from executor.models import Run, RunSpec
from executor.runs import plans
from executor.runs.conditions import RUN
from executor.runs.grant import Pinned, read_given
from executor.runs.plans import Door, Doors
from secretstore import vault
from secretstore.database import Database
from secretstore.key_files import create_local_key
from secretstore.keyring import generate_wrapped
from secretstore.local_keys import LocalKeys
from secretstore.pins import Pins
from secretstore.vault import Actor
from tests.executor.conftest import Bench

ACTOR = Actor("ada@example", "test")
LAKE = {"bucket": "raw", "endpoint": "https://lake.example", "credentials": {"$secret": "KEYS"}}


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey(Ed25519PrivateKey.generate())


@pytest.fixture
def doors(key: SigningKey) -> Doors:
    """Of a worker that insists on this server's plans."""
    return Doors((key.signer,))


@pytest.fixture
def shop(sqlite_db: Database, tmp_path: Path) -> Database:
    """A project with a secret, a variable and a source."""
    return furnished(sqlite_db, tmp_path)


def furnished(db: Database, tmp_path: Path) -> Database:
    create_local_key(tmp_path / "local.key")
    keys = LocalKeys(tmp_path / "local.key")
    for name in ("shop", "other"):
        vault.create_project(db, name, actor=ACTOR, birth=lambda place, number: generate_wrapped(keys, place, number))
    vault.put(
        db,
        "shop",
        "default",
        "KEYS",
        b"long-enough-4711",
        actor=ACTOR,
        pins=Pins(tmp_path / "known_keys", db.url_shown),
    )
    vault.set_variable(db, "shop", "default", "REGION", "eu-north-1", actor=ACTOR)
    vault.create_connection(db, "shop", "default", "source", "lake", "s3", LAKE, actor=ACTOR)
    return db


@pytest.fixture
def sealed(shop: Database, tmp_path: Path) -> Callable[[str], None]:
    """Seals a value under a name."""
    pins = Pins(tmp_path / "known_keys", shop.url_shown)
    return lambda name: vault.put(shop, "shop", "default", name, b"long-enough-0815", actor=ACTOR, pins=pins) and None


@pytest.fixture
def accepted(shop: Database, bench: Bench, key: SigningKey) -> Callable[..., str]:
    """Accepts a run as a server does."""

    return lambda **asked: accept(shop, bench, key, **asked)


def accept(db: Database, bench: Bench, key: SigningKey, **asked: Any) -> str:
    place = vault.get_environment(db, "shop", "default")
    spec = bench.spec(project_id=place.project_id, environment_id=place.id, **asked)
    return runs.accept(db, spec, "ada@example", Door("api", key)).run_id


def row(db: Database, run_id: str) -> Run:
    with db.reading() as session:
        found = session.get(Run, run_id)
    assert found is not None
    return found


def change(db: Database, run_id: str, **values: Any) -> Run:
    """The run with its row written past the product."""
    with db.writing() as session:
        session.connection().execute(update(RUN).where(RUN.c.id == run_id).values(**values))
    return row(db, run_id)


class TestWhatIsSigned:
    def test_every_column_of_what_is_asked_for_is_decided_upon(self) -> None:
        """A new column of RunSpec is signed, or is named among those that are not, with the reason."""
        assert sorted([*plans.SIGNED, *plans.NOT_SIGNED]) == sorted(RunSpec.model_fields)
        assert all(plans.NOT_SIGNED.values())

    def test_every_column_of_a_run_that_is_not_asked_for_is_decided_upon(self) -> None:
        """Of what a row has beside that: signed, derived from what is, or how far the run is."""
        signed, derived = {"id", "created_by", "plan"}, {"mapped"}
        progress = {
            "retried", "refused", "not_before", "state", "reason", "message", "exit_code", "attempt", "fencing_token",
            "lease_owner", "lease_until", "held_up", "rung_at", "cancel_requested_at", "cancel_requested_by",
            "created_at", "door", "started_at", "finished_at", "pruned_at", "pruned_by",
        }  # fmt: skip
        assert signed | derived | progress == Run.model_fields.keys() - RunSpec.model_fields.keys()

    def test_what_a_database_gives_back_is_what_was_signed(
        self, db: Database, tmp_path: Path, bench: Bench, key: SigningKey, doors: Doors
    ) -> None:
        """Whatever numbers and texts it keeps: the bytes are made anew from the row."""
        values = {"json": {"a": [1, 1.0, 0.1, -0.0, 1e300, 10**30, None, True, "ä\u2028\U0001f600"], "b": {}}}
        target = {"kind": "function", "path": "a.py", "function": "f", "text": {}, **values, "sources": {"x": "lake"}}
        more = {"timeout": 7, "queue_timeout": 0.1, "cpus": 2, "kept_bytes": 1 << 40, "collect": ("*.csv",)}
        asked = {"requirements": {"kind": "list", "with": ["a"], "files": {}}, "narrowed": {"cpus": 2}, **more}
        asked |= {"target": target, "variables": {"Ü": "1"}, "secret_names": [], "source_dirty": False}
        doors.check(row(db, accept(furnished(db, tmp_path), bench, key, **asked)))

    def test_each_column_counts(self, shop: Database, accepted: Callable[..., str], doors: Doors) -> None:
        """A change of any of them, to another value of its kind, is none of the server's."""
        run_id = accepted(target={"kind": "command", "argv": ["true"]})
        for name in plans.SIGNED:
            run = row(shop, run_id)
            setattr(run, name, _another(getattr(run, name)))
            with pytest.raises(PlanRefused):
                doors.check(run)
        doors.check(row(shop, run_id))

    def test_nothing_is_signed_without_a_key(self, shop: Database, bench: Bench) -> None:
        run = row(shop, bench.create(shop))
        assert (run.door, run.plan) == ("direct", None)


def _another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return [*value, "x"]
    if isinstance(value, dict):
        return {**value, "x": "x"}
    return "x" if value is None else None


class TestRefused:
    def test_forged(self, shop: Database, bench: Bench, doors: Doors, accepted: Callable[..., str]) -> None:
        """What bears no signature, or no signature at all."""
        run_id = bench.create(shop)
        for plan in (None, {}, [], "x", 7, {"key": 7, "signature": []}, {"signature": "x"}, _deep()):
            run = row(shop, run_id)
            run.plan = plan  # type: ignore[assignment]  # what somebody has written
            with pytest.raises(PlanRefused):
                doors.check(run)
        good = row(shop, accepted())
        for signature in ("", "x", "ä", "A" * 88, good.plan["signature"][:-4]):  # type: ignore[index]
            good.plan = {**good.plan, "signature": signature}  # type: ignore[dict-item]
            with pytest.raises(PlanRefused, match="not what was signed"):
                doors.check(good)

    def test_changed(self, shop: Database, accepted: Callable[..., str], doors: Doors) -> None:
        """The target; the list of secrets; the environment; who submitted it."""
        other = vault.get_environment(shop, "other", "default")
        place = {"project_id": other.project_id, "project": "other", "environment_id": other.id}
        argv = {"kind": "command", "argv": ["env"]}
        for values in (
            {"target": argv},
            {"secret_names": None},
            {"environment_id": other.id},
            place,
            {"created_by": "eve"},
        ):
            with pytest.raises(PlanRefused, match="not what was signed"):
                doors.check(change(shop, accepted(secret_names=["KEYS"]), **values))

    def test_of_another_run(self, shop: Database, accepted: Callable[..., str], doors: Doors) -> None:
        """A second row with the same plan; a plan that was put beside another run."""
        first = row(shop, accepted())
        with pytest.raises(PlanRefused, match="not what was signed"):
            doors.check(Run(**{**first.model_dump(), "id": "f" * 32}))
        with pytest.raises(PlanRefused, match="not what was signed"):
            doors.check(change(shop, accepted(target={"kind": "command", "argv": ["env"]}), plan=first.plan))

    def test_of_another_server(self, shop: Database, accepted: Callable[..., str]) -> None:
        stranger = SigningKey(Ed25519PrivateKey.generate()).signer
        with pytest.raises(PlanRefused, match="none of this worker's SEALRUN_SIGNERS"):
            Doors((stranger,)).check(row(shop, accepted()))

    def test_parameters_that_are_other_sources(
        self, shop: Database, accepted: Callable[..., str], doors: Doors
    ) -> None:
        """What follows from the target stands in a column of its own, which is held against it."""
        with pytest.raises(PlanRefused, match="other data sources"):
            doors.check(change(shop, accepted(), mapped={"data": "source/lake"}))

    def test_long_ago(
        self, shop: Database, accepted: Callable[..., str], doors: Doors, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that was over, and that somebody has made `pending` again; one that waits for retries has longer."""
        once, again = row(shop, accepted(queue_timeout=3600)), row(shop, accepted(retries=2, timeout=20 * 86400))
        at = (once.plan or {})["at"]
        monkeypatch.setattr("time.time", lambda: at + plans.LIFE + 3700)
        doors.check(again)
        with pytest.raises(PlanRefused, match="too long ago"):
            doors.check(once)

    def test_whose_time_was_put_off(self, shop: Database, accepted: Callable[..., str], doors: Doors) -> None:
        run = row(shop, accepted())
        run.plan = {**(run.plan or {}), "until": 1 << 40}
        with pytest.raises(PlanRefused, match="not what was signed"):
            doors.check(run)


class TestTaken:
    def test_one_key_follows_another(self, shop: Database, accepted: Callable[..., str], key: SigningKey) -> None:
        """Rotation: workers know both for a while."""
        new = SigningKey(Ed25519PrivateKey.generate()).signer
        for signers in ((new, key.signer), (key.signer, new)):
            Doors(signers).check(row(shop, accepted()))

    def test_a_retry(self, shop: Database, accepted: Callable[..., str], doors: Doors, bench: Bench) -> None:
        """Another attempt of the same run has the same plan."""
        run_id = accepted(retries=1)
        lease = bench.claim(shop, run_id)
        bench.through(shop, lease)
        runs.finish(shop, lease, runs.Outcome("failed", "exit_code", exit_code=1))
        bench.due(shop, run_id)
        claimed = runs.claim(shop, run_id, bench.offer, 30)
        assert claimed is not None and claimed[0].attempt == 2
        doors.check(claimed[0])

    def test_what_is_read_along_meanwhile(self, shop: Database, accepted: Callable[..., str], doors: Doors) -> None:
        doors.check(change(shop, accepted(), followed=True))

    def test_a_signer_is_told_in_text(self, key: SigningKey) -> None:
        assert Signer.parse(str(key.signer)) == key.signer
        for wrong in ("", "x", "ed25519:", f"{key.signer}x", str(key.signer)[:-1], "ed25519:" + "ä" * 43):
            with pytest.raises(ValueError):
                Signer.parse(wrong)


class TestWhatIsGivenBeside:
    def test_variables_are_those_of_the_acceptance(
        self, shop: Database, accepted: Callable[..., str], doors: Doors
    ) -> None:
        """They decide what code does, and where packages come from: what is written later has no effect."""
        run = row(shop, accepted())
        vault.set_variable(shop, "shop", "default", "UV_INDEX_URL", "https://evil.example", actor=ACTOR)
        with shop.reading() as session:
            assert doors.ask_variables(session, run)() == {"REGION": "eu-north-1"}
            assert Doors().ask_variables(session, run)() == {
                "REGION": "eu-north-1",
                "UV_INDEX_URL": "https://evil.example",
            }
        run.plan = {**(run.plan or {}), "variables": {}}
        with pytest.raises(PlanRefused, match="not what was signed"):
            doors.check(run)

    def test_a_source_that_leads_elsewhere_by_now(
        self, shop: Database, accepted: Callable[..., str], doors: Doors
    ) -> None:
        """Who edits `endpoint` in the database is sent nothing by a run that was accepted before."""
        run = row(shop, accepted())
        with shop.writing() as session:
            settings = json.dumps({**LAKE, "endpoint": "https://evil.example"})
            session.connection().execute(text("UPDATE secretstore_connection SET settings = :s"), {"s": settings})
        with shop.reading() as session, pytest.raises(PlanRefused, match="source lake is not as it was"):
            read_given(session, run, doors.pins(run))

    def test_a_source_that_is_newer_is_left_out(
        self, shop: Database, accepted: Callable[..., str], doors: Doors
    ) -> None:
        """And said, as of any that cannot be given."""
        run = row(shop, accepted())
        vault.create_connection(shop, "shop", "default", "source", "new", "s3", LAKE, actor=ACTOR)
        with shop.reading() as session:
            found = {one.name: one.refused for one in read_given(session, run, doors.pins(run)).plan}
        assert found == {"lake": None, "new": "it was not there, or not complete, when the run was accepted"}

    def test_a_secret_that_is_newer_is_left_out(
        self, shop: Database, accepted: Callable[..., str], doors: Doors, sealed: Callable[[str], None]
    ) -> None:
        """Who adds one under a name that something acts on has it given to no run that was accepted before."""
        run, named = row(shop, accepted()), row(shop, accepted(secret_names=["KEYS"]))
        sealed("UV_INDEX_URL")
        with shop.reading() as session:
            given = read_given(session, run, doors.pins(run))
            asked = read_given(session, named, doors.pins(named))
            later = row(shop, accepted())
            anew = read_given(session, later, doors.pins(later))
        assert given.bundle is not None and [item.name for item in given.bundle.items] == ["KEYS"]
        assert (given.newer, dict(given.channels)) == (("UV_INDEX_URL",), {"KEYS": "environment"})
        assert asked.newer == anew.newer == () and set(anew.channels) == {"KEYS", "UV_INDEX_URL"}
        run.plan = {**(run.plan or {}), "secrets": ["KEYS", "UV_INDEX_URL"]}
        with pytest.raises(PlanRefused, match="not what was signed"):
            doors.check(run)

    def test_a_newer_secret_that_a_source_names_is_for_the_source_alone(
        self, shop: Database, accepted: Callable[..., str], doors: Doors, sealed: Callable[[str], None]
    ) -> None:
        """The source was there, with the names of what it is filled in with."""
        lake = {**LAKE, "credentials": {"$secret": "LATE"}}
        vault.create_connection(shop, "shop", "default", "source", "more", "s3", lake, actor=ACTOR)
        run = row(shop, accepted())
        sealed("LATE")
        with shop.reading() as session:
            given = read_given(session, run, doors.pins(run))
        assert (given.newer, given.channels["LATE"]) == ((), "connection")

    def test_a_source_that_a_run_is_not_given_does_not_matter(
        self, shop: Database, accepted: Callable[..., str], doors: Doors
    ) -> None:
        run = row(shop, accepted(connections=False))
        assert doors.pins(run) == Pinned({}, ["KEYS"])


def _deep() -> Any:
    found: Any = 1
    for _ in range(5000):
        found = [found]
    return {"variables": found, "connections": {}, "at": 1, "until": 1, "key": "", "signature": ""}


def test_doors_differ() -> None:
    """Without signers nothing is asked of a row, not even that it has one."""
    assert Doors().pins(Run()) is None and Doors().opening(Run(), "run", {}) == {}
    Doors().check(Run())
    assert replace(Doors(), signers=()) == Doors()
