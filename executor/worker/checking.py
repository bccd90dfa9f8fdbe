"""Whether the worker of this machine lives and takes runs: asked every few seconds, so little is imported for it."""

import socket
from collections.abc import Sequence
from pathlib import Path

from executor.errors import WorkerUnwell
from executor.worker.presence import STILL, Seen, seen


def check(root: Path, name: str | None, live: bool) -> str:
    """Return a sentence that says that all is well.

    Args:
        root: the folder of the worker's workspaces.
        name: the worker's name, as `-n` of `sealrun worker` takes it; None for the only one.
        live: it is enough that the worker lives.

    Raises:
        WorkerUnwell: it is not; there is none, or nobody knows which is meant.
    """
    try:
        found = seen(root)
    except FileNotFoundError:
        found = []
    except OSError as error:
        message = "the workspaces in {root} cannot be looked at: {why}"
        hint = "ask as the worker's user, with the worker's own SEALRUN_HOME and SEALRUN_WORKSPACES"
        raise WorkerUnwell(message, root=root, why=(error.strerror or "?").lower(), hint=hint) from None
    meant = _meant(found, root, name and _whole(name))
    for one in meant:
        who = f"worker {one.name} (process {one.pid})"
        if one.still > STILL:
            raise WorkerUnwell("{who} is there, and has stood still for {seconds:.0f} s", who=who, seconds=one.still)
        if one.why is not None and not live:
            raise WorkerUnwell("{who} lives, and takes no run: {why}", who=who, why=one.why)
    return f"worker {meant[0].name} (process {meant[0].pid}) {'lives' if live else 'takes runs'}"


def _meant(found: Sequence[Seen], root: Path, name: str | None) -> list[Seen]:
    alive = [one for one in found if one.alive]
    meant = [one for one in alive if name in (None, one.name)]
    names = sorted({one.name for one in alive})
    if not meant:
        for one in found:
            if not one.alive and name in (None, one.name):
                raise WorkerUnwell("worker {name} has ended without a word (process {pid})", name=one.name, pid=one.pid)
        if alive:
            raise WorkerUnwell('no worker "{name}" is here, but {names}', name=name, names=", ".join(names))
        raise WorkerUnwell(root=root)
    if name is None and len(names) > 1:
        hint = f"say which: -n {names[0]}"
        raise WorkerUnwell("there are several workers here: {names}", names=", ".join(names), hint=hint)
    return meant


def _whole(name: str) -> str:
    """The name that Celery makes of one: a word alone is a host's, and this machine's is in place of %h, %n and %d."""
    host = socket.gethostname()
    short, _, domain = host.partition(".")
    if "@" not in name:
        name = f"celery@{name}"
    for mark, text in (("%h", host), ("%n", short), ("%d", domain)):
        name = name.replace(mark, text)
    return name
