"""What a deployment is made of, looked at: settings, database, keys, broker, this machine; and what dangles in it."""

import importlib.util
import os
import platform
import socket
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from kombu.connection import Connection
from sqlmodel import select

from executor import database, unguarded
from executor.boundary.plans import SigningKey
from executor.broker import embedded
from executor.broker.application import make_app
from executor.broker.refusing import refusal
from executor.explain.isolation import Machine, isolation
from executor.keys.access import key_access
from executor.keys.aws_credentials import aws_credentials
from executor.operations.deployment import Deployment
from executor.people import accounts
from executor.python import interpreters
from executor.runs import workers
from executor.runs.unopened import unopened as unopened_by_workers
from executor.sandbox import kernel, probing, user
from executor.sandbox.host import Host
from executor.sandbox.workspace import in_use
from executor.schemas.doctor import Finding
from executor.schemas.workers import WorkerView
from executor.server_settings import read_server_settings
from executor.settings import Settings
from secretstore import vault
from secretstore.audit import Actor
from secretstore.database import Database
from secretstore.errors import KeyFileMissing, SealrunError, SettingsProblem, installing
from secretstore.home import ensure_home
from secretstore.key_service import KeyAccess
from secretstore.keyring import lists, opens
from secretstore.local_keys import LocalKeys
from secretstore.models import KeyPair


def examine(settings: Settings, who: Actor) -> Iterator[Finding]:
    """Look at all that a run needs on this machine, one thing after the other; what is wrong raises nothing.

    It is about settings and not about a deployment: there is none where the database cannot be opened.
    """
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
    yield from _passwords(settings)
    yield from _isolation(settings)
    yield from _folders(settings)
    yield from _server(db)


def _server(db: Database | None) -> Iterator[Finding]:
    """The HTTP API of this machine: whether it can be served, answers, has somebody to log in, and what it may read."""
    if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("fastapi") is None:
        yield Finding("server", "ok", f"none can be served here, as the extra is not there: {installing('server')}")
        return
    try:
        server = read_server_settings(os.environ)
    except SettingsProblem as error:
        yield Finding("server", "wrong", "; ".join(error.problems), "correct or unset these variables")
        return
    try:
        socket.create_connection(server.listen, timeout=1).close()
    except OSError:
        yield Finding(
            "server", "ok", f"none runs at {server.public_url}; sealrun serve starts it, and so does sealrun up"
        )
    else:
        yield Finding("server", "ok", f"something listens where {server.public_url} is served")
    abi = kernel.landlock_abi() if platform.system() == "Linux" else 0
    if abi:
        yield Finding("server reads", "ok", f"it can read no key file: Landlock {abi}")
    else:
        mend = "serve as a user of its own, with the key's public half alone: SEALRUN_KEYS=local:PATH.pub"
        yield Finding("server reads", "note", "this kernel has no Landlock: it can read what its user can", mend)
    if db is None:
        return
    with db.reading() as session:
        if not accounts.has_admin(session):
            mend = "sealrun user create NAME --admin; or by the page that sealrun up opens"
            yield Finding("first admin", "note", "nobody can log in to a server yet", mend)


def dangling(at: Deployment, who: Actor) -> Sequence[vault.Dangling]:
    """Sources and catalogs that runs are not given as they stand."""
    return vault.dangling(at.db)


def doors(at: Deployment, who: Actor) -> Finding:
    """Whether what is accepted here is signed, what the workers that live make of that, and what one of here would."""
    try:
        key = at.signing_key
    except SealrunError as error:
        return Finding("doors", "wrong", str(error), error.hint)
    live = workers.list_workers(at.db, alive_only=True)
    insist = [one for one in live if one.signers]
    here = [one.id for one in at.settings.signers]
    detail = {"signer": str(key.signer) if key else None, "insist": [one.name for one in insist], "signers": here}
    status, text, mend = _unsigned(live, insist) if key is None else _signed(key, live, insist)
    if here:
        text += f"; a worker that is started here takes what {' or '.join(here)} has signed, and nothing else"
    return Finding("doors", status, text, mend, detail)


def _unsigned(live: Sequence[WorkerView], insist: Sequence[WorkerView]) -> tuple[str, str, str | None]:
    if insist:
        text = f"nothing is signed here, and {_named(insist)} takes nothing else: it refuses what is submitted here"
        return "note", text, "submit through the API server; on its machine name its key in SEALRUN_SIGNING_KEY"
    known = "no live worker insists on it" if live else "no worker lives, so it is not known whether one insists"
    return "ok", f"nothing is signed here; {known}", None


def _signed(key: SigningKey, live: Sequence[WorkerView], insist: Sequence[WorkerView]) -> tuple[str, str, str | None]:
    text = f"what is accepted here is signed, for workers with SEALRUN_DOORS=api SEALRUN_SIGNERS={key.signer}"
    if strangers := [one for one in insist if key.signer.id not in one.signers]:
        text += f"; {_named(strangers)} insists on other keys, and refuses it"
        return "note", text, "name it in SEALRUN_SIGNERS of each worker"
    if free := [one for one in live if not one.signers]:
        return "note", f"{text}; {_named(free)} takes what is not signed, too", "set both for each worker of the queue"
    return "ok", text, None


def _named(found: Sequence[WorkerView]) -> str:
    more = f" or {len(found) - 1} more" if len(found) > 1 else ""
    return f"the worker {found[0].name}{more}"


