"""Runs: submit, look at, follow, cancel and retry them, and fetch what they left.

Who has the files and the database prepares a run and accepts it. Who has the files alone works out an order (see
`executor.submission.ordering`), has it looked up, uploads its source and submits it.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from executor.errors import RequestUnclear, UnknownOutput
from executor.models import RunSpec
from executor.operations.deployment import Deployment
from executor.people.principal import KnownActor
from executor.people.principal import Place as PlaceOf
from executor.people.reads import record_read
from executor.people.sight import Sight
from executor.records import files, history
from executor.records import logs as output
from executor.records.following import Following, looks
from executor.runs import Refused, cancelling, follower
from executor.runs.plans import DIRECT, Door
from executor.schemas.order import LookedUp, Order, Orders, Staged, Upload, Uploaded, Wanted
from executor.schemas.output import STREAMS, StoredPiece
from executor.schemas.run_operations import (
    Again,
    Cancelled,
    Download,
    Downloaded,
    FileOf,
    Look,
    OpenFile,
    OutputOf,
    Submitted,
    ThatAttempt,
    ThatRun,
    ThoseRuns,
)
from executor.schemas.run_request import RunRequest
from executor.schemas.runs import STATES, RunView
from executor.source import bundles
from executor.submission import specification
from executor.submission import submit as submitting
from executor.submission.receiving import Reception, source
from executor.submission.remembered import Batch, Remembered
from executor.submission.repeating import repeated
from executor.submission.specification import specify
from secretstore import vault
from secretstore.audit import Actor
from secretstore.errors import DatabaseUnavailable, FolderUnusable, SealrunError
from secretstore.naming import check_submitted_name

_ID = 32  # characters of an id in full
MOST_AT_ONCE = 10_000
"""Runs that are submitted together, in one transaction."""
_LARGEST_AT_ONCE = 32 << 20  # bytes of their targets and variables
_IN_PARTS = "submit them in several calls; with an idempotency key each, a call can be made again"


@dataclass(frozen=True)
class Prepared:
    """A run that is looked up, with its source uploaded, and not submitted yet."""

    spec: RunSpec
    notes: tuple[str, ...] = ()

    def followed(self, followed: bool = True) -> "Prepared":
        """The same, for somebody who reads its output as it comes."""
        return replace(self, spec=self.spec.model_copy(update={"followed": followed}))


def prepare(at: Deployment, who: Actor, asked: RunRequest) -> Prepared:
    """Look up all that a run needs, so that a mistake is told before it is submitted; then upload its source.

    Raises:
        SealrunError: something is missing or named wrongly.
    """
    return _prepared(at, asked, at.remembered)


def prepare_all(at: Deployment, who: Actor, asked: Sequence[RunRequest]) -> list[Prepared]:
    """The same of several, to be submitted together. What they have in common of files is looked at once.

    Raises:
        SealrunError: something is missing or named wrongly in one of them; its message begins with which.
    """
    batch = Batch(at.remembered or Remembered())
    prepared = []
    for place, one in enumerate(asked):
        try:
            prepared.append(_prepared(at, one, batch))
        except SealrunError as error:
            error.place(f"items[{place}]")
            raise
    return prepared


def prepare_again(at: Deployment, who: Actor, asked: ThatRun) -> Prepared:
    """The same of a run that is over, to be tried anew: its target, source, secrets and options.

    Raises:
        UnknownRun: there is none.
        InUse: it may still do what the new one would do, too.
        RunPruned: what it asked for is deleted.
        EnvironmentGone: its environment is deleted, whatever has its name now.
    """
    return Prepared(repeated(at.db, at.settings, _id(at, asked)))


def accept(at: Deployment, who: Actor, asked: Prepared) -> Submitted:
    """Submit what was prepared: the run is accepted and workers are told; one is started where that is ours to do.

    Raises:
        KeyTaken: its idempotency key belongs to a run that is not the same.
        NeverServed: nothing is configured, and no worker of this machine can ever take it; it was not accepted.
        WorkerUnsupported, BrokerUnavailable: no worker can be started here; the run was not accepted.
    """
    return submitting.accept(at.db, at.settings, lambda: at.broker, asked.spec, who.name, at.standby, _door(at, who))


def accept_all(at: Deployment, who: Actor, asked: Sequence[Prepared]) -> list[Submitted]:
    """Submit what was prepared together, in one transaction: all of it or nothing.

    Raises:
        KeyTaken, NeverServed: as of `accept`, of one of them; the message begins with which.
        WorkerUnsupported, BrokerUnavailable: as of `accept`.
        RequestUnclear: they are too many, or too large.
    """
    if not asked:
        return []
    specs = [one.spec for one in asked]
    _check_size(specs)
    try:
        return submitting.accept_all(at.db, at.settings, lambda: at.broker, specs, who.name, at.standby, _door(at, who))
    except Refused as refused:
        refused.why.place(f"items[{refused.place}]")
        raise refused.why from None


def _door(at: Deployment, who: Actor) -> Door:
    """The way by which somebody comes in; what comes through a process that has a signing key is signed."""
    return Door("api" if isinstance(who, KnownActor) else DIRECT.name, at.signing_key)


def _check_size(specs: Sequence[RunSpec]) -> None:
    """One transaction: on SQLite nobody else writes meanwhile, and what is at work has to."""
    _check_count(len(specs))
    size = sum(len(json.dumps([spec.target, spec.variables])) for spec in specs)
    if size > _LARGEST_AT_ONCE:
        raise RequestUnclear(
            "what runs are submitted with is {size} MiB at once, of {most} at most",
            size=-(-size >> 20),
            most=_LARGEST_AT_ONCE >> 20,
            hint=_IN_PARTS,
        )


def look_up(at: Deployment, who: Actor, asked: Wanted) -> LookedUp:
    """What of a run's names and limits its place does not have: every reason to refuse the run, and nothing is done.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    return LookedUp(tuple(map(Staged.by, specification.look_up(at.db, asked).refusals)))


