"""The Python API: the verbs of the command line, for scripts, notebooks and web processes.

    from executor import Client

    client = Client("shop")
    run = client.run("jobs/load.py:load", args={"day": "2026-03-01"})
    print(run.result)

Nothing here prints, ends the process, handles a signal or needs an event loop; threads may share a client, and a
process that forks may go on using it on both sides. See docs/reference/api.md.
"""

import atexit
import builtins
import codecs
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, Unpack

from executor.errors import Problem, RequestUnclear, WaitTimedOut
from executor.operations import runs, workers
from executor.operations.deployment import Deployment
from executor.remote.choosing import chosen
from executor.schemas.asking import asked
from executor.schemas.endings import unsuccessful
from executor.schemas.output import BEGINNING, STREAMS, OutputFile, Place, StoredPiece
from executor.schemas.run_keywords import RunKeywords
from executor.schemas.run_operations import Download, OutputOf, ThatAttempt, ThatRun, ThoseRuns
from executor.schemas.run_request import RunRequest
from executor.schemas.runs import OVER, RunView
from executor.settings import read_settings
from executor.submission.called import (
    WHAT,
    arguments_of,
    by_name,
    check_options,
    check_seconds,
    environ_of,
    folder_of,
    item_of,
    items_of,
    names_of,
    target_of,
)
from executor.submission.context import maybe_project, nearest_project_file
from executor.submission.remembered import Remembered
from secretstore.audit import Actor
from secretstore.errors import DatabaseUnavailable, SealrunError

if TYPE_CHECKING:
    from executor.remote.server import Server

P = ParamSpec("P")
T = TypeVar("T")

Stream = Literal["stdout", "stderr", "setup"]

_MIND = 0.5  # seconds between two looks for a worker that a run waits for
_NO_OUTPUT: tuple[str, ...] = ()


@dataclass(frozen=True)
class LogPiece:
    """A piece of a run's masked output.

    `text` is its bytes as UTF-8; a character that two pieces share stands in the later one, and what is no text becomes
    U+FFFD. `place` is where to go on from: `run.logs(after=piece.place)`.
    """

    stream: Stream
    at: datetime
    data: bytes
    text: str
    place: Place