def unopened(at: Deployment, who: Actor) -> Sequence[str]:
    """Environments whose secrets no live worker opens, or that one leaves to others: a sentence each."""
    return list(unopened_by_workers(at.db))


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
    service = LocalKeys(path)
    try:
        if service.is_public_alone:
            text = f"{path} is the public half of {service.id}: keys are wrapped with it here, and none is opened"
            return Finding("key file", "ok", text)
        wraps, opens_ = service.id, service.opening_id
        if wraps != opens_:
            text = f"{path} is {opens_}, and {service.public_path} beside it is {wraps}: what that wraps would not open"
            return Finding("key file", "wrong", text, "put the key file's own public half there, or remove that one")
        return Finding("key file", "ok", f"{path} is {opens_}, readable by its owner alone")
    except KeyFileMissing as error:
        if db is not None and not vault.keys_kept(db):
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
    return sorted(found for found in recorded if not opens(access, found) and not lists(access, found))


def _is_default(settings: Settings) -> bool:
    return settings.store.keys == f"local:{settings.store.home}/keys/local.key"


def _broker(settings: Settings) -> Finding:
    if settings.broker_url is not None:
        return _configured_broker(settings)
    if embedded.answers(settings.store.home):
        return Finding("broker", "ok", "the embedded one runs")
    server = embedded.find_server()
    if server is None:
        mend = f"{installing('embedded')}; or set SEALRUN_BROKER_URL"
        return Finding("broker", "wrong", "none is configured and there is none to embed", mend)
    return Finding("broker", "ok", f"embedded, started with the next worker: {server}")


def _configured_broker(settings: Settings) -> Finding:
    try:
        made = make_app(settings).connection_for_read()
    except SettingsProblem as error:
        return Finding("broker", "wrong", "; ".join(error.problems), error.hint)
    with made as connection:
        shown = _without_password(connection)
        try:
            connection.ensure_connection(max_retries=1, timeout=5)
        except Exception as error:  # noqa: BLE001  # every transport has errors of its own, whose text may quote the URL
            if refused := refusal(error):
                mend = "check SEALRUN_BROKER_URL; special characters of a password are percent-encoded in it"
                return Finding("broker", "wrong", f"{shown} {refused}", mend)
            mend = "check SEALRUN_BROKER_URL and that the server runs"
            return Finding("broker", "wrong", f"{shown} does not answer: {type(error).__name__}", mend)
    return Finding("broker", "ok", f"{shown} answers")


def _passwords(settings: Settings) -> Iterator[Finding]:
    """Whether the servers ask for any; a warning where it is seen on this machine alone."""
    if not unguarded.is_configured(settings):
        return
    found = list(unguarded.unguarded(settings))
    for one in found:
        yield Finding(f"{one.what} password", "note" if one.loopback else "wrong", one.text, one.mend)
    if not found:
        yield Finding("passwords", "ok", "no configured server takes a connection without one")


def _without_password(connection: Connection) -> str:
    """The URL; kombu marks the place of a password also where there is none."""
    shown = connection.as_uri()
    return shown if connection.password else shown.replace("//:**@", "//").replace(":**@", "@")


def _folders(settings: Settings) -> Iterator[Finding]:
    """Those that are opened to runs of this machine's workers, if they are started with these settings."""
    for right, folders in (("readable", settings.readable), ("writable", settings.writable)):
        for folder in folders:
            whose = f"runs of {', '.join(folder.projects)}" if folder.projects else "all runs"
            if folder.path.is_dir():
                yield Finding(right, "ok", f"{folder.path}, to {whose}")
            else:
                yield Finding(right, "wrong", f"{folder.path}, to {whose}, is not there", "make or mount it")


def _interpreters(settings: Settings, host: Host) -> Finding:
    """The Pythons that a worker offers which is started from here."""
    found = interpreters.offered(settings, host, os.environ.get("PATH", os.defpath)).found
    if not found:
        mend = "install python3, or name a Python's path where you run: --python PATH"
        return Finding("pythons", "note", "a worker that is started here has no Python to offer to runs", mend)
    text = ", ".join(f"{one.version} ({one.path})" for one in found)
    return Finding("pythons", "ok", text, detail={one.version: str(one.path) for one in found})


def _isolation(settings: Settings) -> Iterator[Finding]:
    if platform.system() != "Linux":
        yield Finding("worker", "note", f"runs need Linux, and this is {platform.system()}", "run the worker on Linux")
        return
    host = probing.probe()
    yield from isolation(host, Machine.here())
    yield _user(settings, host)
    yield _interpreters(settings, host)
    try:
        with in_use(settings.workspaces, kept=not settings.is_default_folder(settings.workspaces)) as folder:
            yield Finding("workspaces", "ok", str(folder))
    except SealrunError as error:
        yield Finding("workspaces", "wrong", str(error), error.hint)
    except OSError as error:
        text = f"{settings.workspaces}: {(error.strerror or 'it cannot be made').lower()}"
        yield Finding("workspaces", "wrong", text, "point SEALRUN_WORKSPACES at a folder you can write to")


def _user(settings: Settings, host: Host) -> Finding:
    """Under which name runs execute, and where it is known."""
    as_root = os.geteuid() == 0
    if as_root and host.mounts:
        return Finding("user", "ok", f"each run has a user id of its own, named {user.NAME} in the run's view")
    if not as_root and user.is_known(os.geteuid()):
        return Finding("user", "ok", f"runs execute as {user.user_name(None)}, like the worker")
    ids = f"{settings.run_uids.start} to {settings.run_uids.stop - 1}" if as_root else f"{os.geteuid()}"
    text = f"runs execute under a user id without a name, {ids}: ssh, whoami and psql without -U refuse to work"
    mend = "add such entries to /etc/passwd" + (", or let the worker mount (CAP_SYS_ADMIN)" if as_root else "")
    return Finding("user", "note", f"{text}; what asks USER alone, such as getpass, works", mend)
