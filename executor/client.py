"""The Python API: the verbs of the command line, for scripts, notebooks and web processes.

    from executor import Client

    client = Client("shop")
    run = client.run("jobs/load.py:load", args={"day": "2026-03-01"})
    print(run.result)

Nothing here prints, ends the process, handles a signal or needs an event loop; threads may share a client, and a
process that forks may go on using it on both sides. See docs/reference/api.md.
"""

import atexit
import codecs
import json
import os
import threading
import time
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from celery import Celery

from executor import runs
from executor.broker.application import make_app
from executor.database import open_database
from executor.errors import (
    RequestUnclear,
    RunCancelled,
    RunFailed,
    RunLost,
    RunNeverStarted,
    RunOutOfMemory,
    RunTimedOut,
    WaitTimedOut,
)
from executor.records import files as outputs
from executor.records import history, logs
from executor.records.files import OutputFile
from executor.records.following import looks
from executor.records.history import RunView
from executor.records.logs import BEGINNING, Place, StoredPiece
from executor.runs import cancelling, unserved, workers
from executor.runs.needs import live_workers
from executor.settings import read_settings
from executor.submission import submit
from executor.submission.context import maybe_project
from executor.submission.specification import Request, specify
from executor.submission.standby import Standby
from executor.submission.target import Target, check_module, parse
from secretstore import vault
from secretstore.database import Database
from secretstore.errors import DatabaseUnavailable
from secretstore.naming import check_variable_name

Stream = Literal["stdout", "stderr", "setup"]

