"""What every run sends to the database: built once, and few ways there and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, event

from executor import runs
from executor.models import Attempt, LogChunk, Run
from executor.records import history, logs
from executor.runs import Lease, Outcome, output
from executor.runs.grant import read_given
from executor.schemas.output import Piece
from secretstore import vault
from secretstore.database import Database
from secretstore.key_service import KeyPlace, WrappedKeyPair
from secretstore.keyring import generate_wrapped
from secretstore.local_keys import LocalKeys
from secretstore.pins import Pins
from tests.executor.conftest import Bench
from tests.executor.runs.test_receipts import keys, pins, statements

__all__ = ["keys", "pins"]


@contextmanager
def executed(engine: Engine) -> Iterator[list[Any]]:
    """The statements that are executed meanwhile, as they were built."""
    seen: list[Any] = []

    def note(_: object, statement: Any, *__: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_execute", note)


def whole_life(db: Database, bench: Bench, run_id: str) -> Lease:
    """Claim, gate, a renewal, some output and the end of a run, as its worker does them, and a follower's look."""
    claimed = runs.claim(db, run_id, bench.offer, 30)
    assert claimed is not None
    run, lease = claimed

    def read(session: Any) -> Any:
        vault.plain_variables(session, run.environment_id)
        return read_given(session, run)

    runs.pass_gate(db, lease, read, rung="landlock", controls={}, packages={"requests": "2"})
    runs.renew(db, lease)
    now = datetime.now(UTC)
    output.append(db, lease, [Piece(1, "stdout", now, b"first")])
    assert history.standing(db, run_id)[0] == history.state_of(db, run_id) == "running"
    assert [piece.data for piece in logs.read(db, run_id)[0]] == [b"first"]
    rest = output.rows(lease, [Piece(2, "stdout", now, b"last")])
    outcome = Outcome("succeeded", opened_at=now, dropped_at=now, rows=rest, aliases={"TOKEN": "ALSO"})
    assert runs.finish(db, lease, outcome) == "succeeded"
    return lease


def test_no_statement_of_a_run_is_built_anew(db: Database, bench: Bench, keys: LocalKeys, pins: Pins) -> None:
    """The second run executes the first one's: to build them takes several times as long as to execute them."""

    def birth(place: KeyPlace, generation: int) -> WrappedKeyPair:
        return generate_wrapped(keys, place, generation)

    actor = vault.Actor("ada@here", "test")
    project = vault.create_project(db, "shop", actor=actor, birth=birth)
    vault.put(db, "shop", "default", "TOKEN", b"a-sealed-value", actor=actor, pins=pins)
    place = {"project_id": project.id, "environment_id": vault.get_environment(db, "shop", "default").id}
    first, second = (bench.create(db, **place) for _ in range(2))
    with executed(db.engine) as before:
        whole_life(db, bench, first)
    compiled = db.statements.count
    with executed(db.engine) as sent, statements(db.engine) as texts:
        lease = whole_life(db, bench, second)
    assert len(texts) >= 15
    assert db.statements.count == compiled
    known = {id(statement) for statement in before}
    assert [str(statement) for statement in sent if id(statement) not in known] == []
    with db.reading() as session:
        run, attempt = session.get(Run, second), session.get(Attempt, (second, 1))
        assert run is not None and attempt is not None
        assert (run.state, run.finished_at, run.lease_owner) == ("succeeded", attempt.finished_at, None)
        assert attempt.started_at == run.started_at and attempt.packages == {"requests": "2"}
        assert session.get(LogChunk, (second, 1, 2)) is not None
    assert lease.attempt == 1
