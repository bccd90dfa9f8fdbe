"""`sealrun run`: submit, follow, and end as the run ended."""

import contextlib
import json as jsonlib
import os
import platform
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from executor import embedded, history, outputs, runs, submit
from executor.celery_app import make_app
from executor.cli import desk, options, screen, target, verdict
from executor.cli.desk import Desk
from executor.cli.env_file import read_env_file
from executor.cli.errors import CliError, FolderUnwritable, Misuse
from executor.cli.follow import Detached, follow, interrupts, to_streams, wait_until_over
from executor.cli.target import TAIL, RunCommand, Target
from executor.cli.waiting import Waiting, live_workers
from executor.errors import BrokerMissing, ExecutorError, InterpreterMissing, RunOver, WorkerUnsupported
from executor.history import RunView
from executor.runs import RunSpec
from executor.source import choose_interpreter, relative_target, source_root
from executor.supervisor.errors import NameTaken, SupervisorError
from secretstore import vault
from secretstore.errors import SecretStoreError, UnknownSecret
from secretstore.naming import check_variable_name
from secretstore.vault.places import did_you_mean

app = typer.Typer(help="Run a file, module, function or command with its project's secrets.", add_completion=False)

_SECOND_THOUGHTS = 2.0  # seconds in which a second Ctrl-C cancels


@app.command(cls=RunCommand)
def run(
    context: typer.Context,
    project: options.Project = None,
    environment: options.Environment = None,
    secret: Annotated[
        list[str] | None,
        typer.Option("--secret", metavar="NAME", help="Give this secret only; repeatable. Else all of them."),
    ] = None,
    no_secrets: Annotated[bool, typer.Option("--no-secrets", help="Give no secrets.")] = False,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="K=V", help="A plain variable for this run, never masked; repeatable."),
    ] = None,
    env_file: Annotated[
        str | None, typer.Option("--env-file", metavar="FILE", help="Plain variables from a file of KEY=VALUE lines.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", help="End the run after so many seconds.")
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(
            "--python", metavar="PATH", help="The interpreter or virtual environment (else .venv, else PATH)."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="DIR", help="Write the files that the run leaves to this folder.")
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option("--arg", metavar="NAME=TEXT", help="An argument of a function; repeatable.")
    ] = None,
    json_arg: Annotated[
        list[str] | None, typer.Option("--json-arg", metavar="NAME=JSON", help="An argument as JSON; repeatable.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Submit, print the run's id, and do not wait.")] = False,
    json: options.Json = False,
) -> None:
    """Run TARGET with the secrets of its project, and end as it ends.

    TARGET is path.py, -m pkg.module, path.py:function, or -- command. What follows it is its own.
    """
    if secret and no_secrets:
        raise _misuse("--secret and --no-secrets exclude each other")
    if timeout is not None and not 0 < timeout < 10**8:
        raise _misuse("--timeout is a number of seconds above 0")
    wanted = target.parse(context.meta[TAIL])
    text, values = _arguments(wanted, arg or [], json_arg or [])
    variables = _variables(env or [], env_file)
    try:
        at = desk.sit_down()
        names = [] if no_secrets else secret
        spec = specify(at, wanted, project, environment, text, values, variables, names, timeout, python)
        folder = _output_folder(output)
        submitted = Submission(at, spec)
    except (SecretStoreError, SupervisorError, ExecutorError) as error:
        raise NeverStarted.by(error) from None
    if detach:
        submitted.leave(json)
        return
    raise typer.Exit(finish(submitted, json, folder))


