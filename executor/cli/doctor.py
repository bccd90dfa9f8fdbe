"""`sealrun doctor`: what is in force here, what is wrong, and the mend for each."""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated

import typer

from executor.cli import packages
from executor.cli.shown import screen
from executor.cli.shown.expiry import DUE_DAYS, time_left
from executor.cli.shown.waiting import unseen
from executor.cli.typed import options
from executor.operations import doctor as operations
from executor.operations import projects, room, secrets, workers
from executor.operations.deployment import Deployment
from executor.remote.choosing import Chosen, chosen
from executor.schemas.doctor import Finding
from executor.schemas.secrets import DueBefore
from executor.schemas.workers import WorkerView
from executor.settings import Settings, read_here
from executor.submission.context import nearest_project_file
from secretstore import __version__
from secretstore.audit import Actor
from secretstore.errors import DatabaseUnwritable, SealrunError

if TYPE_CHECKING:
    from executor.remote.server import Server

app = typer.Typer(help="Say what is in force here, what is missing and how to mend it.", add_completion=False)

_DUE_NAMED = 10  # secrets that are told one by one
_DANGLING_NAMED = 5
_UNOPENED_NAMED = 5
_MARKS = {"ok": "green", "note": "yellow", "wrong": "red"}
_PACKAGES = ("celery", "kombu", "cryptography", "sqlalchemy", "sqlmodel", "ahocorasick-rs")


@app.command()
def doctor(
    json: options.Json = False,
    conformance: Annotated[
        bool,
        typer.Option(
            "--conformance",
            help="Attack a run's sandbox on this machine, within stated bounds, and tell what held.",
        ),
    ] = False,
) -> None:
    """Look at all that a run needs on this machine. Ends with 1 where something is wrong."""
    if conformance:
        from executor.cli.shown.conformance import show  # what a worker imports takes longer than all else here

        show(json=json)
        return
    findings = list(_examine())
    if json:
        screen.show_json({"ok": all(found.status != "wrong" for found in findings), "findings": findings})
    else:
        width = max(len(found.what) for found in findings)
        for found in findings:
            mark = screen.paint(f"{found.status:<5}", _MARKS[found.status], sys.stdout)
            screen.show(f"{mark}  {found.what:<{width}}  {screen.printable(found.text)}")
            if found.mend:
                screen.show(f"       {'':<{width}}  mend: {screen.printable(found.mend)}")
    if any(found.status == "wrong" for found in findings):
        raise typer.Exit(1)


def _examine() -> Iterator[Finding]:
    yield from _versions()
    try:
        settings = read_here()
    except SealrunError as error:
        yield Finding("settings", "wrong", str(error).replace("\n ", ""), "correct or unset these variables")
        return
    who = Actor(settings.store.actor, "cli")
    try:
        server = chosen(settings, os.environ, nearest_project_file())
    except SealrunError as error:
        yield Finding("server", "wrong", error.message, error.hint)
        return
    if server is not None:
        yield from _of_server(settings, server, who)
        return
    found = list(operations.examine(settings, who))
    yield from found
    if any(finding.what in ("home", "database") and finding.status == "wrong" for finding in found):
        return
    at = Deployment.open(settings)
    yield from room.findings(at, who)
    yield from _deleted(at, who)
    yield _expiry(at, who)
    yield _connections(at, who)
    yield _workers(at, who)
    yield operations.doors(at, who)
    yield from _unopened(at, who)


def _of_server(settings: Settings, server: Chosen, who: Actor) -> Iterator[Finding]:
    """What somebody sees who speaks to a server; the rest is of the machines that have the database."""
    from executor.remote import entry
    from executor.remote.server import Server

    asked = Server(settings, server.origin, server.token)
    try:
        me = entry.me(asked)
    except SealrunError as error:
        yield Finding("server", "wrong", error.message, error.hint)
        return
    yield Finding("server", "ok", f"{server.origin} ({server.by}) answers, and takes you for {me.name}")
    yield _expiry(asked, who)
    text = "what runs need of a machine is told there, to who operates sealrun: sealrun doctor"
    yield Finding("machines", "note", text)


