"""`sealrun run`: submit, follow, and end as the run ended."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from executor.broker.application import make_app
from executor.cli import desk
from executor.cli.desk import Desk
from executor.cli.shown import screen, verdict
from executor.cli.shown.follow import Detached, come_back, follow, interrupts, to_streams, wait_until_over
from executor.cli.shown.waiting import Waiting
from executor.cli.typed import options
from executor.cli.typed.arguments import arguments_of, checked_variables, connections_of, secrets_named
from executor.cli.typed.target import TAIL, RunCommand, refusals_as_json
from executor.errors import NoProjectNamed, RunOver, StandbyFailed
from executor.models import RunSpec
from executor.records import files, history
from executor.runs.cancelling import cancel
from executor.schemas.output import Place
from executor.schemas.runs import RunView
from executor.submission import submit, target
from executor.submission.specification import Request, specify
from executor.submission.standby import Standby
from secretstore.errors import FolderUnusable, SealrunError

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
    no_secrets: Annotated[
        bool,
        typer.Option(
            "--no-secrets", help="Give no secrets, and no sources and catalogs that need any but as parameters."
        ),
    ] = False,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="K=V", help="A plain variable for this run, never masked; repeatable."),
    ] = None,
    env_file: Annotated[
        str | None, typer.Option("--env-file", metavar="FILE", help="Plain variables from a file of KEY=VALUE lines.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="PARAM=NAME", help="A parameter that is a data source; repeatable."),
    ] = None,
    catalog: Annotated[
        list[str] | None,
        typer.Option("--catalog", metavar="PARAM=NAME", help="A parameter that is a catalog; repeatable."),
    ] = None,
    no_connections: Annotated[
        bool,
        typer.Option("--no-connections", help="Give no data sources and catalogs but those that parameters are."),
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", help="End the run after so many seconds.")
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(
            "--python",
            metavar="X.Y|PATH",
            help="A version, an interpreter or a virtual environment (else .venv, else PATH).",
        ),
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="PKG", help="A package for the run's own environment; repeatable."),
    ] = None,
    requirements: Annotated[
        str | None,
        typer.Option("--requirements", metavar="FILE", help="Build the run's own environment from this file."),
    ] = None,
    setup_secret: Annotated[
        list[str] | None,
        typer.Option("--setup-secret", metavar="NAME", help="Give this secret to the installer; repeatable."),
    ] = None,
    bundle: Annotated[
        bool | None,
        typer.Option("--bundle/--no-bundle", help="Upload the source root, or run from it on machines that see it."),
    ] = None,
    retries: Annotated[
        int, typer.Option("--retries", metavar="N", min=0, max=9, help="Try again so often after a failure.")
    ] = 0,
    retry_on: Annotated[
        list[str] | None,
        typer.Option("--retry-on", metavar="REASON", help="Try again after this reason only; repeatable."),
    ] = None,
    queue_timeout: Annotated[
        float | None,
        typer.Option(
            "--queue-timeout", metavar="S", help="Give up after so many seconds in which no worker can take it."
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key", metavar="KEY", help="A second run of the project with this key is the first."
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

    TARGET is path.py, -m pkg.module, path.py:function, or -- command. What follows it is its own: a function's
    arguments by position, else words as they are.
    """
    with refusals_as_json(json):
        names = secrets_named(secret, no_secrets)
        wanted = target.parse(context.meta[TAIL])
        text, values = arguments_of(wanted, arg or [], json_arg or [])
        variables = checked_variables(env or [], env_file)
        try:
            at = desk.sit_down()
            request = Request(
                target=wanted,
                project=project,
                environment=environment,
                text=text,
                values=values,
                variables=variables,
                secrets=names,
                sources=connections_of("--source", source or []),
                catalogs=connections_of("--catalog", catalog or []),
                connections=not no_connections,
                timeout=timeout,
                python=python,
                packages=with_ or (),
                requirements_file=requirements,
                setup_secrets=setup_secret or (),
                bundle=bundle,
                retries=retries,
                retry_on=retry_on,
                queue_timeout=queue_timeout,
                idempotency_key=idempotency_key,
            )
            spec = specify(at.db, at.settings, request)
            folder = _output_folder(output)
            submitted = Submission(at, spec)
        except NoProjectNamed as error:
            if {"-p", "--project"} & {*wanted.argv}:
                error.advise(
                    "-p stands behind TARGET, where all belongs to the target: sealrun run -p PROJECT … TARGET"
                )
            raise
        except SealrunError as error:
            raise never_started(error) from None
    if detach:
        submitted.leave(json)
        return
    raise typer.Exit(finish(submitted, json, folder))


class Submission:
    """A run that was accepted, and what is to be done until somebody takes it."""

    def __init__(self, at: Desk, spec: RunSpec) -> None:
        self.at = at
        standby = Standby(at.settings)
        self.waiting = Waiting(at.settings, at.db, spec, None, standby)
        with interrupts() as pressed:
            accepted = submit.accept(at.db, at.settings, lambda: make_app(at.settings), spec, at.actor.name, standby)
            self.id = self.waiting.run_id = accepted.run_id
            if accepted.started:
                self.waiting.tell_started()
            if not accepted.rung:
                screen.say("the broker could not be told; the run is accepted, and workers look for it", "yellow")
            if not accepted.new:
                screen.say(f"that is run {self.id[:8]}, submitted before with this idempotency key")
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
                except Detached as left:
                    self._second_thoughts(left.place)
        except StandbyFailed:
            with contextlib.suppress(RunOver):  # another worker took it meanwhile
                cancel(self.at.db, self.at.settings, self.id, self.at.actor.name)
            raise
        return history.show(self.at.db, self.id)

    def _second_thoughts(self, place: Place) -> None:
        with interrupts() as pressed:
            screen.say(
                f"\ndetached; the run goes on. Come back: {come_back(self.id, place)}"
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
                cancel(self.at.db, self.at.settings, self.id, self.at.actor.name)
            except RunOver:
                return
            screen.say("cancelling …")
            settings = self.at.settings
            patience = settings.int_grace + settings.term_grace + settings.lease
            if not wait_until_over(self.at.db, self.id, patience, pressed):
                screen.say(f"its worker was asked to end it: sealrun runs show {self.id[:8]}")
                raise Detached


def finish(submitted: Submission, json: bool, folder: Path | None) -> int:
    """Follow, tell how it ended, fetch what it left; the exit code."""
    try:
        with refusals_as_json(json):
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


def never_started(error: SealrunError) -> SealrunError:
    """The same error with the exit code of a run that was not started; a wrong name or option keeps its 2."""
    if error.exit_code == 1:
        error.exit_code = verdict.NEVER_STARTED
    return error


def _output_folder(path: str | None) -> Path | None:
    """Tried before the run: it would be a pity to find out after it."""
    if path is None:
        return None
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderUnusable(
            "nothing can be written to {path}: {why}", path=path, why=(error.strerror or "").lower()
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FolderUnusable("nothing can be written to {path}: {why}", path=path, why="no permission")
    return folder


def _fetch(at: Desk, view: RunView, folder: Path) -> None:
    written = files.download(at.db, view.id, view.attempt, folder)
    names = ", ".join(screen.printable(str(path.relative_to(folder))) for path in written)
    screen.say(f"wrote {names} to {folder}" if written else "the run left no files")