def specify(
    at: Desk,
    wanted: Target,
    project: str | None,
    environment: str | None,
    text: dict[str, str] | None = None,
    values: dict[str, Any] | None = None,
    variables: dict[str, str] | None = None,
    secrets: list[str] | None = None,
    timeout: float | None = None,
    python: str | None = None,
    folder: Path | None = None,
) -> RunSpec:
    """Look everything up that a run needs, so that a mistake is told before it is submitted.

    Raises:
        SecretStoreError, SupervisorError, ExecutorError: something is missing or named wrongly.
    """
    project = desk.project_named(at.settings, project)
    place = vault.get_environment(at.db, project, desk.environment_named(at.settings, environment))
    known = [entry.name for entry in vault.list_secrets(at.db, project, place.name)]
    for name in secrets or []:
        if name not in known:
            raise UnknownSecret(name=name, project=project, environment=place.name, hint=did_you_mean(name, known))
    given = known if secrets is None else secrets
    for name in variables or {}:
        if name in given:
            raise NameTaken(name=name)
    here = folder or Path.cwd()
    root = source_root(here, wanted.path)
    path = relative_target(root, here, wanted.path) if wanted.path is not None else None
    minimum = vault.get_project(at.db, project).sandbox_min
    return RunSpec(
        project_id=place.project_id,
        project=project,
        environment_id=place.id,
        environment=place.name,
        target=wanted.document(path, text or {}, values or {}),
        source_root=str(root),
        host=socket.gethostname(),
        python=_interpreter(wanted, root, python),
        variables=variables or {},
        secret_names=secrets,
        timeout=timeout,
        rung_min=None if minimum == "process" else minimum,
    )


class Submission:
    """A run that was accepted, and what is to be done until somebody takes it."""

    def __init__(self, at: Desk, spec: RunSpec) -> None:
        self.at = at
        self.waiting = Waiting(at.settings, at.db)
        alone = at.settings.embedded and not live_workers(at.db)
        if alone:
            _check_worker_can_start()
        with interrupts() as pressed:
            # Nobody hears a bell yet: the worker that is started looks for waiting runs before anything else.
            self.id = runs.create(at.db, spec, at.actor.name) if alone else self._submit(spec)
            if alone:
                self.waiting.start_worker()
            self._interrupted = pressed()

    def leave(self, json: bool) -> None:
        """Do not wait."""
        if json:
            screen.show_json(verdict.document(history.show(self.at.db, self.id)))
        else:
            screen.show(self.id)
        screen.say(f"follow it: sealrun runs logs -f {self.id[:8]}")

    def follow(self, json: bool = False, also: Callable[[bytes], None] | None = None) -> RunView:
        """Show its output until it is over, and give it to `also`; a second Ctrl-C cancels it.

        Raises:
            Detached: Ctrl-C was pressed once.
            StandbyFailed: the worker that was started for it has ended; the run is cancelled.
        """
        out = sys.stderr.buffer if json else sys.stdout.buffer
        sys.stdout.flush()
        try:
            with interrupts():  # also between the two below: a quick second press must not end this command unheard
                try:
                    if self._interrupted:
                        raise Detached
                    follow(self.at.db, self.id, to_streams(out, also), self.waiting)
                except Detached:
                    self._second_thoughts()
        except CliError:
            with contextlib.suppress(RunOver):  # another worker took it meanwhile
                runs.cancel(self.at.db, self.id, self.at.actor.name)
            raise
        return history.show(self.at.db, self.id)

    def _submit(self, spec: RunSpec) -> str:
        submitted = submit.submit(self.at.db, make_app(self.at.settings), spec, self.at.actor.name)
        if not submitted.rung:
            screen.say("the broker could not be told; the run is accepted, and workers look for it", "yellow")
        return submitted.run_id

    def _second_thoughts(self) -> None:
        with interrupts() as pressed:
            screen.say(
                f"\ndetached; the run goes on. Come back: sealrun runs logs -f {self.id[:8]}"
                f" (Ctrl-C again within {_SECOND_THOUGHTS:g} s cancels it)"
            )
            again = False

            def stop() -> bool:
                nonlocal again
                again = again or pressed()
                return again

            if wait_until_over(self.at.db, self.id, _SECOND_THOUGHTS, stop):
                return
            if not again:
                raise Detached
            try:
                runs.cancel(self.at.db, self.id, self.at.actor.name)
            except RunOver:
                return
            screen.say("cancelling …")
            if not wait_until_over(self.at.db, self.id, self.at.settings.term_grace + self.at.settings.lease, pressed):
                screen.say(f"its worker was asked to end it: sealrun runs show {self.id[:8]}")
                raise Detached