def upload(at: Deployment, who: Actor, asked: Upload, content: BinaryIO) -> Uploaded:
    """Store a source, all of it in a file, for runs of its project; only who sent all of it may use it.

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
        SealrunError: as of `prepare` and `accept`.
        SourceUnavailable: who asks has not sent its source, or it is deleted since.
    """
    return accept(at, who, Prepared(Reception(at.db, at.settings, who.name).specification(asked)))


def submit_many(at: Deployment, who: Actor, asked: Orders) -> list[Submitted]:
    """Accept runs that were ordered together, in one transaction: all of them or none.

    Raises:
        SealrunError: as of `submit`, of one of them; the message begins with which.
        RequestUnclear: they are too many, or too large.
    """
    _check_count(len(asked.items))
    reception, prepared = Reception(at.db, at.settings, who.name), []
    for place, order in enumerate(asked.items):
        try:
            prepared.append(Prepared(reception.specification(order)))
        except SealrunError as error:
            error.place(f"items[{place}]")
            raise
    return accept_all(at, who, prepared)


def retry(at: Deployment, who: Actor, asked: Again) -> Submitted:
    """Make a new run of one that is over: the same target, source and secrets; what is given now stands over the rest.

    Raises:
        SealrunError: as of `prepare_again` and `accept`; or something that is given now cannot be.
        Forbidden: its source is a folder of a machine, and who asks through a server may not manage its place.
    """
    spec = repeated(at.db, at.settings, _id(at, asked), asked)
    if spec.host is not None and isinstance(who, KnownActor):  # others change a folder after somebody looked at it
        at_place = PlaceOf(spec.project_id, spec.project, spec.environment_id, spec.environment)
        who.principal.require("manage", at=at_place)
    return accept(at, who, Prepared(spec))


def _check_count(count: int) -> None:
    if count > MOST_AT_ONCE:
        raise RequestUnclear(
            "{count} runs are submitted at once, of {most} at most",
            count=f"{count:,}",
            most=f"{MOST_AT_ONCE:,}",
            hint=_IN_PARTS,
        )