class Client:
    """Submits runs, and finds those that were submitted.

    Args:
        project: the project where a call names none; else SEALRUN_PROJECT, else the project file's, once that is
            allowed (`sealrun allow`).
        environment: the environment where a call names none; else SEALRUN_ENV, else the project file's, else `default`.
        settings: the SEALRUN_… settings by name, in the place of all those in this process's environment. With
            SEALRUN_SERVER, or after `sealrun login`, the client speaks to a server and needs no database.

    Making one reads the settings and connects to nothing.

    Raises:
        SettingsProblem: the settings cannot be used.
    """

    _open: "Deployment | Server | None"

    def __init__(
        self, project: str | None = None, environment: str | None = None, *, settings: Mapping[str, str] | None = None
    ) -> None:
        self._environ = environ_of(settings)
        self._settings = read_settings(self._environ)
        self._project = project
        self._environment = environment
        self._begin()
        _clients.add(self)

    def __repr__(self) -> str:
        return f"Client({self._project!r}, {self._environment!r})"

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are not in use. The client can be used again, and its runs go on."""
        with self._lock:
            if self._open is not None:
                self._open.close()

    def run(
        self,
        target: str | None = None,
        *,
        module: str | None = None,
        command: Sequence[str] | None = None,
        argv: Sequence[str] = (),
        args: Mapping[str, Any] | Sequence[Any] = (),
        folder: str | os.PathLike[str] | None = None,
        **options: Unpack[RunKeywords],
    ) -> "Run":
        """Submit a run and return at once; one of `target`, `module` and `command` says what of.

        A broker that does not answer is no error: workers look for waiting runs themselves. With nothing configured a
        worker is started where none lives, as `sealrun run` does.

        Args:
            target: `path.py`, `path.py:function`, or `path.ipynb`.
            module: a module to run as `python -m` does, from the source root.
            command: a program and its words.
            argv: the words for a file or a module.
            args: a function's arguments, JSON values: by name as a mapping, or by position as a list; a notebook's
                parameters as a mapping.
            folder: where relative paths and the search for the source root begin, else the current folder.
            options: the options of `sealrun run`, which `executor.schemas.run_keywords.RunKeywords` lists; the project
                and the environment are the client's where none are given.

        Raises:
            SealrunError: it was not accepted; the same errors as `sealrun run` has.
        """
        request = self._request(target, module, command, argv, args, folder, options)
        return Run(self, self._ask(runs.accept, self._ask(runs.prepare, request)).run_id)

    def run_many(self, items: Iterable[Mapping[str, Any]], **common: Any) -> "builtins.list[Run]":
        """Submit several runs in one transaction, all of them or none, and return at once.

        Each has its own idempotency key, if any: one that was accepted before is returned in its place.

        Args:
            items: for each run what `run` takes, by name: `{"target": "load.py:load", "args": {"day": day}}`.
            common: what `run` takes, for all of them that do not say otherwise.

        Returns:
            The runs, in this order.

        Raises:
            SealrunError: one was not accepted, and so none is; the same errors as `run` has, whose message begins with
                which it is, as in `items[2]`.
        """
        requests = []
        for place, item in enumerate(items_of(items)):
            try:
                requests.append(self._request(**by_name({**WHAT, **common, **item_of(item)})))
            except SealrunError as error:
                error.place(f"items[{place}]")
                raise
        accepted = self._ask(runs.accept_all, self._ask(runs.prepare_all, requests))
        return [Run(self, one.run_id) for one in accepted]

    def _request(
        self,
        target: str | None,
        module: str | None,
        command: Sequence[str] | None,
        argv: Sequence[str],
        args: Mapping[str, Any] | Sequence[Any],
        folder: str | os.PathLike[str] | None,
        options: Mapping[str, Any],
    ) -> RunRequest:
        check_options(options, WHAT)
        wanted = target_of(target, module, command, argv)
        by_name, by_position = arguments_of(wanted, args)
        mine = {"project": self._project, "environment": self._environment}
        given = {name: value for name, value in options.items() if value is not None}
        return asked(
            RunRequest,
            target=wanted,
            values=by_name,
            positional=by_position,
            folder=None if folder is None else folder_of(folder).absolute(),
            search_path=self._environ.get("PATH"),
            **mine | given,
        )

    def get(self, reference: str) -> "Run":
        """A run by its id, the beginning of one, or `@last` for the latest of the client's project, if it has one.

        Raises:
            UnknownRun: there is none, or it is the beginning of several.
            RequestUnclear: it is no text.
        """
        project = self._named(None) if reference == "@last" else None
        that = asked(ThatAttempt, run=reference, project=project)
        return Run(self, self._ask(runs.show, that).id)

    def list(self, *, project: str | None = None, state: str | None = None, limit: int = 20) -> Sequence[RunView]:
        """Runs as they are now, the latest first, without results and receipts: of the project, else of all.

        Raises:
            UnknownProject: there is none of this name.
            RequestUnclear: there is no such state.
        """
        return self._ask(runs.list_, asked(ThoseRuns, project=self._named(project), state=state, limit=limit))

    def _named(self, project: str | None) -> str | None:
        return maybe_project(self._settings, project or self._project)

    def _begin(self) -> None:
        """As in a new process: no connection yet."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._open = None

    def _forked(self) -> None:
        # Neither used nor closed in a child: the other end of a connection would take it for the parent's word.
        _inherited.append(self._open)
        self._begin()

    @property
    def _at(self) -> "Deployment | Server":
        """The deployment or the server, opened when it is first needed."""
        if self._pid != os.getpid():
            # A process that was forked without Python's knowledge, as uWSGI does.
            self._forked()
        with self._lock:
            if self._open is None:
                self._open = self._begun()
            return self._open

    def _begun(self) -> "Deployment | Server":
        """What is asked: the server that is chosen, else the database of the settings."""
        server = chosen(self._settings, self._environ, nearest_project_file())
        if server is None:
            return Deployment.open(self._settings, environ=self._environ, remembered=Remembered())
        from executor.remote.server import Server  # an HTTP client takes a while to import

        return Server(self._settings, server.origin, server.token, remembered=Remembered())

    def _ask(self, operation: Callable[Concatenate[Deployment, Actor, P], T], *asked: P.args, **more: P.kwargs) -> T:
        return self._at.ask(Actor(self._settings.store.actor, "api"), operation, *asked, **more)


