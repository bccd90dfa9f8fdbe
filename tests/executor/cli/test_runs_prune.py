"""`sealrun runs prune` and `runs delete`: what is asked before, what is said after, and what is left."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlmodel import col, update

from executor import runs
from executor.database import open_database
from executor.models import Run
from executor.runs import Outcome, output
from executor.schemas.output import Piece
from executor.settings import read_settings
from secretstore import vault
from tests.executor.cli.conftest import Cli
from tests.executor.conftest import Bench

Ended = Callable[[float], str]


@pytest.fixture
def ended(shop: Cli) -> Ended:
    """Makes a run of the shop that printed a line, and ended so many days ago."""

    def make(days: float) -> str:
        db, bench = open_database(read_settings(shop.environ)), Bench()
        place = vault.get_environment(db, "shop", "default")
        lease = bench.running(db, project_id=place.project_id, environment_id=place.id)
        output.append(db, lease, [Piece(1, "stdout", datetime.now(UTC), b"hello\n")])
        runs.finish(db, lease, Outcome("succeeded", exit_code=0))
        with db.writing() as session:
            session.exec(update(Run).where(col(Run.id) == lease.run_id).values(finished_at=db.after(-days * 86_400)))
        db.close()
        return lease.run_id

    return make


def test_old_ones_are_counted_asked_for_and_gone(shop: Cli, ended: Ended) -> None:
    """An age has a unit; without --yes nobody can be asked here; said again there is nothing left to do."""
    old, young = ended(31), ended(1)
    assert "a length of time with its unit" in shop("runs", "prune", "--older-than", "30", code=2).stderr
    dry = shop("runs", "prune", "--older-than", "30d", "--dry-run", code=0).stderr
    assert dry == "would delete what 1 run of project shop left: 6 bytes of output, 0 bytes of files\n"
    assert shop.json("runs", "prune", "--older-than", "30d", "--dry-run", "--json")["runs"] == 1
    assert "hint: add --yes" in shop("runs", "prune", "--older-than", "30d", code=2).stderr
    assert shop.ok("runs", "logs", old) == "hello\n"
    said = shop("runs", "prune", "--older-than", "30d", "--yes", code=0).stderr
    assert said.startswith("deleted what 1 run left; receipts and audit events stay\n")
    assert "nothing to delete" in shop("runs", "prune", "--older-than", "30d", "--yes", code=0).stderr
    assert shop.ok("runs", "logs", young) == "hello\n"
    lines = {line.split("\t")[0]: line.split("\t")[-1] for line in shop.ok("runs", "list").splitlines()}
    assert (lines[old[:8]], lines[young[:8]]) == ("pruned", "")
    assert shop.json("audit", "list", "--json", "--action", "runs.prune")[0]["subject"] == "1 run"


def test_one_that_is_named_says_afterwards_what_became_of_it(shop: Cli, ended: Ended) -> None:
    """Each command that needs what it left ends with the same sentence, and `show` has the rest."""
    run_id = ended(0)
    shop.ok("runs", "delete", run_id[:8], "--yes")
    assert "was deleted before" in shop("runs", "delete", run_id, code=0).stderr
    for words in (("logs",), ("logs", "-f"), ("download",), ("retry",)):
        refused = shop("runs", *words, run_id, code=1).stderr
        assert f"sealrun: what run {run_id[:8]} left was deleted on " in refused
        assert f"hint: how it ended and its receipts are there: sealrun runs show {run_id[:8]}" in refused
    shown = shop.ok("runs", "show", run_id)
    assert "pruned " in shown and "what it left was deleted: " in shown and "state      succeeded" in shown
    assert shop.json("runs", "show", run_id, "--json")["pruned_by"]


def test_one_that_is_not_over_is_refused(shop: Cli) -> None:
    """With the command that ends it."""
    db, bench = open_database(read_settings(shop.environ)), Bench()
    place = vault.get_environment(db, "shop", "default")
    lease = bench.running(db, project_id=place.project_id, environment_id=place.id)
    refused = shop("runs", "delete", lease.run_id, "--yes", code=1).stderr
    assert f"run {lease.run_id[:8]} is not over: it is running; nothing was deleted" in refused
    assert f"hint: cancel it first: sealrun runs cancel {lease.run_id[:8]}" in refused
    runs.finish(db, lease, Outcome("cancelled", "cancelled"))
    db.close()
