"""Runs that are not over: they keep their project and environment from being deleted."""

from sqlalchemy import func
from sqlmodel import Session, col, select

from executor.models import Run
from executor.schemas.runs import OVER
from secretstore.errors import InUse
from secretstore.vault import RefuseIf


def refuse_live(project: str, environment: str | None = None, *, deleted: bool = False) -> RefuseIf:
    """What refuses to do without a project, or one environment of it, while runs of it are not over.

    It is called with the ids, in the caller's transaction, and raises InUse. Runs of a project that is `deleted` are
    cancelled already.
    """
    wait = f"cancel them or wait: sealrun runs list -p {project}"
    if deleted:
        wait = "they were cancelled with it, and their workers are ending them: say it again in a moment"
    what = f'project "{project}"' if environment is None else f'environment "{environment}" of project "{project}"'

    def refuse(session: Session, project_id: str, environment_id: str | None) -> None:
        query = select(func.count()).where(Run.project_id == project_id, col(Run.state).not_in(OVER))
        if environment_id is not None:
            query = query.where(Run.environment_id == environment_id)
        if count := session.exec(query).one():
            raise InUse(
                "{what} has unfinished runs: {count}",
                what=what,
                project=project,
                count=count,
                hint=wait,
            )

    return refuse
