"""`sealrun run`: submit, follow, and end as the run ended."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from executor.cli.here import Here, here
from executor.cli.lazy import uncollected
from executor.cli.shown import screen, verdict
from executor.cli.shown.follow import Detached, come_back, follow, interrupts, to_streams, wait_until_over
from executor.cli.shown.waiting import Waiting
from executor.cli.typed import options as shared
from executor.cli.typed.run_options import RunOptions, takes_run_options
from executor.cli.typed.target import TAIL, RunCommand, refusals_as_json
from executor.errors import NoProjectNamed, RunOver, StandbyFailed
from executor.operations import runs
from executor.schemas.output import BEGINNING, Place
from executor.schemas.run_operations import Download, Submitted, ThatAttempt, ThatRun
from executor.schemas.runs import RunView
from executor.source.results import make_folder
from secretstore.errors import FolderUnusable, SealrunError

app = typer.Typer(
    help="Run a file, module, function, notebook or command with its project's secrets.", add_completion=False
)

_SECOND_THOUGHTS = 2.0  # seconds in which a second Ctrl-C cancels


@app.command(cls=RunCommand)
@takes_run_options()
def run(
    context: typer.Context,
    options: RunOptions,
    output: Annotated[
        str | None, typer.Option("--output", metavar="DIR", help="Write the files that the run leaves to this folder.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Submit, print the run's id, and do not wait.")] = False,
    json: shared.Json = False,
    yes: shared.NeverAsks = False,
) -> None:
    """Run TARGET with the secrets of its project, and end as it ends.

    TARGET is path.py, -m pkg.module, path.py:function, path.ipynb, ./program, or -- command. What follows it is its
    own: a function's arguments by position, else words as they are.
    """
    with refusals_as_json(json):
        request = options.request(context.meta[TAIL])
        try:
            at = here()
            meant = {"project": at.project(request.project), "environment": at.environment(request.environment)}
            prepared = at.ask(runs.prepare, request.model_copy(update=meant))
            for note in prepared.notes:
                screen.say(f"note: {note}", "yellow")
            folder = _output_folder(output)
            prepared = prepared.followed(not detach)
            submitted = Submission(at, lambda: at.ask(runs.accept, prepared))
        except NoProjectNamed as error:
            if {"-p", "--project"} & {*request.target.argv}:
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

    def __init__(self, at: Here, submit: Callable[[], Submitted]) -> None:
        self.at = at
        with interrupts() as pressed:
            with uncollected():  # it imports what rings
                accepted = submit()
            self.id = accepted.run_id
            self.waiting = Waiting(at, self.id)
            if accepted.started:
                self.waiting.tell_started()
            if not accepted.rung:
                screen.say("the broker could not be told; the run is accepted, and workers look for it", "yellow")
            if not accepted.new:
                screen.say(f"that is run {self.id[:8]}, submitted before with this idempotency key")
            self._interrupted = pressed()

    def leave(self, json: bool) -> None:
        """Do not wait."""
        try:
            if json:
                screen.show_json(verdict.document(self.show()))
                sys.stdout.flush()
            else:
                screen.show(self.id)
        finally:  # also where stdout took nothing: there is a run
            screen.say(f"follow it: sealrun runs logs -f {self.id[:8]}")

    def show(self) -> RunView:
        """The run as it is."""
        return self.at.ask(runs.show, ThatAttempt(run=self.id))

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
                    follow(self.at, self.id, to_streams(out, also), self.waiting)
                except Detached as left:
                    self._second_thoughts(left.place)
        except StandbyFailed:
            with contextlib.suppress(RunOver):  # another worker took it meanwhile
                self._cancel()
            raise
        except OSError:  # its output cannot be written any more, or nobody reads it
            screen.say(f"the run goes on; come back: {come_back(self.id, BEGINNING)}")
            raise
        return self.show()

    def _cancel(self) -> None:
        self.at.ask(runs.cancel, ThatRun(run=self.id))

    def _second_thoughts(self, place: Place) -> None:
        with interrupts() as pressed:
            screen.say("")
            screen.say(
                f"detached; the run goes on. Come back: {come_back(self.id, place)}"
                f" (Ctrl-C again within {_SECOND_THOUGHTS:g} s cancels it)"
            )
            again = False

            def stop() -> bool:
                nonlocal again
                again = again or pressed()
                return again

            if wait_until_over(self.at, self.id, _SECOND_THOUGHTS, stop):
                return
            if not again:
                raise Detached
            try:
                self._cancel()
            except RunOver:
                return
            screen.say("cancelling …")
            settings = self.at.at.settings
            patience = settings.int_grace + settings.term_grace + settings.lease
            if not wait_until_over(self.at, self.id, patience, pressed):
                screen.say(f"its worker was asked to end it: sealrun runs show {self.id[:8]}")
                raise Detached


def finish(submitted: Submission, json: bool, folder: Path | None) -> int:
    """Follow, tell how it ended, fetch what it left; the exit code."""
    try:
        with refusals_as_json(json):
            view = submitted.follow(json)
    except Detached:
        if json:
            screen.show_json(verdict.document(submitted.show()))
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
    elif view.target["kind"] == "function" and view.state == "succeeded" and (view.note is None or view.result):
        screen.show_json(view.result)
    if view.note:
        screen.say(f"note: {view.note}", "yellow")
    verdict.tell_files(view.outputs)
    if view.state != "succeeded":
        screen.say(f"sealrun: {verdict.sentence(view, followed=True)}", "red")


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
        make_folder(folder)
    except OSError as error:
        raise FolderUnusable(
            "nothing can be written to {path}: {why}", path=path, why=(error.strerror or "").lower()
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FolderUnusable("nothing can be written to {path}: {why}", path=path, why="no permission")
    return folder


def _fetch(at: Here, view: RunView, folder: Path) -> None:
    found = at.ask(runs.download, Download(run=view.id, folder=folder))
    names = ", ".join(screen.printable(str(path.relative_to(folder))) for path in found.written)
    screen.say(f"wrote {names} to {folder}" if found.written else "the run left no files")