def list_(at: Deployment, who: Actor, asked: ThoseRuns) -> Sequence[RunView]:
    """Runs as they are, the latest first, without results and receipts.

    Raises:
        UnknownProject: there is none of this name.
        RequestUnclear: there is no such state, or the limit is not above 0.
    """
    if asked.state is not None and asked.state not in STATES:
        raise RequestUnclear("a state is one of {states}", states=", ".join(STATES))
    if asked.limit < 1:
        raise RequestUnclear("limit is above 0")
    project_id = vault.get_project(at.db, asked.project).id if asked.project is not None else None
    sight = Sight.of(who, "see")
    found = history.list_runs(at.db, project_id, asked.limit, asked.state, before=asked.before, sight=sight)
    followed = history.followed(at.db, who, [one.id for one in found])
    return [one if one.id in followed else one.without_output() for one in found]


def show(at: Deployment, who: Actor, asked: ThatAttempt) -> RunView:
    """All there is to know of a run, receipts included; what it left only where who asks may follow runs there.

    Raises:
        UnknownRun: none is meant, or several are.
        UnknownProject: there is none of this name.
        RequestUnclear: it has no such attempt.
    """
    view = _look(at, who, asked)
    if isinstance(who, KnownActor) and view != view.without_output():
        record_read(at.db, who, PlaceOf(*history.place_of(at.db, view.id)), view.id, "result")
    return view


def kept(at: Deployment, who: Actor, asked: ThatAttempt) -> RunView:
    """The same, for what needs what the run left.

    Raises:
        UnknownRun, UnknownProject, RequestUnclear: as `show`.
        RunPruned: that is deleted.
        ProjectDeleted: its project is.
    """
    view = _look(at, who, asked)
    history.require_kept(at.db, view.id)
    return view


def state(at: Deployment, who: Actor, asked: ThatRun) -> str:
    """A run's state alone.

    Raises:
        UnknownRun: none is meant, or several are.
    """
    return history.state_of(at.db, _id(at, asked))


def logs(at: Deployment, who: Actor, asked: OutputOf) -> Iterator[StoredPiece]:
    """A run's masked output as far as there is any.

    Raises:
        UnknownRun: none is meant, or several are.
        RequestUnclear: there is no such stream, or no such attempt.
        RunPruned, ProjectDeleted: its output is deleted, or its project.
    """
    _check_streams(asked)
    run_id = kept(at, who, ThatAttempt(run=asked.run, project=asked.project, attempt=asked.attempt)).id
    return _pieces(at, run_id, asked)


def logs_page(at: Deployment, who: Actor, asked: OutputOf, *, limit: int) -> list[StoredPiece]:
    """So many pieces of a run's masked output; it raises what `logs` does."""
    _check_streams(asked)
    run_id = kept(at, who, ThatAttempt(run=asked.run, project=asked.project, attempt=asked.attempt)).id
    return output.read(at.db, run_id, asked.after, limit, streams=asked.streams, attempt=asked.attempt)[0]


def following(at: Deployment, who: Actor, asked: OutputOf, *, at_a_time: int) -> Following:
    """A run to look at again and again, for a door that does other things in between; it raises what `follow` does."""
    _check_streams(asked)
    run_id = _id(at, asked)
    history.require_kept(at.db, run_id)
    follower.follow(at.db, run_id)
    return Following(at.db, run_id, asked.after, streams=asked.streams, at_a_time=at_a_time)


def open_file(at: Deployment, who: Actor, asked: FileOf) -> OpenFile:
    """A file that a run left.

    Raises:
        UnknownRun, RunPruned, ProjectDeleted: there is nothing of such a run.
        UnknownOutput: it left no such file, or the file is withheld.
    """
    view = kept(at, who, ThatAttempt(run=asked.run, project=asked.project, attempt=asked.attempt))
    for file in view.outputs:
        if file.path == asked.path and file.withheld is None and file.size is not None:
            return OpenFile(file.size, files.parts(at.db, view.id, view.attempt, file.path))
        if file.path == asked.path:
            raise UnknownOutput(
                "{path} of run {run} is withheld: {why}", path=file.path, run=view.id[:8], why=file.withheld
            )
    raise UnknownOutput(path=asked.path, run=view.id[:8])


