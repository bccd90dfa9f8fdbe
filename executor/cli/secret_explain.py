"""`sealrun secret explain`: what a run of TARGET would see, by name, without a key. Nothing is opened for it.

What it needs is imported when it is called, so that the other commands of `secret` do not pay for it.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from executor.cli.typed import options
from executor.cli.typed.target import TAIL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from executor.explain.preview import Preview, Seen
    from executor.submission.specification import Refusal


def explain(
    context: typer.Context,
    project: options.Project = None,
    environment: options.Environment = None,
    secret: Annotated[
        list[str] | None,
        typer.Option("--secret", metavar="NAME", help="As for run: this secret only; repeatable."),
    ] = None,
    no_secrets: Annotated[bool, typer.Option("--no-secrets", help="As for run: no secrets.")] = False,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="K=V", help="As for run: a plain variable; repeatable.")
    ] = None,
    env_file: Annotated[
        str | None, typer.Option("--env-file", metavar="FILE", help="As for run: plain variables from a file.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="PARAM=NAME", help="As for run: a parameter that is a data source."),
    ] = None,
    catalog: Annotated[
        list[str] | None,
        typer.Option("--catalog", metavar="PARAM=NAME", help="As for run: a parameter that is a catalog."),
    ] = None,
    no_connections: Annotated[
        bool, typer.Option("--no-connections", help="As for run: none but those that parameters are.")
    ] = False,
    python: Annotated[str | None, typer.Option("--python", metavar="PATH", help="As for run: the interpreter.")] = None,
    bundle: Annotated[
        bool | None, typer.Option("--bundle/--no-bundle", help="As for run: upload the source root, or do not.")
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option("--arg", metavar="NAME=TEXT", help="As for run: an argument; repeatable.")
    ] = None,
    json_arg: Annotated[
        list[str] | None, typer.Option("--json-arg", metavar="NAME=JSON", help="As for run: one as JSON; repeatable.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Show the names a run of TARGET would see, where each comes from, and what would refuse the run.

    No key is used and no value is opened.
    """
    from executor.cli import desk
    from executor.cli.shown import screen
    from executor.cli.typed.arguments import arguments_of, connections_of, pairs_of, secrets_named
    from executor.cli.typed.env_file import read_env_file
    from executor.errors import FileInvalid, FileUnreadable, WouldBeRefused
    from executor.explain.preview import preview
    from executor.runs.grant import Asked
    from executor.runs.spec import mapped
    from executor.submission import target
    from executor.submission.specification import Refusal, Request, examine

    wanted = target.parse(context.meta[TAIL])
    names = secrets_named(secret, no_secrets)
    text, values = arguments_of(wanted, arg or [], json_arg or [])
    layers = [("--env", pairs_of("--env", env or []))]
    refusals: list[Refusal] = []
    if env_file is not None:
        try:
            layers.insert(0, ("--env-file", read_env_file(env_file)))
        except (FileInvalid, FileUnreadable) as refusal:
            refusals.append(refusal)
    variables = {name: value for _, pairs in layers for name, value in pairs.items()}
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
        python=python,
        bundle=bundle,
    )
    examined = examine(at.db, at.settings, request)
    place = examined.place
    asked = Asked(mapped(request.sources, request.catalogs), names, connections=request.connections)
    seen = preview(at.db, place.project, place.name, layers=layers, asked=asked)
    told = tuple({one.message: one for one in (*refusals, *examined.refusals, *seen.refusals)}.values())
    if json:
        where = {
            "project": place.project,
            "environment": place.name,
            "source_root": None if examined.root is None else str(examined.root),
            "python": examined.python,
        }
        screen.show_json(where | _document(seen, told))
    else:
        _show(seen)
    if told:
        hinted = [refusal.message + (f" ({refusal.hint})" if refusal.hint else "") for refusal in told]
        raise WouldBeRefused(listing="".join(f"\n  {screen.printable(line)}" for line in hinted))


def _show(seen: "Preview") -> None:
    from executor.cli.shown import screen

    rows = [(entry.name, entry.kind, _origin(entry), _remarks(entry)) for entry in seen.names]
    screen.table(("name", "kind", "from", ""), rows, ("bold", "", "", "yellow"))
    if seen.left_out:
        screen.say(f"left out: {', '.join(seen.left_out)}")
    if seen.for_connections:
        screen.say(f"opened for connections alone: {', '.join(seen.for_connections)}")
    if seen.with_opener:
        screen.say(f"exchanged for short-lived credentials before the run: {', '.join(seen.with_opener)}")
    _show_connections(seen)
    for note in seen.notes:
        screen.say(f"note: {note}", "yellow")


def _show_connections(seen: "Preview") -> None:
    from executor.cli.shown import screen
    from executor.explain.preview import NOT_ASKED_FOR

    if not_asked := [one.label for one in seen.connections if one.left_out == NOT_ASKED_FOR]:
        screen.say(f"connections not asked for: {', '.join(not_asked)}")
    for one in seen.connections:
        if one.left_out not in (None, NOT_ASKED_FOR):
            screen.say(f"left out: {screen.printable(one.left_out)}", "yellow")


def _origin(entry: "Seen") -> str:
    if entry.kind == "secret":
        return f"{entry.origin}, version {entry.version}"
    return entry.origin + (f", over {' and '.join(entry.over)}" if entry.over else "")


def _remarks(entry: "Seen") -> str:
    from executor.cli.shown import screen

    remarks = []
    if entry.file is not None:
        remarks.append(f"the path of a file, {entry.file}")
    if entry.perhaps:
        remarks.append("where the secret has this field")
    if entry.expires_at is not None:
        remarks.append(f"{'expired' if entry.expired else 'expires'} {screen.moment(entry.expires_at)}")
    if entry.maskable is False:
        remarks.append("not masked")
    if entry.alias is not None:
        remarks.append(f"also as {entry.alias}")
    if entry.no_alias is not None:
        remarks.append(f"no alias: {entry.no_alias}")
    return "; ".join(remarks)


def _document(seen: "Preview", told: "Sequence[Refusal]") -> dict[str, Any]:
    from executor.cli.shown import screen

    return {
        "runnable": not told,
        "names": [screen.plain_data(entry) for entry in seen.names],
        "left_out": seen.left_out,
        "for_connections": seen.for_connections,
        "with_opener": seen.with_opener,
        "connections": [screen.plain_data(one) for one in seen.connections],
        "notes": seen.notes,
        "refusals": [{"code": one.code, "sentence": one.message, "hint": one.hint} for one in told],
    }