_MIND = 0.5  # seconds between two looks for a worker that a run waits for
_NO_OUTPUT: tuple[str, ...] = ()
_STATES = ("pending", "running", *runs.OVER)


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
        project: the project where a call names none; else SEALRUN_PROJECT, else the project file's.
        environment: the environment where a call names none; else SEALRUN_ENV, else the project file's, else `default`.
        settings: the SEALRUN_… settings by name, in the place of all those in this process's environment.

    Making one reads the settings and connects to nothing.

    Raises:
        SettingsProblem: the settings cannot be used.
    """

    _db: Database | None
    _app: Celery | None

    def __init__(
        self, project: str | None = None, environment: str | None = None, *, settings: Mapping[str, str] | None = None
    ) -> None:
        self._environ = _environ(settings)
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
            if self._db is not None:
                self._db.close()
            if self._app is not None:
                self._app.close()
                self._app = None

    def run(
        self,
        target: str | None = None,
        *,
        module: str | None = None,
        command: Sequence[str] | None = None,
        argv: Sequence[str] = (),
        args: Mapping[str, Any] | Sequence[Any] = (),
        project: str | None = None,
        environment: str | None = None,
        secrets: Sequence[str] | None = None,
        sources: Mapping[str, str] | None = None,
        catalogs: Mapping[str, str] | None = None,
        connections: bool = True,
        variables: Mapping[str, str] | None = None,
        timeout: float | None = None,
        python: str | None = None,
        packages: Sequence[str] = (),
        requirements_file: str | None = None,
        setup_secrets: Sequence[str] = (),
        bundle: bool | None = None,
        retries: int = 0,
        retry_on: Sequence[str] | None = None,
        queue_timeout: float | None = None,
        idempotency_key: str | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> "Run":
        """Submit a run and return at once; one of `target`, `module` and `command` says what of.

        A broker that does not answer is no error: workers look for waiting runs themselves. With nothing configured a
        worker is started where none lives, as `sealrun run` does.

        Args:
            target: `path.py`, or `path.py:function`.
            module: a module to run as `python -m` does, from the source root.
            command: a program and its words.
            argv: the words for a file or a module.
            args: a function's arguments, JSON values: by name as a mapping, or by position as a list.
            project: the project, else the client's.
            environment: the environment, else the client's.
            secrets: names of the secrets to give; None for all of the environment's, [] for none.
            sources: parameters of a function that are data sources, each with the source's name.
            catalogs: parameters that are catalogs, each with the catalog's name.
            connections: give all data sources and catalogs of the environment; else those alone that parameters are.
            variables: plain variables for this run, never masked.
            timeout: seconds after which the run is ended.
            python: a version, an interpreter or a virtual environment.
            packages: what the run's own Python environment is to have beside what its source asks for.
            requirements_file: a file to build it from.
            setup_secrets: names of the secrets that building it is given.
            bundle: upload the source root, or not; None leaves it to what is configured.
            retries: how often to try again after a failure.
            retry_on: the reasons to try again for; None for the usual ones.
            queue_timeout: seconds after which to give up if no worker can take it.
            idempotency_key: a second run of the project with this key is the first.
            folder: where relative paths and the search for the source root begin, else the current folder.

        Raises:
            SealrunError: it was not accepted; the same errors as `sealrun run` has.
        """
        _check_texts(
            target=target, module=module, project=project, environment=environment, python=python,
            idempotency_key=idempotency_key,
        )  # fmt: skip
        _check_seconds(timeout=timeout, queue_timeout=queue_timeout)
        _check_whole("retries", retries)
        wanted = _target(target, module, command, argv)
        by_name, by_position = _arguments(wanted, args)
        request = Request(
            target=wanted,
            project=project or self._project,
            environment=environment or self._environment,
            values=by_name,
            positional=by_position,
            variables=_checked(variables or {}),
            secrets=_names("secrets", secrets),
            sources=dict(sources or {}),
            catalogs=dict(catalogs or {}),
            connections=connections,
            timeout=timeout,
            python=python,
            packages=_names("packages", packages) or (),
            requirements_file=requirements_file,
            setup_secrets=_names("setup_secrets", setup_secrets) or (),
            bundle=bundle,
            retries=retries,
            retry_on=_names("retry_on", retry_on),
            queue_timeout=queue_timeout,
            idempotency_key=idempotency_key,
            folder=None if folder is None else Path(folder).absolute(),
            search_path=self._environ.get("PATH"),
        )
        db, settings = self._database(), self._settings
        spec = specify(db, settings, request)
        accepted = submit.accept(db, settings, self._application, spec, settings.store.actor, self._standby)
        return Run(self, accepted.run_id)

    def get(self, reference: str) -> "Run":
        """A run by its id, the beginning of one, or `@last` for the latest of the client's project, if it has one.

        Raises:
            UnknownRun: there is none.
            UnknownRun: it is the beginning of several.
        """
        db = self._database()
        return Run(self, history.find(db, reference, self._project_id(None) if reference == "@last" else None))

    def list(self, *, project: str | None = None, state: str | None = None, limit: int = 20) -> Sequence[RunView]:
        """Runs as they are now, the latest first, without results and receipts: of the project, else of all.

        Raises:
            UnknownProject: there is none of this name.
            RequestUnclear: there is no such state.
        """
        if state is not None and state not in _STATES:
            raise RequestUnclear("a state is one of {states}", states=", ".join(_STATES))
        _check_whole("limit", limit)
        if limit < 1:
            raise RequestUnclear("limit is above 0")
        return history.list_runs(self._database(), self._project_id(project), limit, state)

    def _project_id(self, project: str | None) -> str | None:
        name = maybe_project(self._settings, project or self._project)
        return vault.get_project(self._database(), name).id if name is not None else None

    def _begin(self) -> None:
        """As in a new process: no connection yet."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._db = None
        self._app = None
        self._standby = Standby(self._settings, self._environ)

    def _here(self) -> None:
        """In a process that was forked without Python's knowledge, as uWSGI does, leave the parent's things alone."""
        if self._pid != os.getpid():
            self._forked()

    def _forked(self) -> None:
        # Neither used nor closed in a child: the other end of a connection would take it for the parent's word.
        _inherited.append((self._db, self._app, self._standby))
        self._begin()

    def _database(self) -> Database:
        self._here()
        with self._lock:
            if self._db is None:
                self._db = open_database(self._settings)
            return self._db

    def _application(self) -> Celery:
        with self._lock:
            if self._app is None:
                self._app = make_app(self._settings)
            return self._app

    def _mind_workers(self, db: Database, run_id: str) -> None:
        """A run that waits is given a worker where nothing is configured; elsewhere it is ended when its time is over.

        Workers do that for each other's runs; where none lives, its follower does.
        """
        if self._settings.embedded:
            if not live_workers(self._settings, db):
                self._standby.ensure()
        elif not workers.list_workers(db, alive_only=True):
            unserved.end_unserved(db, self._settings.queue_timeout, run_id=run_id)


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
        return history.state_of(self._db, self._id)

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self.state in runs.OVER

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
    def problem(self) -> dict[str, Any] | None:
        """What was raised in it, masked: type, message and traceback. Does not wait."""
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
        """
        return self.wait(check=True).show().result

    def show(self) -> RunView:
        """All there is to know of it now, receipts included."""
        return history.show(self._db, self._id)

    def wait(self, timeout: float | None = None, *, check: bool = False) -> "Run":
        """Wait until it is over, and return it. A database that goes away is waited for, too, for ten minutes at most.

        Args:
            timeout: for how many seconds at most.
            check: raise for a run that did not succeed.

        Raises:
            WaitTimedOut: it is not over; also a TimeoutError. The run goes on.
            StandbyFailed: the worker that was started for it has ended with an error; the run still waits.
            RunFailed, RunCancelled: see `result`; with `check` alone.
        """
        _check_seconds(timeout=timeout)
        for _ in self._looks(BEGINNING, timeout, _NO_OUTPUT):
            pass
        if check:
            view = self.show()
            if view.state != "succeeded":
                raise _unsuccessful(view)
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
        _check_seconds(timeout=timeout)
        if unknown := set(_names("streams", streams) or ()) - set(logs.STREAMS):
            raise RequestUnclear(
                "{stream} is none of the streams {streams}", stream=min(unknown), streams=", ".join(logs.STREAMS)
            )
        begin = Place.parse(after) if isinstance(after, str) else after or BEGINNING
        return self._pieces(follow, begin, streams, timeout)

    def download(self, folder: str | os.PathLike[str]) -> Sequence[Path]:
        """Write the files that it left below a folder, and return their paths; one that is there is replaced.

        Raises:
            FolderUnusable: one could not be written.
        """
        return outputs.download(self._db, self._id, self.show().attempt, Path(folder))

    def cancel(self) -> bool:
        """Cancel it. True where it is cancelled already, False where its worker was asked to end it.

        Raises:
            RunOver: it has ended; its outcome stands.
        """
        settings = self._client._settings
        return cancelling.cancel(self._db, settings, self._id, settings.store.actor)

    @property
    def _db(self) -> Database:
        return self._client._database()

    def _pieces(
        self, follow: bool, place: Place, streams: Collection[str] | None, timeout: float | None
    ) -> Iterator[LogPiece]:
        told = _Told()
        if follow:
            for found in self._looks(place, timeout, streams):
                yield from map(told, found)
            return
        while True:
            pieces, place = logs.read(self._db, self._id, place, streams=streams)
            if not pieces:
                return
            yield from map(told, pieces)

    def _looks(
        self, place: Place, timeout: float | None, streams: Collection[str] | None
    ) -> Iterator[Sequence[StoredPiece]]:
        """New output until the run is over; meanwhile a run that waits is given a worker, where that is ours to do."""
        db, mind_at, state = self._db, 0.0, "pending"
        until = None if timeout is None else time.monotonic() + timeout
        for look in looks(db, self._id, place, streams=streams, until=until):
            state = look.state
            yield look.pieces
            if state == "pending" and not look.away and time.monotonic() >= mind_at:
                mind_at = time.monotonic() + _MIND
                try:
                    self._client._mind_workers(db, self._id)
                except DatabaseUnavailable:
                    continue  # the next look finds out
        if state not in runs.OVER:
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


_KINDS: dict[str | None, type[RunFailed]] = {
    "timed_out": RunTimedOut,
    "out_of_memory": RunOutOfMemory,
    "setup_failed": RunNeverStarted,
    "secrets_unavailable": RunNeverStarted,
    "no_capable_worker": RunNeverStarted,
}


def _unsuccessful(view: RunView) -> RunFailed | RunCancelled:
    """How a run ended, as an error: with the exit code that `sealrun run` would have."""
    facts: dict[str, Any] = {"state": view.state, "reason": view.reason, "problem": view.problem}
    how = view.message or view.reason or view.state
    if view.state == "cancelled":
        return RunCancelled(run=view.id[:8], how=how, **facts)
    kind = _KINDS.get(view.reason, RunFailed)
    if view.reason == "lost":
        kind = RunLost if view.started_at is not None else RunNeverStarted
    code = None
    if kind is RunFailed:
        code = view.exit_code or (128 + view.signal if view.signal else 1)
    return kind(run=view.id[:8], how=how, exit_code=code, **facts)


def _environ(settings: Mapping[str, str] | None) -> dict[str, str]:
    if settings is None:
        return dict(os.environ)
    if foreign := [name for name in settings if not name.startswith("SEALRUN_")]:
        raise RequestUnclear("the client's settings are SEALRUN_… names, and {name} is none", name=min(foreign))
    rest = {name: value for name, value in os.environ.items() if not name.startswith("SEALRUN_")}
    return rest | dict(settings)


def _target(target: str | None, module: str | None, command: Sequence[str] | None, argv: Sequence[str]) -> Target:
    if sum(given is not None for given in (target, module, command)) != 1:
        raise RequestUnclear("one of target, module and command says what to run")
    words = tuple(_names("argv", argv) or ())
    if command is not None:
        named = _names("command", command)
        if not named or words:
            raise RequestUnclear("command is a program and all of its words")
        return Target("command", argv=tuple(named))
    if module is not None:
        check_module(module)
        return Target("module", name=module, argv=words)
    assert target is not None
    if target.startswith("-"):
        raise RequestUnclear("{target} is no file; see module= and command=", target=target)
    found = parse([target])
    if found.kind == "function" and words:
        raise RequestUnclear("argv is for files and modules; a function takes args")
    return Target(found.kind, found.path, found.name, words)


def _arguments(wanted: Target, args: Mapping[str, Any] | Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
    """By name, and by position."""
    if isinstance(args, str | bytes) or not isinstance(args, Mapping | Sequence):
        kind = type(args).__name__
        raise RequestUnclear(
            "args is a mapping by name or a list by position, and this is of the type {kind}", kind=kind
        )
    if args and wanted.kind != "function":
        raise RequestUnclear("args are for functions; files and modules take argv")
    if isinstance(args, Mapping):
        return {name: _as_json(name, value) for name, value in args.items()}, []
    return {}, [_as_json(str(number), value) for number, value in enumerate(args, 1)]


def _as_json(name: str, value: Any) -> Any:
    """What a value is once it has been stored and read again."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise RequestUnclear(
            "argument {name} cannot be given to a run: {kind} is not JSON, or holds what is not",
            name=name,
            kind=type(value).__name__,
            hint="pass text, numbers, booleans, None, and lists and mappings of them",
        ) from None