def follow(at: Deployment, who: Actor, asked: OutputOf, *, until: float | None = None) -> Iterator[Look]:
    """One look at a run after another, until it is over, or until this moment of the monotonic clock.

    A database that goes away is waited for.

    Raises:
        UnknownRun: none is meant, or several are.
        RequestUnclear: there is no such stream.
        RunPruned, ProjectDeleted: there is no output to follow any more.
        DatabaseUnavailable: the database was away for too long.
    """
    _check_streams(asked)
    return _followed(at, _id(at, asked), asked, until)


def cancel(at: Deployment, who: Actor, asked: ThatRun) -> Cancelled:
    """Cancel a run: at once while it waits, else by asking its worker to end it.

    Raises:
        UnknownRun: none is meant, or several are.
        RunOver: it has ended; its outcome stands.
    """
    run_id = _id(at, asked)
    return Cancelled(run_id, cancelling.cancel(at.db, at.settings, run_id, who.name))


def download(at: Deployment, who: Actor, asked: Download) -> Downloaded:
    """Write the files that a run, or an attempt of it, left below a folder; one that is there is replaced.

    Raises:
        UnknownRun: none is meant, or several are.
        RequestUnclear: it has no such attempt.
        RunPruned, ProjectDeleted: they are deleted, or its project.
        FolderUnusable: one could not be written; those before it are.
    """
    view = kept(at, who, ThatAttempt(run=asked.run, project=asked.project, attempt=asked.attempt))
    try:
        written = files.download(at.db, view.id, view.attempt, asked.folder)
    except OSError as error:
        raise FolderUnusable(
            "nothing can be written to {path}: {why}", path=asked.folder, why=(error.strerror or "").lower()
        ) from None
    withheld = tuple(file for file in view.outputs if file.withheld is not None)
    masked = tuple(file for file in view.outputs if file.masked)
    return Downloaded(view.id, asked.folder, tuple(written), withheld, masked)


def _look(at: Deployment, who: Actor, asked: ThatAttempt) -> RunView:
    """A run, without what it left where who asks may not follow it."""
    view = history.show(at.db, _id(at, asked))
    if asked.attempt is not None and asked.attempt not in {one.number for one in view.attempts}:
        had = f"it had {view.attempt}" if view.attempts else "it had none yet"
        raise RequestUnclear(
            "run {run} has no attempt {attempt}: {had}",
            run=view.id[:8],
            attempt=asked.attempt,
            had=had,
            hint=f"it is shown with all of them by: sealrun runs show {view.id[:8]}",
        )
    if asked.attempt is not None:
        view = history.show(at.db, view.id, asked.attempt)
    return view if history.followed(at.db, who, [view.id]) else view.without_output()


def _prepared(at: Deployment, asked: RunRequest, remembered: Remembered | Batch | None) -> Prepared:
    for name in asked.variables:
        check_submitted_name(name)
    found = specify(at.db, at.settings, asked, remembered)
    return Prepared(found.spec, found.notes)


def _id(at: Deployment, asked: ThatRun) -> str:
    """The id of the run that is meant. One in full is not looked up: what is asked of it next says if there is none."""
    if asked.project is None and len(asked.run) == _ID:
        return asked.run
    project_id = vault.get_project(at.db, asked.project).id if asked.project is not None else None
    return history.find(at.db, asked.run, project_id)


def _pieces(at: Deployment, run_id: str, asked: OutputOf) -> Iterator[StoredPiece]:
    place = asked.after
    while True:
        pieces, place = output.read(at.db, run_id, place, streams=asked.streams, attempt=asked.attempt)
        if not pieces:
            return
        yield from pieces


def _followed(at: Deployment, run_id: str, asked: OutputOf, until: float | None) -> Iterator[Look]:
    looked = False
    if asked.streams != ():
        with contextlib.suppress(DatabaseUnavailable):  # it is only read more slowly
            follower.follow(at.db, run_id)
    for look in looks(at.db, run_id, asked.after, streams=asked.streams, until=until):
        if not looked and not look.away and asked.streams != ():
            history.require_kept(at.db, run_id)
        looked = looked or not look.away
        yield look


def _check_streams(asked: OutputOf) -> None:
    if unknown := set(asked.streams or ()) - set(STREAMS):
        raise RequestUnclear(
            "{stream} is none of the streams {streams}", stream=min(unknown), streams=", ".join(STREAMS)
        )
