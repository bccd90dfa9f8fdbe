"""`sealrun secret import`: a file's names and values become secrets and variables, all or nothing, seen before written.

What it needs is imported when it is called, so that the other commands of `secret` do not pay for it.
"""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from executor.cli.typed import options

if TYPE_CHECKING:
    from executor.operations.importing import Plan, RunConnection
    from executor.operations.pairs import Format, Problem

_LISTED = 100  # problems on a screen; --json has all


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .env or JSON file; - is stdin, which needs --yes.")],
    project: options.Project = None,
    environment: options.Environment = None,
    format_: Annotated[
        Literal["env", "json"] | None,
        typer.Option("--format", help="What the file is (else by its name, else by how it begins)."),
    ] = None,
    all_secret: Annotated[
        bool, typer.Option("--all-secret", help="Make every name a secret; short values need --allow-short.")
    ] = False,
    secret: Annotated[
        list[str] | None, typer.Option("--secret", metavar="NAME", help="Make this name a secret; repeatable.")
    ] = None,
    variable: Annotated[
        list[str] | None, typer.Option("--variable", metavar="NAME", help="Make this name a variable; repeatable.")
    ] = None,
    allow_short: Annotated[
        bool, typer.Option("--allow-short", help="Seal values that are too short to be masked.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and stop.")] = False,
    yes: options.Yes = False,
    json: options.Json = False,
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Import a .env or JSON file: show what would change, ask, and write all of it or nothing.

    Values that are short or common are proposed as variables, everything else as secrets. Nothing is expanded.
    """
    from executor.cli import desk
    from executor.cli.shown import screen
    from executor.cli.typed.new_value import value_on_command_line
    from executor.errors import FileUnreadable, ImportRefused, Misuse, NeedsYes
    from executor.operations import importing, pairs
    from secretstore import vault

    if more:
        if not all(map(os.path.isfile, more)):
            raise value_on_command_line()
        raise Misuse(
            "one file is imported at a time",
            hint="import them one after another; options may stand before or after the file",
        )
    if file == "-" and not (yes or dry_run):
        raise NeedsYes(act="import from stdin")
    if json and not (yes or dry_run):
        raise Misuse("--json does not ask: add --yes or --dry-run", command="secret import")
    at = desk.sit_down()
    project = desk.project_named(at.settings, project)
    environment = desk.environment_named(at.settings, environment)
    place = vault.get_environment(at.db, project, environment)  # an unknown one is told before anything is read
    source = "stdin" if file == "-" else file
    try:
        if file == "-":
            content = pairs.bounded(source, sys.stdin.buffer.read(pairs.LARGEST_FILE + 1))
        else:
            content = pairs.read_file(file)
    except FileUnreadable:
        if "=" in file:  # NAME=VALUE, where a file was expected
            raise value_on_command_line() from None
        raise
    kind: Format = format_ or pairs.format_of(file, content)
    wishes = importing.Wishes(secret or (), variable or (), all_secret, allow_short)
    plan = importing.plan(at.db, project, place.name, pairs.parse(content, kind), wishes)
    del content
    if plan.problems:
        if json:
            screen.show_json(_document(source, kind, plan, dry_run, written=False))
        raise ImportRefused(source=screen.printable(source), listing=_listing(plan.problems))
    if not json:
        _show(plan)
    for note in plan.notes:
        screen.say(f"note: {note}", "yellow")
    entries = plan.to_store()
    if entries and not dry_run:
        desk.confirm(f"import {_counted(plan)} into {project}/{environment}", yes)
        vault.store(at.db, project, entries, actor=at.actor, pins=at.pins)
    if json:
        screen.show_json(_document(source, kind, plan, dry_run, written=bool(entries) and not dry_run))
    if dry_run:
        screen.say(f"{project}/{environment} would get {_counted(plan)}; nothing was written")
    elif not entries:
        screen.say(f"nothing to change in {project}/{environment}")
    else:
        screen.say(f"imported {_counted(plan)} into {project}/{environment}")
    if not dry_run and pairs.stays(file):
        screen.say(f"note: {screen.printable(file)} still holds the values in the clear; delete it", "yellow")


def _show(plan: "Plan") -> None:
    from executor.cli.shown import screen

    rows = [(planned.name, _change(planned), _value(planned), planned.reason or "") for planned in plan.entries]
    screen.table(("name", "change", "value", "why a variable"), rows, ("bold", "", "", "dim"))


def _change(planned: "RunConnection") -> str:
    if planned.kind == "variable":
        return f"variable {planned.change}"
    return f"new version {planned.version} of a secret" if planned.change == "version" else "new secret"


def _value(planned: "RunConnection") -> str:
    if planned.kind == "secret":
        return ""
    return "(not shown)" if planned.shown is None else planned.shown


def _counted(plan: "Plan") -> str:
    entries = [planned for planned in plan.entries if planned.change != "unchanged"]
    secrets = sum(planned.kind == "secret" for planned in entries)
    variables = len(entries) - secrets
    counts = [(secrets, "secret"), (variables, "variable")]
    return " and ".join(f"{count:,} {word}{'s' * (count != 1)}" for count, word in counts if count) or "nothing"


def _listing(problems: "tuple[Problem, ...]") -> str:
    from executor.cli.shown import screen

    lines = [screen.printable(str(problem)) for problem in problems[:_LISTED]]
    if len(problems) > _LISTED:
        lines.append(f"and {len(problems) - _LISTED:,} more; --dry-run --json lists all")
    return "".join(f"\n  {line}" for line in lines)


def _document(source: str, kind: str, plan: "Plan", dry_run: bool, written: bool) -> dict[str, Any]:
    """One object: the plan, and whether it was carried out. No member holds a secret's value."""
    # With a problem the entries stay out: what looks like a name in a broken file may be a piece of a value.
    entries = [] if plan.problems else plan.entries
    return {
        "source": source,
        "format": kind,
        "project": plan.project,
        "environment": plan.environment,
        "dry_run": dry_run,
        "written": written,
        "entries": [
            {
                "name": planned.name,
                "kind": planned.kind,
                "change": planned.change,
                "version": planned.version,
                "reason": planned.reason,
                "value": planned.shown,
            }
            for planned in entries
        ],
        "problems": plan.problems,
        "notes": plan.notes,
    }