def _check_texts(**given: str | None) -> None:
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise RequestUnclear("{name} is text, and this is of the type {kind}", name=name, kind=type(value).__name__)


def _check_seconds(**given: float | None) -> None:
    for name, value in given.items():
        if value is not None and not isinstance(value, int | float):
            raise RequestUnclear(
                "{name} is a number of seconds, and this is of the type {kind}", name=name, kind=type(value).__name__
            )


def _check_whole(name: str, value: int) -> None:
    if not isinstance(value, int):
        raise RequestUnclear(
            "{name} is a whole number, and this is of the type {kind}", name=name, kind=type(value).__name__
        )


def _checked(variables: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(variables, Mapping):
        raise RequestUnclear("variables is a mapping of names to texts")
    for name, value in variables.items():
        check_variable_name(name)
        if not isinstance(value, str):
            raise RequestUnclear("the variable {name} is no text", name=name)
    return dict(variables)


def _names(option: str, given: Collection[str] | None) -> "list[str] | None":
    """A list of words; a word alone would be taken for its letters."""
    if given is None:
        return None
    listed = isinstance(given, Collection) and not isinstance(given, str | bytes)
    if not (listed and all(isinstance(word, str) for word in given)):
        raise RequestUnclear("{option} is a list of words", option=option)
    return list(given)


_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()
_inherited: "list[object]" = []
"""What a forked process has of its parent's, kept so that nothing of it is ever closed there."""


@atexit.register
def _before_fork() -> None:
    """A child must find no open connection: SQLite's locks, above all, are not its own. Nor must an exit."""
    for client in list(_clients):
        if client._db is not None:
            client._db.close()


def _after_fork() -> None:
    for client in list(_clients):
        client._forked()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