def _versions() -> Iterator[Finding]:
    if (foreign := packages.foreign()) is not None:
        yield Finding("packages", "wrong", foreign, packages.HINT)
    else:
        yield Finding("packages", "ok", f"executor and secretstore are sealrun's own, version {__version__}")
    installed = {}
    for name in _PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "without metadata"
    python = platform.python_version()
    yield Finding("python", "ok", f"{python}, {sys.executable}", detail={"version": python})
    yield Finding("versions", "ok", ", ".join(f"{name} {text}" for name, text in installed.items()), detail=installed)


def _expiry(at: "Deployment | Server", who: Actor) -> Finding:
    before = datetime.now(UTC) + timedelta(days=DUE_DAYS)
    due = at.ask(who, secrets.due, DueBefore(before=before, limit=_DUE_NAMED))
    found, count = due.secrets, due.count
    if not count:
        return Finding("expiry", "ok", f"no secret has expired or does so within {DUE_DAYS} days")
    named = [f"{one.name} of {one.project}/{one.environment} {time_left(one.expires_at)}" for one in found]
    more = f", and {count - len(found)} more" if count > len(found) else ""
    mend = "store a fresh value: sealrun secret set NAME -p PROJECT -e ENV"
    detail = {"count": count, "first": [screen.plain_data(one) for one in found]}
    return Finding("expiry", "note", ", ".join(named) + more, mend, detail)


def _deleted(at: Deployment, who: Actor) -> Iterator[Finding]:
    """Deleted projects that can be brought back; those whose time is over are destroyed on the way."""
    with contextlib.suppress(DatabaseUnwritable):
        projects.destroy_due(at, who)
    waiting = [one for one in projects.list_deleted(at, who) if one.destroyed_at is None]
    if waiting:
        named = [f"{one.name} (until {screen.moment(one.destroy_at)})" for one in waiting[:_DUE_NAMED]]
        more = f", and {len(waiting) - _DUE_NAMED} more" if len(waiting) > _DUE_NAMED else ""
        text = f"deleted, and can be brought back: {', '.join(named)}{more}"
        mend = f"sealrun project restore {waiting[0].name}; all of them: sealrun project list --deleted"
        yield Finding("deleted", "note", text, mend)


def _connections(at: Deployment, who: Actor) -> Finding:
    found = operations.dangling(at, who)
    if not found:
        return Finding("connections", "ok", "all that sources and catalogs name is there")
    named = [f"{one.role} {one.name} of {one.project}/{one.environment}: {one.why}" for one in found[:_DANGLING_NAMED]]
    more = f"; and {len(found) - _DANGLING_NAMED} more" if len(found) > _DANGLING_NAMED else ""
    detail = {"count": len(found), "dangling": [screen.plain_data(one) for one in found]}
    return Finding("connections", "note", "; ".join(named) + more, found[0].mend, detail)


def _workers(at: Deployment, who: Actor) -> Finding:
    serving = workers.serving(at, who)
    if serving.live:
        return Finding("workers", "ok", ", ".join(map(_worker, serving.live)))
    if at.settings.embedded:
        return Finding("workers", "ok", "none runs; `sealrun run` starts one")
    return Finding("workers", "note", unseen(serving), "start one: sealrun worker")


def _unopened(at: Deployment, who: Actor) -> Iterator[Finding]:
    found = operations.unopened(at, who)
    if found:
        more = f"; and {len(found) - _UNOPENED_NAMED} more" if len(found) > _UNOPENED_NAMED else ""
        mend = "give a worker that key service, or what the key service asks for, and start it again"
        detail = {"count": len(found), "unopened": found}
        yield Finding("secrets", "note", "; ".join(found[:_UNOPENED_NAMED]) + more, mend, detail)


def _worker(found: WorkerView) -> str:
    slots = "1 slot" if found.slots == 1 else f"{found.slots} slots"
    return f"{found.name} (process {found.pid}, {slots}, rung {found.rung})"