class Run:
    """A run that was accepted. What is asked of it is looked up in the database, each time anew."""

    def __init__(self, client: Client, run_id: str) -> None:
        self._client = client
        self._id = run_id

    def __repr__(self) -> str:
        return f"<Run {self._id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)

    @property
    def id(self) -> str:
        """Its id."""
        return self._id

    @property
    def state(self) -> str:
        """`pending`, `running`, `succeeded`, `failed` or `cancelled`."""
        return self._ask(runs.state, self._that)

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self.state in OVER

    @property
    def reason(self) -> str | None:
        """Why it ended so, as a word; None before its end and after a success."""
        return self.show().reason

    @property
    def message(self) -> str | None:
        """Why it ended so, as a sentence."""
        return self.show().message

    @property
    def exit_code(self) -> int | None:
        """What its program ended with; None where it did not come to that."""
        return self.show().exit_code

    @property
    def problem(self) -> Problem | None:
        """What was raised in it, masked: type, message, traceback and causes. Does not wait."""
        return self.show().problem

    @property
    def outputs(self) -> tuple[OutputFile, ...]:
        """The files that it left. Does not wait."""
        return self.show().outputs

    @property
    def waiting_for(self) -> str | None:
        """While nobody has taken it: what no live worker offers; None where one does."""
        return self.show().waiting_for

    @property
    def result(self) -> Any:
        """What its function returned, masked, or None for what returns nothing. Waits until the run is over.

        A value that could not be stored is None here, and `show().note` says so.

        Raises:
            RunFailed: it failed; RunTimedOut, RunOutOfMemory, RunLost and RunNeverStarted are kinds of that.
            RunCancelled: it was cancelled.
            RunPruned: it was deleted since.
        """
        self.wait(check=True)
        return self._ask(runs.kept, ThatAttempt(run=self._id)).result

    def show(self) -> RunView:
        """All there is to know of it now, receipts included."""
        return self._ask(runs.show, ThatAttempt(run=self._id))

    def wait(self, timeout: float | None = None, *, check: bool = False) -> "Run":
        """Wait until it is over, and return it. A database that goes away is waited for, too, for ten minutes at most.

        Args:
            timeout: for how many seconds at most.
            check: raise for a run that did not succeed.

        Raises:
            WaitTimedOut: it is not over; also a TimeoutError. The run goes on.
            WaitRefused: this is a Celery task in a slot of a worker that the run may need, and it is not over.
            StandbyFailed: the worker that was started for it has ended with an error; the run still waits.
            RunFailed, RunCancelled: see `result`; with `check` alone.
        """
        check_seconds(timeout=timeout)
        for _ in self._looks(BEGINNING, timeout, _NO_OUTPUT):
            pass
        if check:
            view = self.show()
            if view.state != "succeeded":
                raise unsuccessful(view)
        return self

    def logs(
        self,
        follow: bool = False,
        *,
        after: Place | str | None = None,
        streams: Collection[Stream] | None = None,
        timeout: float | None = None,
    ) -> Iterator[LogPiece]:
        """Its masked output in order, over all its attempts.

        Args:
            follow: go on as it comes, until the run is over; else what there is now.
            after: begin behind this place, the `place` of a piece or that as text.
            streams: of these streams alone.
            timeout: with `follow`, for how many seconds at most.

        Raises:
            RequestUnclear: `after` is no place.
            RequestUnclear: there is no such stream.
            WaitTimedOut: the run is not over after so many seconds.
        """
        check_seconds(timeout=timeout)
        if unknown := set(names_of("streams", streams) or ()) - set(STREAMS):
            raise RequestUnclear(
                "{stream} is none of the streams {streams}", stream=min(unknown), streams=", ".join(STREAMS)
            )
        begin = Place.parse(after) if isinstance(after, str) else after or BEGINNING
        return self._pieces(follow, begin, streams, timeout)

    def download(self, folder: str | os.PathLike[str], *, attempt: int | None = None) -> Sequence[Path]:
        """Write the files that it left below a folder, and return their paths; one that is there is replaced.

        Args:
            folder: where to; made if it is not there.
            attempt: what this attempt left, else the last.

        Raises:
            FolderUnusable: one could not be written.
            RequestUnclear: it has no such attempt.
        """
        of_it = asked(Download, run=self._id, folder=folder_of(folder), attempt=attempt)
        found = self._ask(runs.download, of_it)
        return list(found.written)

    def cancel(self) -> bool:
        """Cancel it. True where it is cancelled already, False where its worker was asked to end it.

        Raises:
            RunOver: it has ended; its outcome stands.
        """
        return self._ask(runs.cancel, self._that).cancelled

    def _ask(self, operation: Callable[Concatenate[Deployment, Actor, P], T], *asked: P.args, **more: P.kwargs) -> T:
        return self._client._ask(operation, *asked, **more)

    @property
    def _that(self) -> ThatRun:
        return ThatRun(run=self._id)

    def _pieces(
        self, follow: bool, place: Place, streams: Collection[str] | None, timeout: float | None
    ) -> Iterator[LogPiece]:
        told = _Told()
        if follow:
            for found in self._looks(place, timeout, streams):
                yield from map(told, found)
            return
        yield from map(told, self._ask(runs.logs, OutputOf(run=self._id, after=place, streams=streams)))

    def _looks(
        self, place: Place, timeout: float | None, streams: Collection[str] | None
    ) -> Iterator[Sequence[StoredPiece]]:
        """New output until the run is over; meanwhile a run that waits is given a worker, where that is ours to do."""
        mind_at, state, may_wait = 0.0, "pending", False
        until = None if timeout is None else time.monotonic() + timeout
        for look in self._ask(runs.follow, OutputOf(run=self._id, after=place, streams=streams), until=until):
            state = look.state
            yield look.pieces
            if not may_wait and not look.away and state not in OVER:
                self._ask(workers.check_may_wait, self._that)
                may_wait = True
            if state == "pending" and not look.away and time.monotonic() >= mind_at:
                mind_at = time.monotonic() + _MIND
                try:
                    self._ask(workers.attend, self._that)
                except DatabaseUnavailable:
                    continue  # the next look finds out
        if state not in OVER:
            raise WaitTimedOut(run=self._id[:8], seconds=timeout, state=state or "not known how far it is")


class _Told:
    """Pieces with their bytes as text, each stream on its own."""

    def __init__(self) -> None:
        self._decoders: dict[tuple[int, str], codecs.IncrementalDecoder] = {}

    def __call__(self, piece: StoredPiece) -> LogPiece:
        key = (piece.attempt, piece.stream)
        decoder = self._decoders.setdefault(key, codecs.getincrementaldecoder("utf-8")(errors="replace"))
        text = decoder.decode(piece.data)
        return LogPiece(piece.stream, piece.at, piece.data, text, piece.place)  # type: ignore[arg-type]  # one of STREAMS


_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()
_inherited: "list[object]" = []
"""What a forked process has of its parent's, kept so that nothing of it is ever closed there."""


@atexit.register
def _before_fork() -> None:
    """A child must find no open connection: SQLite's locks, above all, are not its own. Nor must an exit."""
    for client in list(_clients):
        if isinstance(client._open, Deployment):
            client._open.db.close()


def _after_fork() -> None:
    for client in list(_clients):
        client._forked()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
