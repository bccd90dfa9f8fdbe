"""What runs left is deleted: of which, by whom, and what is said of them afterwards."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmodel import col, update

from executor import runs
from executor.errors import RunPruned, UnknownRun
from executor.models import Run
from executor.operations import pruning
from executor.operations import runs as operations
from executor.operations.deployment import Deployment
from executor.runs import Outcome, output
from executor.schemas.output import Piece
from executor.schemas.pruning import NamedRuns, OldRuns
from executor.schemas.run_operations import Download, OutputOf, ThatAttempt, ThatRun, ThoseRuns
from executor.source import bundles
from executor.source.packing import Packed
from secretstore import audit, audit_reading
from secretstore.errors import InUse
from tests.executor.conftest import Bench
from tests.executor.operations.conftest import WHO

WEEK = 7 * 86_400


def ended(at: Deployment, bench: Bench, days: float, failed: bool = False, **fields: object) -> str:
    """A run that left output and a file, so many days ago."""
    lease = bench.claim(at.db, bench.create(at.db, **fields))
    of = {"project_id": str(fields.get("project_id", "p1")), "project": str(fields.get("project", "shop"))}
    bench.through(at.db, lease, replace(bench.bundle("API_KEY"), **of))
    output.append(at.db, lease, [Piece(1, "stdout", datetime.now(UTC), b"hello\n")])
    output.append(at.db, lease, [], [output.file(lease, "a.txt", 4), output.file_piece(lease, "a.txt", 0, b"text")])
    runs.finish(at.db, lease, Outcome("failed", "exit_code", exit_code=1) if failed else Outcome("succeeded", result=1))
    with at.db.writing() as session:
        session.exec(update(Run).where(col(Run.id) == lease.run_id).values(finished_at=at.db.after(-days * 86_400)))
    return lease.run_id


def pruned(at: Deployment) -> set[str]:
    return {view.id for view in operations.list_(at, WHO, ThoseRuns()) if view.pruned_by is not None}


def test_old_ones_that_are_meant_and_no_others(at: Deployment, bench: Bench) -> None:
    """By age, without those that failed if so asked; what would go is counted before; nothing is left then."""
    old, failed, young = ended(at, bench, 8), ended(at, bench, 8, failed=True), ended(at, bench, 6)
    waits = bench.create(at.db)
    asked = OldRuns(older_than=WEEK, keep_failed=True)
    found = pruning.look(at, WHO, asked)
    assert (found.runs, found.output_bytes, found.file_bytes) == (1, 6, 4) and pruned(at) == set()
    assert pruning.prune(at, WHO, asked).runs == 1 and pruned(at) == {old}
    assert pruning.look(at, WHO, asked).runs == pruning.prune(at, WHO, asked).runs == 0
    assert pruning.prune(at, WHO, OldRuns(older_than=WEEK)).runs == 1 and pruned(at) == {old, failed}
    assert pruning.prune(at, WHO, OldRuns(older_than=0)).runs == 1 and pruned(at) == {old, failed, young}
    assert operations.state(at, WHO, ThatRun(run=waits)) == "pending"


def test_what_is_said_of_one_afterwards(at: Deployment, bench: Bench, tmp_path: Path) -> None:
    """How it ended, its attempts and receipts are there; what needs more says who deleted that."""
    run_id = ended(at, bench, 0, variables={"LEVEL": "debug"}, idempotency_key="nightly")
    before = operations.show(at, WHO, ThatAttempt(run=run_id))
    assert pruning.delete(at, WHO, NamedRuns(runs=(run_id[:8], run_id))).runs == 1
    view = operations.show(at, WHO, ThatAttempt(run=run_id))
    assert (view.result, view.outputs, view.pruned_by) == (None, (), WHO.name) and view.pruned_at is not None
    assert view == replace(before, result=None, outputs=(), pruned_by=view.pruned_by, pruned_at=view.pruned_at)
    for ask in (
        lambda: operations.logs(at, WHO, OutputOf(run=run_id)),
        lambda: next(operations.follow(at, WHO, OutputOf(run=run_id))),
        lambda: operations.download(at, WHO, Download(run=run_id, folder=tmp_path)),
        lambda: operations.prepare_again(at, WHO, ThatRun(run=run_id)),
        lambda: operations.kept(at, WHO, ThatAttempt(run=run_id)),
    ):
        with pytest.raises(RunPruned, match=f"what run {run_id[:8]} left was deleted on .* by {WHO.name}"):
            ask()
    assert [look.state for look in operations.follow(at, WHO, OutputOf(run=run_id, streams=()))] == ["succeeded"]
    again = pruning.delete(at, WHO, NamedRuns(runs=(run_id,)))
    assert (again.runs, again.already) == (0, (run_id,))
    assert bench.create(at.db, idempotency_key="nightly") != run_id, "its key is free"


def test_one_that_is_not_over_keeps_all_that_are_named(at: Deployment, bench: Bench) -> None:
    """Nor is one deleted that is not there."""
    done, going = ended(at, bench, 0), bench.running(at.db).run_id
    for refused in (pruning.require_over, pruning.delete):
        with pytest.raises(InUse, match=f"run {going[:8]} is not over: it is running"):
            refused(at, WHO, NamedRuns(runs=(done, going)))
        with pytest.raises(UnknownRun):
            refused(at, WHO, NamedRuns(runs=(done, "0" * 32)))
    assert pruned(at) == set()


def test_each_deletion_is_in_the_record(at: Deployment, bench: Bench) -> None:
    """By project, with the runs by their ids, who it was and why; the chain is as it was written."""
    mine, others = ended(at, bench, 8), ended(at, bench, 8, project_id="p2", project="toys")
    pruning.prune(at, WHO, OldRuns(older_than=WEEK))
    audit.link_waiting(at.db)
    for project, run_id in (("shop", mine), ("toys", others)):
        (event,) = [one for one in audit_reading.list_events(at.db, project) if one.action == "runs.prune"]
        assert (event.actor, event.origin, event.subject) == (WHO.name, WHO.origin, "1 run")
        assert run_id in event.detail and "over since before" in event.detail
        assert audit_reading.verify(at.db, project).ok


def test_source_goes_with_the_last_run_that_has_it(
    at: Deployment, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest stays in the run's row."""
    monkeypatch.setattr(bundles, "KEPT", -60.0)
    digest = bundles.upload(at.db, "p1", Packed("f" * 64, 1, memoryview(b"an archive")))
    first, last = (ended(at, bench, days, bundle=digest, host=None) for days in (8, 6))
    assert pruning.prune(at, WHO, OldRuns(older_than=WEEK)).bundles == 0
    assert pruning.delete(at, WHO, NamedRuns(runs=(last,))).bundles == 1
    assert operations.show(at, WHO, ThatAttempt(run=first)).bundle == digest
