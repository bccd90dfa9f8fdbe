"""`sealrun secret explain`: what a run of TARGET would see, by name, without a key. Nothing is opened for it.

What it needs is imported when it is called, so that the other commands of `secret` do not pay for it.
"""

from typing import TYPE_CHECKING

import typer

from executor.cli.typed import options as shared
from executor.cli.typed.run_options import RunOptions, takes_run_options
from executor.cli.typed.target import TAIL

if TYPE_CHECKING:
    from executor.schemas.explanation import Explanation, Seen


@takes_run_options(to_explain=True)
def explain(context: typer.Context, options: RunOptions, json: shared.Json = False) -> None:
    """Show the names a run of TARGET would see, where each comes from, and what would refuse the run.

    No key is used and no value is opened.
    """
    from executor.cli.here import here
    from executor.cli.shown import screen
    from executor.errors import FileInvalid, FileUnreadable, WouldBeRefused
    from executor.operations import explanation
    from executor.schemas.explanation import Explain
    from executor.schemas.refusal import Refused

    told = []
    try:
        layers = options.layers()
    except (FileInvalid, FileUnreadable) as refusal:
        told.append(Refused.by(refusal))
        options = options.without_env_file()
        layers = options.layers()
    request = options.request(context.meta[TAIL])
    at = here()
    meant = {"project": at.project(request.project), "environment": at.environment(request.environment)}
    run = request.model_copy(update=meant)
    seen = at.ask(explanation.explain, Explain(run=run, layers=layers))
    told += seen.refusals
    if json:
        document = screen.plain_data(seen)
        refusals = [screen.plain_data(one) for one in told]
        screen.show_json(document | {"runnable": not told, "refusals": refusals})
    else:
        _show(seen)
    if told:
        hinted = [one.sentence + (f" ({one.hint})" if one.hint else "") for one in told]
        raise WouldBeRefused(listing="".join(f"\n  {screen.printable(line)}" for line in hinted))


def _show(seen: "Explanation") -> None:
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
    if seen.limits:
        screen.say(f"runs of {seen.project} have at most: {seen.limits}")
    for note in seen.notes:
        screen.say(f"note: {note}", "yellow")


def _show_connections(seen: "Explanation") -> None:
    from executor.cli.shown import screen
    from executor.schemas.explanation import NOT_ASKED_FOR

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
