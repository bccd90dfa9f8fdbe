"""Reading runs: by reference, in lists, with result, problem and receipts.

Writes nothing.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, or_
from sqlalchemy import select as select_rows
from sqlalchemy.orm import defer
from sqlmodel import col, select

from executor.errors import Problem, UnknownRun
from executor.models import Result, Run, Worker
from executor.people.principal import KnownActor
from executor.people.sight import ALL, Sight
from executor.records import attempts
from executor.records.files import list_files
from executor.runs import needs, workers
from executor.runs.conditions import RUN
from executor.runs.retention import refuse_pruned
from executor.schemas.runs import OVER, RunView
from secretstore import vault
from secretstore.audit import Actor
from secretstore.database import Database, clock
from secretstore.errors import ProjectDeleted

_AT_ONCE = 1000  # ids in a statement
_WHOLE = 32
_AS_IN_THE_ROW = {field.name for field in fields(RunView)} & Run.model_fields.keys()


def find(db: Database, reference: str, project_id: str | None = None, sight: Sight = ALL) -> str:
    """The id of a run named by id, unique prefix, or `@last`, among those that who asks may see.

    Raises:
        UnknownRun: none is meant.
        UnknownRun: several are.
        ProjectDeleted: it is named by its whole id, and its project is deleted.
    """
    mine = _seen(sight)
    statement = select(Run.id).where(_listed(project_id), mine).order_by(col(Run.created_at).desc())
    with db.reading() as session:
        if reference == "@last":
            found = session.exec(statement.limit(1)).all()
        elif not reference or not set(reference) <= set("0123456789abcdef"):
            found = []
        else:
            found = session.exec(statement.where(_begins_so(reference)).limit(100)).all()
        whole = select(Run).where(Run.id == reference, mine)
        run = session.exec(whole).first() if not found and project_id is None else None
        if run is not None and (gone := vault.deletion_of(session, run.project_id)) is not None:
            raise gone
    if not found:
        raise UnknownRun(reference=reference)
    if len(found) > 1:
        raise UnknownRun(
            '"{reference}" is the beginning of {count} run ids',
            reference=reference,
            count=len(found),
            hint="give more of it",
        )
    return found[0]


def _begins_so(reference: str) -> ColumnElement[bool]:
    """Not LIKE, for which neither server looks into the index: among a hundred thousand runs that is felt."""
    if len(reference) == _WHOLE:
        return col(Run.id) == reference
    return and_(col(Run.id) >= reference, col(Run.id) < reference + "g")  # which follows the last digit, f


def show(db: Database, run_id: str, attempt: int | None = None) -> RunView:
    """One run in full, with what an attempt left; the latest unless one is named, which began and ended when it did.

    Of a run whose project is deleted it is how it ended and its receipts, and nothing of what it left.

    Raises:
        UnknownRun: there is none of this id.
    """
    with db.reading() as session:
        run = session.get(Run, run_id)
        if run is None:
            raise UnknownRun(reference=run_id)
        number = run.attempt if attempt is None else attempt
        gone = vault.deletion_of(session, run.project_id)
        left = session.get(Result, (run_id, number)) if gone is None else None
        left = left or Result(run_id=run_id, attempt=number, note=_of_deleted(run, gone))
        made = attempts.of_run(session, run)
        known: dict[str, Any] = {"attempt": number, "attempts": made}
        if gone is None:
            known |= {"masked": attempts.masked(session, run_id, number)}
            known |= {"reported": attempts.reported(session, run_id, number)}
            known |= {"samples": attempts.samples(session, run_id, number)}
    known |= {"result": left.result, "note": left.note}
    known |= {"outputs": tuple(list_files(db, run_id, number)) if gone is None else ()}
    known |= {"problem": None if left.problem is None else Problem.from_json(left.problem)}
    known |= {"waiting_for": _waiting_for(db, [run]).get(run.id), "lost_to": lost_to(db, run.id).get(run.id)}
    shown = next((one for one in made if one.number == number), None)
    if shown is not None:
        known |= {"signal": shown.signal, "worker": shown.worker, "receipt": shown.receipt, "metrics": shown.metrics}
        if attempt is not None:
            known |= {"started_at": shown.started_at, "finished_at": shown.finished_at}
    return _view(run, **known)


def _waiting_for(db: Database, found: Sequence[Run]) -> dict[str, str]:
    """What no live worker offers of what runs need that wait, by id; the workers are looked up once, if at all."""
    waiting = [run for run in found if run.state == "pending" and run.lease_owner is None]
    if not waiting:
        return {}
    live = workers.list_workers(db, alive_only=True)
    asked = needs.asking(db, col(Run.id).in_([run.id for run in waiting]))
    return {run.id: missing for run in asked if (missing := needs.waiting_for(run, live))}


def state_of(db: Database, run_id: str) -> str:
    """A run's state alone: what a follower asks ten times a second.

    Raises:
        UnknownRun: there is none of this id, or not any more.
    """
    with db.reading() as session:
        state = session.connection().execute(_STATE, {"of_run": run_id}).scalar()
    if state is None:
        raise UnknownRun(reference=run_id)
    return str(state)


_STATE = select_rows(RUN.c.state).where(RUN.c.id == bindparam("of_run"))


def standing(db: Database, run_id: str) -> tuple[str, int, str | None, bool]:
    """A run's state, how often it has been tried again, why its output waits, if it does, and whether it is `lost_to`.

    Raises:
        UnknownRun: there is none of this id, or not any more.
    """
    with db.reading() as session:
        found = session.connection().execute(_standing(db.dialect), {"of_run": run_id, "now": db.from_now()}).first()
    if found is None:
        raise UnknownRun(reference=run_id)
    state, retried, held_up, lost = found
    return state, retried, held_up, bool(lost)


@cache
def _standing(dialect: str) -> Select[Any]:
    """It is asked many times a second by each follower."""
    lost = _lost(clock(dialect, "now")).label("lost")
    return select_rows(RUN.c.state, RUN.c.retried, RUN.c.held_up, lost).where(RUN.c.id == bindparam("of_run"))


def lost_to(db: Database, *run_ids: str) -> dict[str, str]:
    """What to say of runs whose worker has let its lease run out, by id; nothing of those whose worker has not."""
    with db.reading() as session:
        asked = select(Run.id, Run.lease_owner, Run.lease_until).where(col(Run.id).in_(run_ids), _lost(db.now()))
        lost = session.exec(asked).all()
        owners = {owner for _, owner, _ in lost}
        beats = select(Worker.name, func.max(Worker.seen_at)).where(col(Worker.name).in_(owners)).group_by(Worker.name)
        seen: dict[str | None, datetime] = dict(session.exec(beats).all()) if lost else {}
    if not lost:
        return {}
    live = workers.list_workers(db, alive_only=True)
    told = {}
    for run_id, owner, until in lost:
        # The heartbeat of the one that has just died is still fresh; one of its name may have come after it.
        lives = any(one.name != owner or (until and one.seen_at > until) for one in live)
        then = "a worker will settle it" if lives else "another worker will settle it (start one: sealrun worker)"
        last = f"was last seen at {_moment(seen[owner])}" if seen.get(owner) else "is not known any more"
        told[run_id] = f"its worker {owner} {last}, and its lease ran out at {_moment(until)}; {then}"
    return told


def _lost(now: ColumnElement[Any]) -> ColumnElement[bool]:
    over = (RUN.c.state == state for state in OVER)
    return and_(~or_(*over), RUN.c.lease_owner.is_not(None), RUN.c.lease_until < now)


def _moment(at: datetime | None) -> str:
    return at.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z") if at else "?"


def require_kept(db: Database, run_id: str) -> None:
    """Check that what a run left is not deleted, nor its project.

    Raises:
        RunPruned: it is.
        ProjectDeleted: its project is.
    """
    with db.reading() as session:
        run = session.get(Run, run_id)
        gone = vault.deletion_of(session, run.project_id) if run is not None else None
    if run is not None:
        refuse_pruned(run.id, run.pruned_at, run.pruned_by)
    if gone is not None:
        raise gone


def place_of(db: Database, run_id: str) -> tuple[str, str, str, str]:
    """The project and the environment of a run: of each the id, and the name that it had.

    Raises:
        UnknownRun: there is none of this id.
    """
    columns = col(Run.project_id), col(Run.project), col(Run.environment_id), col(Run.environment)
    with db.reading() as session:
        found = session.execute(select_rows(*columns).where(col(Run.id) == run_id)).first()
    if found is None:
        raise UnknownRun(reference=run_id)
    return found.project_id, found.project, found.environment_id, found.environment


def followed(db: Database, who: Actor, run_ids: Sequence[str]) -> frozenset[str]:
    """Which of these runs who acts may follow; all where it is nobody of a server's, who has the database itself.

    By the ids of project and environment: another environment may have the name by now.
    """
    if not isinstance(who, KnownActor):
        return frozenset(run_ids)
    sight = Sight.of(who, "follow")
    found: set[str] = set()
    with db.reading() as session:
        for at in range(0, len(run_ids), _AT_ONCE):
            some = col(Run.id).in_(run_ids[at : at + _AT_ONCE])
            found.update(session.exec(select(Run.id).where(some, _seen(sight))))
    return frozenset(found)


def list_runs(
    db: Database,
    project_id: str | None = None,
    limit: int = 20,
    state: str | None = None,
    *,
    before: str | None = None,
    sight: Sight = ALL,
) -> list[RunView]:
    """The latest runs first, without results and receipts: of those that who asks may see, older than `before`."""
    # What environments are built of may be long, and is nobody's to see in a list.
    light = [defer(one) for one in (Run.requirements, Run.plan)]  # type: ignore[arg-type]  # SQLModel's typing
    statement = select(Run).options(*light).where(_listed(project_id), _seen(sight))
    statement = statement.order_by(col(Run.created_at).desc(), col(Run.id).desc()).limit(limit)
    if state is not None:
        statement = statement.where(Run.state == state)
    if before is not None:
        begin = select(Run.created_at).where(Run.id == before, _seen(sight)).scalar_subquery()
        same = and_(col(Run.created_at) == begin, col(Run.id) < before)
        statement = statement.where(or_(col(Run.created_at) < begin, same))
    with db.reading() as session:
        found = session.exec(statement).all()
    waiting = _waiting_for(db, found)
    lost = lost_to(db, *(run.id for run in found if run.lease_owner is not None))
    return [_view(run, waiting_for=waiting.get(run.id), lost_to=lost.get(run.id)) for run in found]


def _of_deleted(run: Run, gone: ProjectDeleted | None) -> str | None:
    return None if gone is None or run.pruned_by is not None else "what it left is not shown: its project is deleted"


def _listed(project_id: str | None) -> ColumnElement[bool]:
    """Runs of the project, else of all: nothing of deleted ones is listed, or found by a part of its id."""
    return col(Run.project_id).not_in(vault.deleted_ids()) if project_id is None else col(Run.project_id) == project_id


def _seen(sight: Sight) -> ColumnElement[bool]:
    return sight.within(col(Run.project_id), col(Run.environment_id))


def _view(run: Run, **more: Any) -> RunView:
    """A run's row as it is shown, with what is not in it."""
    return RunView(**{name: getattr(run, name) for name in _AS_IN_THE_ROW} | more)