def finish(submitted: Submission, json: bool, folder: Path | None) -> int:
    """Follow, tell how it ended, fetch what it left; the exit code."""
    try:
        view = submitted.follow(json)
    except Detached:
        if json:
            screen.show_json(verdict.document(history.show(submitted.at.db, submitted.id)))
            sys.stdout.flush()
        # Ended by the interrupt itself, so that a shell stops what it was doing: nobody knows yet how the run ends.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        raise
    tell(view, json)
    if folder is not None:
        _fetch(submitted.at, view, folder)
    return verdict.exit_code(view)


def tell(view: RunView, json: bool) -> None:
    """What is left to say when the output is written: the result on stdout, the rest on stderr."""
    if json:
        screen.show_json(verdict.document(view))
    elif view.target["kind"] == "function" and view.state == "succeeded" and view.note is None:
        screen.show_json(view.result)
    if view.note:
        screen.say(f"note: {view.note}", "yellow")
    for file in view.outputs:
        if file.withheld is not None:
            screen.say(f"withheld {screen.printable(file.path)}: {file.withheld}", "yellow")
    if view.state != "succeeded":
        screen.say(f"sealrun: {verdict.sentence(view)}", "red")


class NeverStarted(ExecutorError):
    """{sentence}"""

    exit_code = verdict.NEVER_STARTED

    @classmethod
    def by(cls, error: SecretStoreError | SupervisorError | ExecutorError) -> Exception:
        """The same words with the exit code of a run that was not started; a wrong name or option keeps its 2."""
        from executor.cli.ending import exit_code

        if exit_code(error) != 1:
            return error
        found = cls(sentence=str(error).strip().replace("{", "{{").replace("}", "}}"))
        found.hint = error.hint
        return found


def _arguments(wanted: Target, text: list[str], json: list[str]) -> tuple[dict[str, str], dict[str, Any]]:
    if (text or json) and wanted.kind != "function":
        raise _misuse("--arg and --json-arg are for functions; other arguments follow TARGET")
    values = {}
    for name, value in _pairs("--json-arg", json).items():
        try:
            values[name] = jsonlib.loads(value)
        except ValueError:
            raise _misuse(f"--json-arg {name} is not JSON") from None
    plain = _pairs("--arg", text)
    if both := plain.keys() & values.keys():
        raise _misuse(f"the argument {min(both)} is given twice")
    return plain, values


def _variables(pairs: list[str], file: str | None) -> dict[str, str]:
    variables = {**(read_env_file(file) if file is not None else {}), **_pairs("--env", pairs)}
    for name in variables:
        check_variable_name(name)
    return variables


def _pairs(option: str, pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise _misuse(f"{option} takes NAME=VALUE")
        found[name] = value
    return found


def _interpreter(wanted: Target, root: Path, python: str | None) -> str | None:
    try:
        return choose_interpreter(root, python, desk.search_path())
    except InterpreterMissing:
        if wanted.kind == "command" and python is None:
            return None
        raise


def _check_worker_can_start() -> None:
    if platform.system() != "Linux":
        raise WorkerUnsupported(system=platform.system())
    if embedded.find_server() is None:
        raise BrokerMissing


def _output_folder(path: str | None) -> Path | None:
    """Tried before the run: it would be a pity to find out after it."""
    if path is None:
        return None
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderUnwritable(path=path, why=(error.strerror or "").lower()) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FolderUnwritable(path=path, why="no permission")
    return folder


def _fetch(at: Desk, view: RunView, folder: Path) -> None:
    written = outputs.download(at.db, view.id, view.attempt, folder)
    names = ", ".join(screen.printable(str(path.relative_to(folder))) for path in written)
    screen.say(f"wrote {names} to {folder}" if written else "the run left no files")


def _misuse(what: str) -> Misuse:
    return Misuse(what=what, command="run")
