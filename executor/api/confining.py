"""The server's own bounds: it is unreadable to its user's other processes, and can read no file that holds a key.

Landlock opens files and whole folders and cannot close a branch again, so what is open is named here: the system, this
installation, of the home folder the database's files, the broker's address and a folder of the server's own.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import event

from executor.broker.embedded import broker_address
from executor.errors import NotConfined
from executor.operations.deployment import Deployment
from executor.sandbox import kernel
from executor.sandbox.confinement import SYSTEM_FOLDERS, without
from executor.settings import Settings
from secretstore.home import private_folder
from secretstore.key_files import public_path

_OWN = "server"
_ROOT = Path(__file__).resolve().parents[2]
# Of these the system's list has more than a server needs.
_LEFT_OUT = ("/proc", "/sys")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
# What libraries are told to read: trust, credentials of AWS for Encrypt, passwords of PostgreSQL.
_FILES_NAMED = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE", "PGPASSFILE", "PGSERVICEFILE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY",
)  # fmt: skip
_FOLDERS_NAMED = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")  # renewed by a new file
_OF_USER = (".aws", ".pgpass", ".postgresql", ".pg_service.conf")


@dataclass(frozen=True)
class Bounds:
    """What was put in force."""

    landlock: int
    """The version of the kernel's Landlock; 0 where it has none, and the server's user alone decides what it reads."""

    @property
    def missing(self) -> str | None:
        """What is not in force, in a sentence."""
        if self.landlock:
            return None
        return "this kernel has no Landlock: the server can read what its user can, key files included"


def own_folder(settings: Settings) -> Path:
    """The folder in SEALRUN_HOME that a server writes to, made if there is none."""
    folder = settings.store.home / _OWN
    private_folder(folder / "tmp")
    return folder


def confine(at: Deployment) -> Bounds:
    """Bind this process and all it starts, for good. Call it before there are threads.

    Raises:
        NotConfined: the process has threads already, which would stay free.
    """
    kernel.harden()
    own = own_folder(at.settings)
    tempfile.tempdir = str(own / "tmp")
    abi = kernel.landlock_abi()
    if not abi:
        return Bounds(0)
    if abi < kernel.ALL_THREADS and len(os.listdir("/proc/self/task")) > 1:
        raise NotConfined(why="it has threads already")
    if at.settings.broker_url is None:
        broker_address(at.settings.store.home)  # its password is made at its first use
    rules = kernel.Ruleset(server=True)
    closed = [str(path) for path in at.settings.store.key_files if path != public_path(path)]
    closed.append(str(at.settings.store.home))
    for folder in _readable(at.settings):
        for part in without(str(folder), closed):
            rules.allow(part, kernel.FS_READ)
    for file in _files(at.settings):
        rules.allow(str(file), kernel.FS_READ_FILE)
    for folder in _listed(at.settings):
        rules.allow(str(folder), kernel.FS_READ_DIR)
    rules.allow(str(at.settings.store.home / "broker"), kernel.FS_READ_FILE | kernel.FS_READ_DIR)
    rules.allow(str(own), rules.everything & ~kernel.FS_DEVICES & ~kernel.FS_EXECUTE)
    for file in _database_files(at):
        rules.allow(str(file), kernel.FS_READ_FILE | kernel.FS_WRITE_FILE | kernel.FS_TRUNCATE)
        rules.allow(str(file.parent), kernel.FS_READ_DIR)
    for device in _DEVICES:
        rules.allow(device, kernel.FS_READ_FILE | kernel.FS_WRITE_FILE)
    kernel.forbid_new_privileges()
    rules.restrict_self()
    os.close(rules.fd)
    return Bounds(abi)


def _readable(settings: Settings) -> Iterator[Path]:
    """The system, this installation, and what its libraries were told to read."""
    yield from (Path(folder) for folder in SYSTEM_FOLDERS if folder not in _LEFT_OUT)
    yield from map(
        Path, {sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.path.realpath(sys.executable))}
    )
    yield from (_ROOT / package for package in ("executor", "secretstore"))
    yield from (Path(entry) for entry in sys.path if "site-packages" in entry or "dist-packages" in entry)
    yield from (Path(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)
    yield from (Path(os.environ[name]) for name in _FILES_NAMED if os.environ.get(name))
    yield from (Path(os.environ[name]).parent for name in _FOLDERS_NAMED if os.environ.get(name))
    yield from (Path.home() / name for name in _OF_USER)
    for _, value in parse_qsl(urlsplit(settings.store.database_url).query):
        if value.startswith("/"):  # sslrootcert, sslcert, sslkey, passfile
            yield Path(value)


def _files(settings: Settings) -> Iterator[Path]:
    """Of each local key the half that wraps; and what this server signs accepted runs with."""
    yield from (public_path(path) for path in settings.store.key_files)
    if settings.signing_key is not None:
        yield settings.signing_key


def _listed(settings: Settings) -> Iterator[Path]:
    """Folders whose names may be read: imports look through them, and a key's public half is looked up in its own."""
    yield _ROOT
    yield settings.store.home
    yield from (path.parent for path in settings.store.key_files)


def _database_files(at: Deployment) -> list[Path]:
    """The files of SQLite. One connection is kept, as the last one to close would remove the log beside the file."""
    if at.db.dialect != "sqlite":
        return []
    event.listen(at.db.engine, "connect", _sort_in_memory)
    kept = at.db.engine.raw_connection()
    kept.cursor().execute("SELECT count(*) FROM sqlite_master").fetchone()
    kept.detach()  # it belongs to no pool: what closes that leaves it open
    _KEPT.append(kept)
    file = at.db.engine.url.database or ""
    return [Path(file), Path(f"{file}-wal"), Path(f"{file}-shm")]


_KEPT: list[Any] = []


def _sort_in_memory(connection: Any, _: Any) -> None:
    """What SQLite sorts goes to no temporary file: it has chosen a folder for them before it was confined."""
    connection.execute("PRAGMA temp_store = MEMORY").close()
