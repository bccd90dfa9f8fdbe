"""Deleted projects and their runs: cancelled, not listed, brought back, destroyed, and what they left with them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import col, update

from executor import runs
from executor.errors import UnknownRun
from executor.models import Run, RunSpec
from executor.operations import projects, pruning
from executor.operations import runs as run_operations
from executor.runs import GateShut, Offer, Outcome, output, retention
from executor.runs.grant import read_given
from executor.schemas.output import Piece
from executor.schemas.projects import ProjectDeletion, ProjectNamed
from executor.schemas.pruning import NamedRuns
from executor.schemas.run_operations import Download, OutputOf, ThatAttempt, ThatRun, ThoseRuns
from executor.worker import janitor
from secretstore import audit_reading, vault
from secretstore.audit import Actor
from secretstore.database import utc_now
from secretstore.errors import InUse, ProjectDeleted, UnknownProject
from secretstore.models import Project
from tests.executor.operations.conftest import WHO, Shop
from tests.executor.operations.test_projects import live_run
from tests.processes import eventually

DELETE, NOW = ProjectDeletion(name="shop"), ProjectDeletion(name="shop", now=True)
OFFER = Offer("w1", "elsewhere", ("sealrun",), "landlock")
JANITOR = Actor("worker@here", retention.WORKER)


def claimed(shop: Shop, run_id: str) -> runs.Lease:
    found = runs.claim(shop.at.db, run_id, OFFER, 60)
    assert found is not None
    return found[1]


def pass_gate(shop: Shop, lease: runs.Lease) -> None:
    """As a worker does it, with what the run is given now."""
    with shop.at.db.reading() as session:
        run = session.get_one(Run, lease.run_id)
    runs.pass_gate(shop.at.db, lease, lambda session: read_given(session, run), rung="landlock", controls={})


def over(shop: Shop) -> None:
    """The days of every deleted project are over."""
    with shop.at.db.writing() as session:
        of = col(Project.destroy_at).is_not(None)
        session.exec(update(Project).where(of).values(destroy_at=shop.at.db.after(-1)))


def test_its_runs_end_and_no_other_begins(shop: Shop) -> None:
    """I7: one that waits is cancelled and says why; one before its gate gets nothing, one behind it is ended."""
    shop.seal("API_KEY")
    waits, before, behind = (live_run(shop, "default") for _ in range(3))
    at_gate, at_work = claimed(shop, before), claimed(shop, behind)
    pass_gate(shop, at_work)
    deleted = projects.delete(shop.at, WHO, DELETE)
    assert deleted.destroy_at is not None
    show = {one: run_operations.show(shop.at, WHO, ThatAttempt(run=one)) for one in (waits, before, behind)}
    assert (show[waits].state, show[waits].message) == ("cancelled", f"its project was deleted by {WHO.name}")
    assert [show[one].state for one in (before, behind)] == ["pending", "running"]
    assert runs.renew(shop.at.db, at_work).cancel_requested
    for one in (waits, before, behind):  # over or not yet: it is its project that has to come back first
        with pytest.raises(ProjectDeleted):
            run_operations.prepare_again(shop.at, WHO, ThatRun(run=one))
    with pytest.raises(GateShut):
        pass_gate(shop, at_gate)
    assert runs.give_back(shop.at.db, at_gate, Outcome("lost", "lost")) == "cancelled"
    with pytest.raises(ProjectDeleted):
        runs.accept(shop.at.db, spec_of(shop, waits), WHO.name)
    with pytest.raises(ProjectDeleted):
        run_operations.prepare_again(shop.at, WHO, ThatRun(run=waits))
    with pytest.raises(InUse, match="unfinished runs: 1") as refused:
        projects.delete(shop.at, WHO, NOW)
    assert "they were cancelled with it" in str(refused.value.hint)
    assert runs.finish(shop.at.db, at_work, Outcome("cancelled", "cancelled")) == "cancelled"
    detail = [event.detail for event in shop.events() if event.action == "project.delete"]
    assert '"runs_asked_to_end": 2, "runs_cancelled": 1' in detail[0]


def spec_of(shop: Shop, run_id: str) -> RunSpec:
    """What a run asked for, to ask for it again."""
    with shop.at.db.reading() as session:
        run = session.get_one(Run, run_id)
    return RunSpec(**{name: getattr(run, name) for name in RunSpec.model_fields})


def test_a_run_that_is_accepted_meanwhile_is_ended_too(shop: Shop) -> None:
    """I7: the deletion waits for it, and finds it. On SQLite there is one writer at a time."""
    db, spec = shop.at.db, spec_of(shop, live_run(shop, "default"))
    if db.dialect == "sqlite":
        pytest.skip("one writer at a time")
    with ThreadPoolExecutor(1) as others:
        with db.writing() as session:
            vault.require_living(session, spec.project_id)
            deleting = others.submit(projects.delete, shop.at, WHO, DELETE)
            eventually(lambda: waits_for_a_lock(shop), 20, "the deletion waits")
            run = Run(**spec.model_dump(), created_at=utc_now(), created_by=WHO.name, rung_at=utc_now())
            session.add(run)
        deleting.result(20)
    assert run_operations.state(shop.at, WHO, ThatRun(run=run.id)) == "cancelled"


def waits_for_a_lock(shop: Shop) -> bool:
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with shop.at.db.reading() as session:
        return bool(session.execute(text(mine)).scalar_one())


def test_nothing_of_it_is_listed_until_it_is_back(shop: Shop) -> None:
    """Over all projects and within it; who knows a run's whole id still sees how it ended."""
    run_id = live_run(shop, "default")
    projects.delete(shop.at, WHO, DELETE)
    assert projects.list_(shop.at, WHO) == () and run_operations.list_(shop.at, WHO, ThoseRuns()) == []
    for reference in (run_id[:8], "@last"):
        with pytest.raises(UnknownRun):
            run_operations.show(shop.at, WHO, ThatAttempt(run=reference))
    with pytest.raises(ProjectDeleted):
        run_operations.list_(shop.at, WHO, ThoseRuns(project="shop"))
    assert run_operations.state(shop.at, WHO, ThatRun(run=run_id)) == "cancelled"
    (gone,) = projects.list_deleted(shop.at, WHO)
    assert (gone.name, gone.deleted_by) == ("shop", WHO.name)
    projects.restore(shop.at, WHO, ProjectNamed(name="shop"))
    assert [view.id for view in run_operations.list_(shop.at, WHO, ThoseRuns())] == [run_id]
    assert projects.list_deleted(shop.at, WHO) == ()
    runs.accept(shop.at.db, spec_of(shop, run_id), WHO.name)


