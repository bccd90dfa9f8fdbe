"""`sealrun secret import`: a file's names and values become secrets and variables, all or nothing, seen before written.

What it needs is imported when it is called, so that the other commands of `secret` do not pay for it.
"""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from executor.cli.typed import options

if TYPE_CHECKING:
    from executor.cli.typed.pairs import Format
    from executor.schemas.importing import ImportPlan, PlannedEntry, Problem

_LISTED = 100  # problems on a screen; --json has all
_SKIP = "import the rest without the refused names: --skip-refused; what a job needs of them its own code can set"


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
    skip_refused: Annotated[
        bool, typer.Option("--skip-refused", help="Leave out names that no secret may have (PATH, …), and say which.")
    ] = False,
    pin: options.Pins = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and stop.")] = False,
    yes: options.Yes = False,
    json: options.Json = False,
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Import a .env or JSON file: show what would change, ask, and write all of it or nothing.

    Hosts, ports, flags, URLs without credentials and what is short or common are proposed as variables, everything
    else as secrets. Nothing is expanded.
    """
    from executor.cli.here import confirm, here
    from executor.cli.shown import screen
    from executor.cli.typed import pairs
    from executor.cli.typed.pins import given_pins
    from executor.errors import ImportRefused
    from executor.operations import environments, importing
    from executor.schemas.importing import Import
    from executor.schemas.places import InEnvironments

    _check_words(file, more, asks=not (yes or dry_run), json=json)
    pins = given_pins(pin)
    place = here()
    project, environment = place.project(project), place.environment(environment)
    # An unknown one is refused before anything is read.
    place.ask(environments.require, InEnvironments(project=project, environments=(environment,)))
    source = "stdin" if file == "-" else file
    content = _content(file)
    kind: Format = format_ or pairs.format_of(file, content)
    asked = Import(
        project=project,
        environment=environment,
        reading=pairs.parse(content, kind),
        secrets=tuple(secret or ()),
        variables=tuple(variable or ()),
        all_secret=all_secret,
        allow_short=allow_short,
        skip_refused=skip_refused,
        pins=pins,
    )
    del content
    plan = place.ask(importing.plan, asked)
    shown = plan.shown
    if shown.problems:
        if json:
            screen.show_json(_document(source, kind, shown, dry_run, written=False))
        raise ImportRefused(source=screen.printable(source), listing=_listing(shown.problems), hint=_hint(shown))
    if not json:
        _show(shown)
    for left_out in shown.skipped:
        screen.say(f"skipped: {left_out}", "yellow")
    for note in shown.notes:
        screen.say(f"note: {note}", "yellow")
    written = bool(plan.to_store) and not dry_run
    if written:
        confirm(f"import {_counted(shown)} into {project}/{environment}", yes)
        place.ask(importing.carry_out, plan)
    if json:
        screen.show_json(_document(source, kind, shown, dry_run, written))
    _say_what_came_of_it(shown, file, dry_run=dry_run, written=written)


def _check_words(file: str, more: list[str] | None, *, asks: bool, json: bool) -> None:
    """Refuse what cannot be meant, before anything is opened."""
    from executor.cli.typed.new_value import value_on_command_line
    from executor.errors import Misuse, NeedsYes

    if more:
        if not all(map(os.path.isfile, more)):
            raise value_on_command_line()
        raise Misuse(
            "one file is imported at a time",
            hint="import them one after another; options may stand before or after the file",
        )
    if file == "-" and asks:
        raise NeedsYes(act="import from stdin")
    if json and asks:
        raise Misuse("--json does not ask: add --yes or --dry-run", command="secret import")


def _say_what_came_of_it(shown: "ImportPlan", file: str, *, dry_run: bool, written: bool) -> None:
    from executor.cli.shown import screen
    from executor.cli.typed import pairs

    where = f"{shown.project}/{shown.environment}"
    if dry_run:
        screen.say(f"{where} would get {_counted(shown)}; nothing was written")
    elif not written:
        screen.say(f"nothing to change in {where}")
    else:
        screen.say(f"imported {_counted(shown)} into {where}")
    if not dry_run and pairs.stays(file):
        screen.say(f"note: {screen.printable(file)} still holds the values in the clear; delete it", "yellow")


def _content(file: str) -> bytes:
    from executor.cli.typed import pairs
    from executor.cli.typed.new_value import value_on_command_line
    from executor.errors import FileUnreadable

    try:
        if file == "-":
            return pairs.bounded("stdin", sys.stdin.buffer.read(pairs.LARGEST_FILE + 1))
        return pairs.read_file(file)
    except FileUnreadable:
        if "=" in file:  # NAME=VALUE, where a file was expected
            raise value_on_command_line() from None
        raise


def _show(plan: "ImportPlan") -> None:
    from executor.cli.shown import screen

    rows = [(planned.name, _change(planned), _value(planned), planned.reason or "") for planned in plan.entries]
    screen.table(("name", "change", "value", "why a variable"), rows, ("bold", "", "", "dim"))


def _change(planned: "PlannedEntry") -> str:
    if planned.kind == "variable":
        return f"variable {planned.change}"
    return f"new version {planned.version} of a secret" if planned.change == "version" else "new secret"


def _value(planned: "PlannedEntry") -> str:
    if planned.kind == "secret":
        return ""
    return "(not shown)" if planned.value is None else planned.value


def _counted(plan: "ImportPlan") -> str:
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


def _hint(plan: "ImportPlan") -> str | None:
    """The way on where names are refused; what else is wrong says its mend itself, and stands in the way first."""
    refused = {problem.name for problem in plan.problems if problem.refused_name}
    if not refused:
        return None
    others = any(problem.name not in refused for problem in plan.problems)
    return f"mend the other lines first; then {_SKIP}" if others else _SKIP


def _document(source: str, kind: str, plan: "ImportPlan", dry_run: bool, written: bool) -> dict[str, Any]:
    """One object: the plan, and whether it was carried out. No member holds a secret's value."""
    about: dict[str, Any] = {"source": source, "format": kind, "project": plan.project, "environment": plan.environment}
    return about | {"dry_run": dry_run, "written": written} | dict(plan)
