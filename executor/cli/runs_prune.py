"""`sealrun runs prune` and `runs delete`: what runs left goes, their receipts stay."""

from typing import Annotated

import typer

from executor.cli.here import confirm
from executor.cli.project_end import manager
from executor.cli.shown import screen
from executor.cli.typed import completion, options, times
from executor.operations import pruning
from executor.schemas.pruning import NamedRuns, OldRuns, Pruned
from executor.source.packing import size_text


def prune(
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than", metavar="AGE", parser=times.age, help="How long they have been over: 30d, 12h, 1h30m or 6w."
        ),
    ],
    project: options.AnyProject = None,
    keep_failed: Annotated[bool, typer.Option("--keep-failed", help="Leave those that failed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """Delete what old runs left: output, results, problems, files, metrics, and source that no other run has.

    Of each stays that it was, how it ended, its receipts and its audit events. Others go on meanwhile; said again after
    it was stopped, it goes on.
    """
    at = manager()
    named = at.maybe_project(project)
    asked = OldRuns(older_than=older_than, keep_failed=keep_failed, project=named)
    found = at.ask(pruning.look, asked)
    whose = f"project {named}" if named is not None else "all projects"
    runs = f"{found.runs:,} run{'s' * (found.runs != 1)} of {whose}"
    size = f"{size_text(found.output_bytes)} of output, {size_text(found.file_bytes)} of files"
    if dry_run or not found.runs:
        if json:
            screen.show_json(found)
        screen.say(f"would delete what {runs} left: {size}" if found.runs else f"nothing to delete: 0 {runs[2:]}")
        return
    confirm(f"delete what {runs} left for good ({size})", yes)
    _tell(at.ask(pruning.prune, asked), json)


def delete(
    references: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Ids, or the beginnings of them.", autocompletion=completion.runs),
    ],
    project: options.Project = None,
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """Delete what these runs left, as `runs prune` does with old ones. One that is not over is refused."""
    at = manager()
    asked = NamedRuns(runs=tuple(references), project=project)
    found = at.ask(pruning.require_over, asked)
    names = ", ".join(run.id[:8] for run in found)
    if any(run.pruned_at is None for run in found):
        confirm(f"delete what {'run' if len(found) == 1 else 'runs'} {names} left for good", yes)
    _tell(at.ask(pruning.delete, asked), json)


def _tell(done: Pruned, json: bool) -> None:
    screen.say(f"deleted what {done.runs:,} run{'s' * (done.runs != 1)} left; receipts and audit events stay")
    for run_id in done.already:
        screen.say(f"what run {run_id[:8]} left was deleted before")
    if done.given_back:
        screen.say(f"the database's file is {size_text(done.given_back)} smaller")
    if json:
        screen.show_json(done)