def test_a_worker_destroys_it_and_what_its_runs_left(shop: Shop) -> None:
    """Receipts and the record stay, and the chain holds; what a project of the same name has is another's."""
    db = shop.at.db
    shop.seal("API_KEY")
    lease = claimed(shop, live_run(shop, "default"))
    pass_gate(shop, lease)
    output.append(db, lease, [Piece(1, "stdout", datetime.now(UTC), b"hello\n")])
    runs.finish(db, lease, Outcome("succeeded", exit_code=0, result=[1]))
    projects.delete(shop.at, WHO, DELETE)
    assert (janitor.destroy_deleted(db, JANITOR), janitor.delete_old(db, 0, JANITOR)) == (0, 0)
    over(shop)
    assert (janitor.destroy_deleted(db, JANITOR), janitor.delete_old(db, 0, JANITOR)) == (1, 1)
    assert projects.destroy_due(shop.at, WHO) == ()
    view = run_operations.show(shop.at, WHO, ThatAttempt(run=lease.run_id))
    assert (view.state, view.result, view.pruned_by) == ("succeeded", None, "a worker")
    assert view.receipt is not None and [entry.name for entry in view.receipt.secrets] == ["API_KEY"]
    janitor.link_audit(db)
    assert audit_reading.verify(db, "shop").ok
    assert {"project.destroy", "runs.prune"} <= {event.action for event in shop.events()}
    with pytest.raises(UnknownProject):
        run_operations.list_(shop.at, WHO, ThoseRuns(project="shop"))


def test_what_its_runs_left_is_given_to_nobody_until_it_is_back(shop: Shop, tmp_path: Path) -> None:
    """Who knows a run's whole id sees how it ended and its receipts, and is told for the rest how to get it back."""
    db, at = shop.at.db, shop.at
    shop.seal("API_KEY")
    lease = claimed(shop, live_run(shop, "default"))
    pass_gate(shop, lease)
    file = [output.file_piece(lease, "a", 0, b"abc"), output.file(lease, "a", 3)]
    output.append(db, lease, [Piece(1, "stdout", datetime.now(UTC), b"hello\n")], file)
    runs.finish(db, lease, Outcome("succeeded", exit_code=0, result=[1]))
    that, pieces = ThatAttempt(run=lease.run_id), OutputOf(run=lease.run_id)
    download, delete = Download(run=lease.run_id, folder=tmp_path / "out"), NamedRuns(runs=(lease.run_id,))
    projects.delete(at, WHO, DELETE)
    for refused in (
        lambda: run_operations.kept(at, WHO, that),
        lambda: list(run_operations.logs(at, WHO, pieces)),
        lambda: list(run_operations.follow(at, WHO, pieces)),
        lambda: run_operations.download(at, WHO, download),
        lambda: pruning.delete(at, WHO, delete),
    ):
        with pytest.raises(ProjectDeleted) as told:
            refused()
        assert "sealrun project restore shop" in str(told.value.hint)
    assert not (tmp_path / "out").exists()
    view = run_operations.show(at, WHO, that)
    assert (view.state, view.exit_code, view.result, view.outputs) == ("succeeded", 0, None, ())
    assert view.note == "what it left is not shown: its project is deleted"
    assert view.receipt is not None and [entry.name for entry in view.receipt.secrets] == ["API_KEY"]
    projects.restore(at, WHO, ProjectNamed(name="shop"))
    assert next(run_operations.logs(at, WHO, pieces)).data == b"hello\n"
    assert len(run_operations.download(at, WHO, download).written) == 1
    view = run_operations.show(at, WHO, that)
    assert (view.result, view.note, len(view.outputs)) == ([1], None, 1)


def test_the_next_act_of_an_operator_destroys_it_too(shop: Shop) -> None:
    """Where no worker lives. The key pairs that this user knew are forgotten."""
    projects.delete(shop.at, WHO, DELETE)
    over(shop)
    assert [project.name for project in projects.destroy_due(shop.at, WHO)] == ["shop"]
    assert shop.at.pins.known("shop", "default") is None
    assert not (events := shop.events())[-1].detail.count("secret_id") and events[-1].actor == WHO.name
