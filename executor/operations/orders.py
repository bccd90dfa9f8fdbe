"""Runs that are ordered by who has the files and no database: looked up, their source sent, submitted, repeated.

Who has both prepares a run and accepts it: see `runs`.
"""

from typing import BinaryIO

from executor.errors import RequestUnclear
from executor.models import RunSpec
from executor.operations import runs
from executor.operations.deployment import Deployment
from executor.operations.runs import MOST_AT_ONCE, Prepared
from executor.people.principal import KnownActor, Place
from executor.records import history
from executor.schemas.order import LookedUp, Order, Orders, Staged, Upload, Uploaded, Wanted
from executor.schemas.run_operations import Again, Submitted
from executor.source import bundles
from executor.submission import specification
from executor.submission.receiving import Reception, source
from executor.submission.repeating import repeated
from secretstore import vault
from secretstore.audit import Actor
from secretstore.errors import SealrunError


def look_up(at: Deployment, who: Actor, asked: Wanted) -> LookedUp:
    """What of a run's names and limits its place does not have: every reason to refuse the run, and nothing is done.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    return LookedUp(tuple(map(Staged.by, specification.look_up(at.db, asked).refusals)))


def upload(at: Deployment, who: Actor, asked: Upload, content: BinaryIO) -> Uploaded:
    """Store a source for runs of its project; what is the same is kept once, and only who sent all of it may use it.

    Args:
        at: the deployment.
        who: who asks.
        asked: what it is for, and what it is said to be.
        content: a file that holds all of it.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
        SourceRefused: it is too large, not what its digest says, or no archive of ours.
    """
    _, place = vault.get_place(at.db, asked.project, asked.environment)
    with source(content, asked, at.settings.source_bytes) as packed:
        bundles.uploaded_by(at.db, place.project_id, packed, who.name)
    return Uploaded(asked.digest)


def submit(at: Deployment, who: Actor, asked: Order) -> Submitted:
    """Accept a run that was ordered: all that it names is looked up, and what it says is checked.

    Raises:
        SealrunError: as of `runs.prepare` and `runs.accept`.
        SourceUnavailable: who asks has not sent its source, or it is deleted since.
        Forbidden: its source is a folder of a machine, and who asks may not manage its place.
    """
    return runs.accept(at, who, _allowed(who, Reception(at.db, at.settings, who.name).specification(asked)))


def submit_many(at: Deployment, who: Actor, asked: Orders) -> list[Submitted]:
    """Accept runs that were ordered together, in one transaction: all of them or none.

    Raises:
        SealrunError: as of `submit`, of one of them; the message begins with which.
        RequestUnclear: they are too many, or too large.
    """
    if len(asked.items) > MOST_AT_ONCE:
        raise RequestUnclear("at most {most} runs are submitted at once", most=f"{MOST_AT_ONCE:,}")
    reception, prepared = Reception(at.db, at.settings, who.name), []
    for place, order in enumerate(asked.items):
        try:
            prepared.append(_allowed(who, reception.specification(order)))
        except SealrunError as error:
            error.place(f"items[{place}]")
            raise
    return runs.accept_all(at, who, prepared)


def retry(at: Deployment, who: Actor, asked: Again) -> Submitted:
    """Make a new run of one that is over: the same target, source and secrets; what is given now stands over the rest.

    Raises:
        SealrunError: as of `runs.prepare_again` and `runs.accept`; or something that is given now cannot be.
        Forbidden: as of `submit`.
    """
    project_id = vault.get_project(at.db, asked.project).id if asked.project is not None else None
    run_id = history.find(at.db, asked.run, project_id)
    return runs.accept(at, who, _allowed(who, repeated(at.db, at.settings, run_id, asked)))


def _allowed(who: Actor, spec: RunSpec) -> Prepared:
    """A run that may be accepted of who asks for it through a server.

    A folder of a machine belongs to those who have an account there, and others change it after somebody looked at it:
    to run it takes managing its place.

    Raises:
        Forbidden: who asks may not.
    """
    if spec.host is not None and isinstance(who, KnownActor):
        place = Place(spec.project_id, spec.project, spec.environment_id, spec.environment)
        who.principal.require("manage", at=place)
    return Prepared(spec)
