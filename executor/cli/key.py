"""`sealrun key`: list, create, rotate, rewrap, trust. Nothing here shows a private key, wrapped or not."""

from typing import Annotated

import typer

from executor.cli.here import Here, here
from executor.cli.shown import screen
from executor.cli.shown.job import by_a_worker, wait
from executor.cli.typed import options
from executor.errors import KeyOperationFailed, Misuse
from executor.operations import keys, projects
from executor.schemas.keys import KeyRotation, KeyTrust, NewKeyFile, Rewrapped, RewrappedKey, Rewrapping, Rotated
from executor.schemas.places import InProject

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
    place = here()
    pairs = place.ask(keys.list_, InProject(project=place.project(project), environment=environment))
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
    signing: Annotated[
        bool, typer.Option("--signing", help="For an API server: it signs the runs that it accepts.")
    ] = False,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Make a local key file: to move keys to it with SEALRUN_KEYS=local:PATH,… and rewrap, or to start anew.

    Its public half is written beside it, with the suffix .pub. It wraps keys and opens none: name it in the
    SEALRUN_KEYS of a server that creates environments and is to open no secret.

    With --signing it is another kind of key: it opens nothing, and workers with SEALRUN_DOORS=api take what it signed.
    """
    if signing:
        key = keys.create_signing_key(NewKeyFile(path=path))
        screen.say(f"for the server: SEALRUN_SIGNING_KEY={screen.printable(key.path)}; for SEALRUN_SIGNERS of workers:")
        if json:
            screen.show_json(key)
        else:
            screen.show(key.signer)
        return
    made = keys.create_file(NewKeyFile(path=path))
    screen.say("keep a copy of it somewhere safe: who loses it loses the secrets, who has it can open them")
    if json:
        screen.show_json(made)
    else:
        screen.show(f"made {made.id}; to use it: SEALRUN_KEYS=local:{screen.printable(made.path)}")
        screen.show(f"for who may wrap and open nothing: SEALRUN_KEYS=local:{screen.printable(made.public_path)}")


@app.command()
def rotate(
    project: options.Project = None,
    environment: options.Environment = None,
    drop_broken: Annotated[
        bool, typer.Option("--drop-broken", help="Leave versions behind, for good, that do not open any more.")
    ] = False,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Give an environment a new key pair and seal all versions of its secrets to it, while runs go on.

    It can be ended at any moment and run again. The old key pair is destroyed once no run in flight was given it. Where
    the old one cannot be opened here, a worker that can does it, and this waits.
    """
    place = here()
    asked = KeyRotation(
        project=place.project(project), environment=place.environment(environment), drop_broken=drop_broken
    )
    try:
        done = place.ask(keys.rotate, asked)
    except KeyOperationFailed as failed:
        done = Rotated(**by_a_worker(place, failed, asked, lambda: place.ask(keys.submit_rotation, asked)))
    _say_what_went(done)
    if json:
        screen.show_json(done)
        return
    where = f"{asked.project}/{asked.environment}"
    screen.show(f"{where} has generation {done.generation}, {done.fingerprint}: {done.resealed} versions sealed anew")


def _say_what_went(done: Rotated) -> None:
    if done.discarded is not None:
        screen.say(
            f"there was a key pair nobody used, {done.discarded[:SHORT]}…, of a rotation that was cut off or put there "
            "by somebody: it is discarded"
        )
    for name in done.left_behind:
        screen.say(f"left behind, as it does not open: {name}")
    if not done.previous_destroyed:
        screen.say("the old key pair is kept while runs may use it; a worker destroys it within a minute after them")


@app.command()
def rewrap(
    project: options.Project = None,
    environment: options.AnyEnvironment = None,
    every: Annotated[bool, typer.Option("--all-projects", help="Of all projects.")] = False,
    by_workers: Annotated[
        bool, typer.Option("--by-workers", help="Have workers do it, for a machine that opens no key; and wait.")
    ] = False,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Wrap private keys anew with the first key service of SEALRUN_KEYS, where another one has wrapped them.

    SEALRUN_KEYS=NEW,OLD names both: the first wraps, each opens what it has wrapped. Key pairs, fingerprints and
    sealed values stay as they are. Without -e, all environments of the project are meant. With --by-workers it is done
    by workers that have both, with the first of their SEALRUN_KEYS.
    """
    if every and (project or environment):
        raise Misuse(
            "--all-projects takes in all there are, and goes with neither -p nor -e",
            command="key rewrap",
        )
    place = here()
    asked = Rewrapping(project=None if every else place.project(project), environment=environment)
    done = _rewrapped_by_workers(place, asked) if by_workers else place.ask(keys.rewrap, asked, tell=_say_rewrapped)
    if json:
        screen.show_json(done)
    else:
        screen.show(f"{len(done.keys)} of {done.of} private keys wrapped anew")


def _rewrapped_by_workers(place: Here, asked: Rewrapping) -> Rewrapped:
    """A job for each environment, all of them submitted before the first is waited for."""
    named = [one.name for one in place.ask(projects.list_)] if asked.project is None else [asked.project]
    submitted = [
        job
        for project in named
        for job in place.ask(keys.submit_rewrap, InProject(project=project, environment=asked.environment))
    ]
    done: list[RewrappedKey] = []
    of = 0
    for job in submitted:
        screen.say(f"job {job.id[:8]}: {job.project}/{job.environment}")
    for job in submitted:
        found = Rewrapped(**wait(place, job))
        done += found.keys
        of += found.of
        for key in found.keys:
            _say_rewrapped(key)
    return Rewrapped(keys=tuple(done), of=of)


def _say_rewrapped(key: RewrappedKey) -> None:
    where = f"{key.project}/{key.environment}, generation {key.generation}"
    screen.say(f"{where}: from {key.from_key_service} to {key.to_key_service}")


@app.command()
def trust(
    fingerprint: Annotated[
        str, typer.Argument(metavar="FINGERPRINT", help="In full, or its first 16 digits or more.", show_default=False)
    ],
    project: options.Project = None,
    environment: options.Environment = None,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Remember an environment's key pair, once you have compared its fingerprint with who made or rotated it."""
    place = here()
    asked = KeyTrust(
        project=place.project(project), environment=place.environment(environment), fingerprint=fingerprint
    )
    trusted = place.ask(keys.trust, asked)
    now, before = trusted.now, trusted.before
    if before is not None:
        screen.say(f"known until now: generation {before.generation}, {before.fingerprint}")
    if json:
        screen.show_json(trusted)
    else:
        where = f"{trusted.project}/{trusted.environment}"
        screen.show(f"{where} has generation {now.generation}, {now.fingerprint}: remembered")
