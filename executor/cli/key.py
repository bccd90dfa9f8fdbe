"""`sealrun key`: list, create, rotate, rewrap, trust. Nothing here shows a private key, wrapped or not."""

from pathlib import Path
from typing import Annotated

import typer

from executor.cli import desk
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.errors import Misuse
from executor.keys import rotation
from executor.keys.creation import rewrapped
from secretstore import vault
from secretstore.local_keys import LocalKeys, create_local_key

app = typer.Typer(
    help="List, rotate, rewrap and trust key pairs; make a local key file.",
    no_args_is_help=True,
    add_completion=False,
)

SHORT = 16
"""Digits of a fingerprint in a listing: as many as `trust` takes at least."""

_STATES = {
    "pending": "pending: a rotation prepares it",
    "kept": "kept: runs may still use it",
}


@app.command("list")
def list_(
    project: options.Project = None, environment: options.AnyEnvironment = None, json: options.Json = False
) -> None:
    """List a project's key pairs: generation, fingerprint, state, key service. With -e, one environment's."""
    at = desk.sit_down()
    pairs = vault.list_keys(at.db, desk.project_named(at.settings, project), environment)
    if json:
        screen.show_json(pairs)
        return
    rows = [
        (
            pair.environment,
            str(pair.generation),
            pair.fingerprint[:SHORT],
            _STATES.get(pair.state, pair.state),
            pair.key_service,
            screen.moment(pair.created_at),
            pair.created_by,
        )
        for pair in pairs
    ]
    screen.table(("environment", "generation", "fingerprint", "state", "key service", "made", "by"), rows, ("bold",))


@app.command()
def create(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Where there is no file yet.", show_default=False)],
) -> None:
    """Make a local key file: to move keys to it with SEALRUN_KEYS=local:PATH,… and rewrap, or to start anew."""
    place = Path(path).absolute()
    create_local_key(place)
    screen.say("keep a copy of it somewhere safe: who loses it loses the secrets, who has it can open them")
    screen.show(f"made {LocalKeys(place).id}; to use it: SEALRUN_KEYS=local:{place}")


@app.command()
def rotate(
    project: options.Project = None,
    environment: options.Environment = None,
    drop_broken: Annotated[
        bool, typer.Option("--drop-broken", help="Leave versions behind, for good, that do not open any more.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Give an environment a new key pair and seal all versions of its secrets to it, while runs go on.

    It can be ended at any moment and run again. The old key pair is destroyed once no run in flight was given it.
    """
    at = desk.sit_down()
    names = desk.project_named(at.settings, project), desk.environment_named(at.settings, environment)
    done = rotation.rotate(at.settings, at.db, *names, actor=at.actor, pins=at.pins, drop_broken=drop_broken)
    destroyed = rotation.destroy_unused(at.db, at.actor)
    if json:
        screen.show_json(done)
        return
    where = "/".join(names)
    if done.discarded is not None:
        screen.say(
            f"there was a key pair nobody used, {done.discarded[:SHORT]}…, of a rotation that was cut off or put there "
            "by somebody: it is discarded"
        )
    for name in done.left_behind:
        screen.say(f"left behind, as it does not open: {name}")
    if not any((pair.project, pair.environment) == names for pair in destroyed):
        screen.say("the old key pair is kept while runs may use it; a worker destroys it within a minute after them")
    screen.show(f"{where} has generation {done.generation}, {done.fingerprint}: {done.resealed} versions sealed anew")


@app.command()
def rewrap(
    project: options.Project = None,
    environment: options.AnyEnvironment = None,
    every: Annotated[bool, typer.Option("--all-projects", help="Of all projects.")] = False,
) -> None:
    """Wrap private keys anew with the first key service of SEALRUN_KEYS, where another one has wrapped them.

    SEALRUN_KEYS=NEW,OLD names both: the first wraps, each opens what it has wrapped. Key pairs, fingerprints and
    sealed values stay as they are. Without -e, all environments of the project are meant.
    """
    if every and (project or environment):
        raise Misuse(
            "--all-projects takes in all there are, and goes with neither -p nor -e",
            command="key rewrap",
        )
    at = desk.sit_down()
    named = None if every else desk.project_named(at.settings, project)
    keys = vault.keys_to_rewrap(at.db, named, environment)
    changed = 0
    for key, pair in rewrapped(at.settings, keys):
        if vault.replace_wrapping(at.db, key, pair.key_service, pair.wrapped, actor=at.actor):
            changed += 1
            place = f"{key.place.project}/{key.place.environment}"
            screen.say(f"{place}, generation {pair.generation}: from {key.pair.key_service} to {pair.key_service}")
    if changed:
        at.db.wipe()
    screen.show(f"{changed} of {len(keys)} private keys wrapped anew")


@app.command()
def trust(
    fingerprint: Annotated[
        str, typer.Argument(metavar="FINGERPRINT", help="In full, or its first 16 digits or more.", show_default=False)
    ],
    project: options.Project = None,
    environment: options.Environment = None,
) -> None:
    """Remember an environment's key pair, once you have compared its fingerprint with who made or rotated it."""
    at = desk.sit_down()
    names = desk.project_named(at.settings, project), desk.environment_named(at.settings, environment)
    before = at.pins.known(*names)
    now = vault.trust_key(at.db, *names, fingerprint, pins=at.pins)
    if before is not None and before != now:
        screen.say(f"known until now: generation {before.generation}, {before.fingerprint}")
    screen.show(f"{'/'.join(names)} has generation {now.generation}, {now.fingerprint}: remembered")
